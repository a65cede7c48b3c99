"""Hume's Expression Measurement, its audio realtime endpoint: `/v1/expression/audio/realtime`.

Facts are those of Hume's own Python client, `hume-expression-measurement` 0.1.0, and of
https://dev.hume.ai/expression-measurement/docs/audio/realtime. The server greets with `session.created`; binary
messages are audio, of one format; text messages are `session.update`, before any audio, and `session.close`. Each
segment is an utterance, whose measurements lie between its `utterance.start` and its `utterance.end`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.errors import ProtocolError, RecognitionError, StreamingError, TooFastError
from streaming.events import EmotionEvent, ErrorEvent, Event, SessionEnded, SpeechEnded, SpeechStarted
from streaming.protocols.dialect import (
    DEFAULT_ROLE,
    Audio,
    Begin,
    Close,
    Handshake,
    ListenRequest,
    Reply,
    Step,
    json_object,
)
from streaming.protocols.hume_scores import expressions, voice_attributes

DEFAULT_TIMER_MS: Final = 3000
_TIMER_MS: Final = range(3000, 10_001)
_RATE_HZ: Final = 16_000
_AUDIO: Final[Mapping[str, Any]] = MappingProxyType(
    {"type": "audio/pcm", "encoding": "s16le", "sample_rate": _RATE_HZ, "channels": 1}
)
_FORMAT: Final = AudioFormat(Encoding.PCM16, _RATE_HZ, 1)
_MAX_FRAME_S: Final = 10
_MAX_TEXT: Final = 4096
"""Characters of a text message: either kind is far shorter."""
_MS_PER_S: Final = 1000
_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {"client_close": "client_request", "shutdown": "server_shutdown", "idle_timeout": "idle_timeout"}
)
"""Why a session ended, in Hume's words; all else is an `error`."""
_CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ProtocolError.code: "config_invalid",  # nothing else that is wrong with a message ends the session
        TooFastError.code: "rate_limited",
        "message_too_large": "message_too_large",
    }
)
"""Errors that end a session, in Hume's words."""


@dataclass(slots=True)
class _Utterance:
    """One segment, until its final is told."""

    number: int
    segment: int
    start_ms: int
    measured_ms: int
    """Where its last measurement ended; at first, where it began."""
    end_ms: int = 0


class HumeDialect:
    """One session of Hume's protocol."""

    def __init__(self, handshake: Handshake) -> None:
        """Nothing was said yet.

        Args:
            handshake: its API key is the token.
        """
        self._key: Final = handshake.headers.get("x-hume-api-key")
        self._timer_ms = DEFAULT_TIMER_MS
        self._frames = 0
        self._utterances = 0
        self._measurements = 0
        self._open: _Utterance | None = None
        self._held: Final[deque[SpeechStarted | SpeechEnded]] = deque()
        """Of utterances behind the open one, whose final is not there yet: as many as a session may have unanswered."""

    @property
    def token(self) -> str | None:
        """The API key; without one, a bearer token may be there."""
        return self._key

    @property
    def subprotocol(self) -> str | None:
        """None is known."""
        return None

    def greet(self, session: str) -> Sequence[Step]:
        """The session begins at once, since there is one format of audio alone."""
        request = ListenRequest(audio=_FORMAT, roles=(DEFAULT_ROLE,), language=None, interim=True)
        created = _message("session.created", session_id=session, **self._configuration())
        return Begin(request, token=self._key), Reply(created)

    def read(self, message: str | bytes) -> Sequence[Step]:
        """See `Dialect.read`."""
        return self._frame(message) if isinstance(message, bytes) else self._control(message)

    def tell(self, event: Event) -> Sequence[str]:
        """See `Dialect.tell`."""
        match event:
            case SpeechStarted():
                return self._start(event)
            case SpeechEnded():
                return self._end_speech(event)
            case EmotionEvent():
                return self._measure(event)
            case ErrorEvent():
                return self._fail(event)
            case SessionEnded():
                return (self._closed(event),)
            case _:
                return ()

    def refuse(self, error: StreamingError) -> Sequence[str]:
        """Our own word for it, where Hume has none, as for a server that is full."""
        return (_error(_CODES.get(error.code, error.code), str(error), survives=False),)

    def _frame(self, data: bytes) -> Sequence[Step]:
        wrong = None
        if not data:
            wrong = "an audio frame is empty"
        elif len(data) % Encoding.PCM16.sample_bytes:
            wrong = f"an audio frame has {len(data)} bytes: samples have {Encoding.PCM16.sample_bytes}"
        elif len(data) > _MAX_FRAME_S * _FORMAT.bytes_per_s:
            wrong = f"an audio frame has {len(data)} bytes: send {_MAX_FRAME_S} s at most"
        if wrong:
            return (Reply(_error("invalid_audio_frame", wrong)),)
        self._frames += 1
        return (Audio(data),)

    def _control(self, text: str) -> Sequence[Step]:
        if len(text) > _MAX_TEXT:
            wrong = f"a text message has {len(text)} characters: audio goes in binary messages"
            return (Reply(_error("message_invalid", wrong)),)
        try:
            said = json_object(text)
        except ProtocolError as error:
            return (Reply(_error("message_invalid", str(error))),)
        match said.pop("type", None):
            case "session.update":
                return (self._update(said),)
            case "session.close":
                return (Close(),)
            case _:
                wrong = "the type of a text message is session.update or session.close"
                return (Reply(_error("message_invalid", wrong)),)

    def _update(self, wanted: Mapping[str, Any]) -> Reply:
        """What is left out is as by default.

        Raises:
            ProtocolError: it comes too late, or cannot be.
        """
        if self._frames:
            raise ProtocolError("session.update comes after audio: send it before the first frame")
        given = _given(wanted, "audio", "measurement_timer_ms")
        timer_ms = given.get("measurement_timer_ms", DEFAULT_TIMER_MS)
        if type(timer_ms) is not int or timer_ms not in _TIMER_MS:
            raise ProtocolError(f"measurement_timer_ms must be from {_TIMER_MS[0]} to {_TIMER_MS[-1]}")
        audio = given.get("audio", {})
        if not isinstance(audio, dict):
            raise ProtocolError("audio must be an object")
        for name, value in _given(audio, *_AUDIO).items():
            if type(value) is not type(_AUDIO[name]) or value != _AUDIO[name]:
                raise ProtocolError(f"audio.{name} must be {_AUDIO[name]}")
        self._timer_ms = timer_ms
        return Reply(_message("session.updated", **self._configuration()))

    def _configuration(self) -> dict[str, Any]:
        return {"audio": dict(_AUDIO), "measurement_timer_ms": self._timer_ms}

    def _start(self, event: SpeechStarted) -> Sequence[str]:
        if self._open is not None:
            self._held.append(event)
            return ()
        start_ms = _ms(event.start_s)
        self._open = _Utterance(self._utterances, event.segment, start_ms, start_ms)
        self._utterances += 1
        return (_message("utterance.start", utterance_id=self._open.number, audio_start_ms=start_ms),)

    def _end_speech(self, event: SpeechEnded) -> Sequence[str]:
        if self._open is not None and event.segment == self._open.segment:
            self._open.end_ms = _ms(event.end_s)
        else:
            self._held.append(event)
        return ()

    def _measure(self, event: EmotionEvent) -> Sequence[str]:
        """An interim of an utterance that has not been started yet, since the one before has no final, is left out."""
        utterance = self._open
        if utterance is None or event.segment != utterance.segment:
            return ()
        end_ms = _ms(event.end_s)
        if not event.final and end_ms - utterance.measured_ms < self._timer_ms:
            return ()
        utterance.measured_ms = end_ms
        measured = _message(
            "measurement.result",
            measurement_id=self._measurements,
            utterance_id=utterance.number,
            audio_start_ms=_ms(event.start_s),
            audio_end_ms=end_ms,
            trigger="speech_ended" if event.final else "interval",
            expressions=expressions(event),
            voice_attributes=voice_attributes(event.attributes),
        )
        self._measurements += 1
        return (measured, *self._settle()) if event.final else (measured,)

    def _fail(self, event: ErrorEvent) -> Sequence[str]:
        if event.code == RecognitionError.code and event.channel is not None:
            # Instead of a final; finals come in the order of segments.
            return (_error("internal_error", event.message), *self._settle())
        code = _CODES.get(event.code, "internal_error")
        return (_error(code, event.message, survives=event.code not in _CODES and event.code != StreamingError.code),)

    def _settle(self) -> Sequence[str]:
        """The open utterance is over; of the next one is told what was held back."""
        utterance, self._open = self._open, None
        if utterance is None:
            return ()
        told = [
            _message(
                "utterance.end",
                utterance_id=utterance.number,
                audio_start_ms=utterance.start_ms,
                audio_end_ms=utterance.end_ms,
            )
        ]
        held, count = self._held, len(self._held)
        for event in [held.popleft() for _ in range(count)]:
            told += self.tell(event)
        return told

    def _closed(self, event: SessionEnded) -> str:
        return _message(
            "session.closed",
            session_id=event.session,
            reason=_REASONS.get(event.reason, "error"),
            received={"audio_duration_ms": _ms(event.totals.audio_s), "frames": self._frames},
            produced={"utterances": self._utterances, "measurements": self._measurements},
        )


def _given(wanted: Mapping[str, Any], *known: str) -> dict[str, Any]:
    """What is there and not null.

    Raises:
        ProtocolError: something else is there.
    """
    if not set(wanted) <= set(known):
        raise ProtocolError(f"session.update has a field that is none of {', '.join(known)}")
    return {name: value for name, value in wanted.items() if value is not None}


def _error(code: str, message: str, *, survives: bool = True) -> str:
    """An error; `retryable` says there whether the session goes on."""
    return _message("error", code=code, message=message, retryable=survives)


def _message(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields}, separators=(",", ":"))


def _ms(seconds: float) -> int:
    return round(seconds * _MS_PER_S)
