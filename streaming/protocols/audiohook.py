"""Genesys AudioHook, version 2 (https://developer.genesys.cloud/devapps/audiohook/), `/v1/audiohook`.

Genesys is the client. Text messages are numbered on either side; binary ones are audio, interleaved where it is stereo:
`external` is the customer, `internal` whoever works there. Words come back as `transcript` entities, emotions as
entities of a type of ours, `medusa.emotion`; both carry the id of their segment and Genesys' own clock.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.config import AudiohookSettings
from streaming.errors import AudioFormatError, AuthorisationError, ProtocolError, StreamingError
from streaming.events import (
    EmotionEvent,
    ErrorEvent,
    Event,
    SessionEnded,
    SessionStarted,
    SpeechEnded,
    SpeechStarted,
    TranscriptEvent,
)
from streaming.protocols.audiohook_envelope import NOBODY, Envelope, duration, seconds
from streaming.protocols.audiohook_signature import SignatureCheck
from streaming.protocols.dialect import Audio, Begin, Close, Flush, Handshake, ListenRequest, Reply, Step
from streaming.protocols.native import read_language

EMOTION_ENTITY: Final = "medusa.emotion"
_RATE_HZ: Final = 8000
_REMEMBERED: Final = 100
"""Segments of a channel, and leaps of the clock, that are kept: more than finals may be behind."""
_ENCODINGS: Final = {"PCMU": Encoding.MULAW, "L16": Encoding.PCM16}
_ENDS: Final = frozenset({"protocol", "too_fast", "message_too_large"})
"""Errors after which the session ends."""


class AudiohookDialect:
    """One AudioHook session."""

    def __init__(self, settings: AudiohookSettings, signature: SignatureCheck | None, handshake: Handshake) -> None:
        """Waits for `open`.

        Args:
            settings: the roles of the channels.
            signature: what the handshake is to be signed with; None for nothing.
            handshake: its API key is the token.
        """
        self._signature = signature
        self._handshake: Final = handshake
        self._roles: Final = {"external": settings.external_role, "internal": settings.internal_role}
        self._token: Final = handshake.headers.get("x-api-key")
        self._envelope: Final = Envelope()
        self._media: dict[str, Any] | None = None
        self._frame_bytes = 1
        self._opened = False
        self._paused = False
        self._parted = False
        """Whether the client has said, or was told, that this is the end."""
        self._heard_s = 0.0
        self._leaps: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        """Where on the session's clock audio was left out lately, and for how long in all."""
        self._handlers: Final[Mapping[str, Callable[[Mapping[str, Any]], Sequence[Step]]]] = {
            "open": self._open,
            "ping": lambda _parameters: (Reply(self._envelope.write("pong", {})),),
            "update": lambda _parameters: (Reply(self._envelope.write("updated", {})),),
            "paused": self._pause,
            "resumed": self._resume,
            "discarded": self._leap,
            "close": self._close,
            "error": lambda _parameters: (),
        }
        self._starts: dict[tuple[int, int], float] = {}
        self._ends: dict[tuple[int, int], float] = {}

    def read(self, message: str | bytes) -> Sequence[Step]:
        """See `Dialect.read`.

        Raises:
            AuthorisationError: the handshake was not signed.
        """
        if self._signature is not None:
            check, self._signature = self._signature, None
            check.check(self._handshake.target, self._handshake.headers)
        if isinstance(message, bytes):
            return self._audio(message)
        kind, parameters = self._envelope.read(message)
        return self._handlers[kind](parameters)

    def tell(self, event: Event) -> Sequence[str]:
        """See `Dialect.tell`."""
        match event:
            case SessionStarted():
                self._opened = True
                return (self._envelope.write("opened", self._offer()),)
            case SpeechStarted():
                self._forget(event.channel, event.segment - _REMEMBERED)
                self._starts[event.channel, event.segment] = event.start_s
            case SpeechEnded():
                self._ends[event.channel, event.segment] = event.end_s
            case TranscriptEvent():
                return (self._entity("transcript", self._transcript(event)),)
            case EmotionEvent():
                return (self._entity(EMOTION_ENTITY, self._emotion(event)),)
            case ErrorEvent() if event.code in _ENDS:
                return self._part("error", event.message)
            case SessionEnded():
                return self._end(event)
            case _:
                pass
        return ()

    def refuse(self, error: StreamingError) -> Sequence[str]:
        """See `Dialect.refuse`."""
        return self._part("unauthorized" if isinstance(error, AuthorisationError) else "error", str(error))

    def _open(self, parameters: Mapping[str, Any]) -> Sequence[Step]:
        if self._media is not None:
            raise ProtocolError("the session is open already")
        self._media = _chosen(parameters.get("media"))
        encoding, channels = _ENCODINGS[self._media["format"]], self._media["channels"]
        if parameters.get("conversationId") == NOBODY:
            return (Reply(self._envelope.write("opened", self._offer())),)
        audio = AudioFormat(encoding, _RATE_HZ, len(channels))
        self._frame_bytes = audio.bytes_per_s // _RATE_HZ
        language = str(parameters.get("language") or "").lower()
        return (
            Begin(
                ListenRequest(
                    audio=audio,
                    roles=tuple(self._roles[channel] for channel in channels),
                    language=read_language(language.partition("-")[0]),
                    interim=True,
                ),
                token=self._token,
                name=self._envelope.session,
            ),
        )

    def _audio(self, data: bytes) -> Sequence[Step]:
        if not self._opened or self._paused or self._parted:
            raise ProtocolError("audio comes while the session is not open, or paused")
        if len(data) % self._frame_bytes:
            raise ProtocolError(f"audio comes in frames of {self._frame_bytes} bytes, one for all channels")
        self._heard_s += len(data) / self._frame_bytes / _RATE_HZ
        return (Audio(data),)

    def _pause(self, _parameters: Mapping[str, Any]) -> Sequence[Step]:
        self._paused = True
        return (Flush(),) if self._opened else ()

    def _resume(self, parameters: Mapping[str, Any]) -> Sequence[Step]:
        self._paused = False
        return self._leap(parameters)

    def _close(self, _parameters: Mapping[str, Any]) -> Sequence[Step]:
        self._parted = True
        return (Close(),) if self._opened else (Reply(self._envelope.write("closed", {})), Close())

    def _leap(self, parameters: Mapping[str, Any]) -> Sequence[Step]:
        """Audio was left out: what was said before is finished, and Genesys' clock goes on without ours."""
        left_out_s = seconds(parameters.get("discarded"))
        if left_out_s:
            before_s = self._leaps[-1][1] if self._leaps else 0.0
            self._leaps.append((self._heard_s, before_s + left_out_s))
        return (Flush(),) if self._opened else ()

    def _clock(self, second: float) -> float:
        """Genesys' time of a moment on the session's clock."""
        return second + next((whole for at_s, whole in reversed(self._leaps) if at_s <= second), 0.0)

    def _place(self, channel: int, segment: int) -> dict[str, Any]:
        place: dict[str, Any] = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._envelope.session}/{channel}/{segment}")),
            "channel": self._channels[channel],
        }
        start_s, end_s = self._starts.get((channel, segment)), self._ends.get((channel, segment))
        if start_s is not None:
            place["offset"] = duration(self._clock(start_s))
            if end_s is not None:
                place["duration"] = duration(end_s - start_s)
        return place

    @property
    def _channels(self) -> Sequence[str]:
        return self._media["channels"] if self._media else ()

    def _forget(self, channel: int, segment: int) -> None:
        self._starts.pop((channel, segment), None)
        self._ends.pop((channel, segment), None)

    def _offer(self) -> dict[str, Any]:
        return {"startPaused": False, "media": [self._media]}

    def _end(self, event: SessionEnded) -> Sequence[str]:
        if event.reason == "client_close":
            return (self._envelope.write("closed", {}),)
        return self._part("completed", event.reason)

    def _transcript(self, event: TranscriptEvent) -> dict[str, Any]:
        words = event.words
        text = " ".join(filter(None, (event.committed, event.tentative)))
        interpretation: dict[str, Any] = {"type": "display", "transcript": text}
        if words:
            interpretation["tokens"] = [
                {
                    "type": "word",
                    "value": word.text,
                    "confidence": word.probability,
                    "offset": duration(self._clock(word.start_s)),
                    "duration": duration(max(0.0, word.end_s - word.start_s)),
                }
                for word in words
            ]
        sure = sum(word.probability for word in words) / len(words) if words else 0.0
        alternative: dict[str, Any] = {"confidence": round(sure, 4), "interpretations": [interpretation]}
        if event.language:
            alternative["languages"] = [event.language]
        return {**self._place(event.channel, event.segment), "isFinal": event.final, "alternatives": [alternative]}

    def _emotion(self, event: EmotionEvent) -> dict[str, Any]:
        told = event.model_dump(include={"label", "abstained", "confidence", "scores", "attributes"}, mode="json")
        return {**self._place(event.channel, event.segment), "isFinal": event.final, **told}

    def _entity(self, kind: str, data: Mapping[str, Any]) -> str:
        return self._envelope.write("event", {"entities": [{"type": kind, "data": data}]})

    def _part(self, reason: str, info: str) -> Sequence[str]:
        if self._parted:
            return ()
        self._parted = True
        return (self._envelope.write("disconnect", {"reason": reason, "info": info}),)


def _chosen(offers: Any) -> dict[str, Any]:
    """Of the media on offer the first with the most channels that we read."""
    read = [offer for offer in offers if _is_read(offer)] if isinstance(offers, list) else []
    if not read:
        raise AudioFormatError("no media on offer is audio in PCMU or L16 at 8000 Hz with known channels")
    best: dict[str, Any] = max(read, key=lambda offer: len(offer["channels"]))
    return {name: best[name] for name in ("type", "format", "channels", "rate")}


def _is_read(offer: Any) -> bool:
    if not isinstance(offer, dict) or (offer.get("type"), offer.get("rate")) != ("audio", _RATE_HZ):
        return False
    channels, known = offer.get("channels"), (["external"], ["internal"], ["external", "internal"])
    return offer.get("format") in tuple(_ENCODINGS) and channels in known
