"""The configuration of a Realtime transcription session: what a client may ask for, and what it is told is in effect.

Both forms are read: that of `session.update` with `session.type` `transcription`, and that of the beta's
`transcription_session.update`. What cannot be chosen here (model, prompt, noise reduction, the detector's figures) is
taken without complaint and told as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.config import Settings
from streaming.errors import ProtocolError
from streaming.protocols.native import read_language

PCM_RATE_HZ: Final = 24_000
_G711_RATE_HZ: Final = 8000
_OBJECT: Final = "realtime.transcription_session"
_FORMATS: Final[Mapping[str, AudioFormat]] = MappingProxyType(
    {
        "audio/pcm": AudioFormat(Encoding.PCM16, PCM_RATE_HZ, 1),
        "audio/pcmu": AudioFormat(Encoding.MULAW, _G711_RATE_HZ, 1),
        "audio/pcma": AudioFormat(Encoding.ALAW, _G711_RATE_HZ, 1),
    }
)
_BETA_FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
)
_DETECTORS: Final = ("server_vad", "semantic_vad")


class InvalidRequestError(ProtocolError):
    """A message asks for what cannot be; the session goes on as it was."""

    code = "invalid_value"

    def __init__(self, param: str | None, message: str) -> None:
        """Says what is wrong.

        Args:
            param: the field, as a path.
            message: for people.
        """
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class RealtimeSession:
    """What a client has chosen."""

    kind: str = "audio/pcm"
    language: str | None = None
    """ISO 639-1 code; None to detect it."""
    detects_turns: bool = True
    """Whether speech and silence make the turns; else the client does, by its commits."""

    @property
    def audio(self) -> AudioFormat:
        """What it will send."""
        return _FORMATS[self.kind]

    def updated(self, wanted: Mapping[str, Any]) -> RealtimeSession:
        """With what a `session.update` names; the rest stays.

        Raises:
            InvalidRequestError: it asks for what cannot be.
        """
        if wanted.get("type", "transcription") != "transcription":
            raise InvalidRequestError("session.type", "this server transcribes: session.type must be 'transcription'")
        path = "session.audio"
        given = _object(_object(wanted, "audio", path), "input", f"{path}.input")
        path = f"{path}.input"
        kind = self.kind
        if given.get("format") is not None:
            kind = _kind(_object(given, "format", f"{path}.format"), f"{path}.format")
        return self._with(given, kind, "transcription", path)

    def updated_as_beta(self, wanted: Mapping[str, Any]) -> RealtimeSession:
        """With what a `transcription_session.update` names; the rest stays.

        Raises:
            InvalidRequestError: it asks for what cannot be.
        """
        kind = self.kind
        if wanted.get("input_audio_format") is not None:
            name = wanted["input_audio_format"]
            if not isinstance(name, str) or name not in _BETA_FORMATS:
                known = ", ".join(_BETA_FORMATS)
                raise InvalidRequestError("session.input_audio_format", f"input_audio_format must be one of {known}")
            kind = _BETA_FORMATS[name]
        return self._with(wanted, kind, "input_audio_transcription", "session")

    def _with(self, given: Mapping[str, Any], kind: str, transcription: str, path: str) -> RealtimeSession:
        session = replace(self, kind=kind)
        if transcription in given:
            chosen = _object(given, transcription, f"{path}.{transcription}")
            session = replace(session, language=_language(chosen, f"{path}.{transcription}.language"))
        if "turn_detection" in given:
            session = replace(session, detects_turns=_detects_turns(given, f"{path}.turn_detection"))
        return session

    def described(self, name: str, settings: Settings) -> dict[str, Any]:
        """The session as it is told.

        Args:
            name: of the session.
            settings: what decides the rest.
        """
        audio: dict[str, Any] = {"type": self.kind}
        if self.audio.encoding is Encoding.PCM16:
            audio["rate"] = PCM_RATE_HZ
        heard = {
            "format": audio,
            "noise_reduction": None,
            "transcription": self._transcription(settings),
            "turn_detection": self._turn_detection(settings),
        }
        return {"id": name, "object": _OBJECT, "type": "transcription", "audio": {"input": heard}}

    def described_as_beta(self, name: str, settings: Settings) -> dict[str, Any]:
        """The session as the beta told it."""
        (audio,) = (beta for beta, kind in _BETA_FORMATS.items() if kind == self.kind)
        return {
            "id": name,
            "object": _OBJECT,
            "input_audio_format": audio,
            "input_audio_noise_reduction": None,
            "input_audio_transcription": self._transcription(settings),
            "turn_detection": self._turn_detection(settings),
        }

    def _transcription(self, settings: Settings) -> dict[str, Any]:
        return {"model": settings.asr.model, "language": self.language or settings.asr.language or None}

    def _turn_detection(self, settings: Settings) -> dict[str, Any] | None:
        if not self.detects_turns:
            return None
        return {
            "type": "server_vad",
            "threshold": settings.vad.threshold,
            "prefix_padding_ms": settings.vad.pre_roll_ms,
            "silence_duration_ms": settings.vad.endpoint_ms,
        }


def _object(given: Mapping[str, Any], name: str, path: str) -> Mapping[str, Any]:
    """The object of that name; an empty one where there is none, or null."""
    value = given.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequestError(path, f"{path} must be an object")
    return value


def _kind(given: Mapping[str, Any], path: str) -> str:
    kind = given.get("type", "audio/pcm")
    if not isinstance(kind, str) or kind not in _FORMATS:
        raise InvalidRequestError(f"{path}.type", f"{path}.type must be one of {', '.join(_FORMATS)}")
    rate_hz = _FORMATS[kind].rate_hz
    if given.get("rate") not in (None, rate_hz):
        raise InvalidRequestError(f"{path}.rate", f"{path}.rate must be {rate_hz} for {kind}")
    return kind


def _language(given: Mapping[str, Any], path: str) -> str | None:
    language = given.get("language") or ""
    try:
        if isinstance(language, str):
            return read_language(language.partition("-")[0].lower())
    except ProtocolError:
        pass
    raise InvalidRequestError(path, f"{path} must be an ISO 639 code such as en")


def _detects_turns(given: Mapping[str, Any], path: str) -> bool:
    if given["turn_detection"] is None:
        return False
    kind = _object(given, "turn_detection", path).get("type", _DETECTORS[0])
    if kind not in _DETECTORS:
        raise InvalidRequestError(f"{path}.type", f"{path}.type must be one of {', '.join(_DETECTORS)}")
    return True
