"""Wyoming, the protocol of Home Assistant's voice services (https://github.com/OHF-Voice/wyoming), over TCP.

`describe` is answered with `info`, `ping` with `pong`. Then, any number of times on one connection: `transcribe`, which
may name a language, `audio-start`, `audio-chunk` with 16-bit PCM, `audio-stop`. Each stretch from `audio-start` to
`audio-stop` is a session of its own. It is told as Wyoming tells transcripts that are streamed: `transcript-start`,
`transcript-chunk` with words as they settle, in the end `transcript` with all of them and `transcript-stop`.

Wyoming has no words for emotions. Each is an event of a type of our own, `medusa-emotion`, which other programs leave
aside, and `context` of the transcript holds how the utterance was said in all.

Messages are whole events, as `streaming.protocols.wyoming_events` cuts them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.config import Settings
from streaming.errors import AudioFormatError, ProtocolError, StreamingError
from streaming.events import (
    EmotionEvent,
    ErrorEvent,
    Event,
    SessionEnded,
    SessionStarted,
    SpeechStarted,
    TranscriptEvent,
)
from streaming.protocols.dialect import DEFAULT_ROLE, Audio, Begin, Close, ListenRequest, Reply, Step
from streaming.protocols.wyoming_events import WyomingEvent, read_event, write_event
from streaming.protocols.wyoming_utterance import Utterance
from streaming.recognition.languages import WHISPER_LANGUAGES

EMOTION: Final = "medusa-emotion"
"""Type of the events that tell of emotions, and the key of the summary in a transcript's context."""
_SHOWN: Final = frozenset(
    {"session", "segment", "final", "start_s", "end_s", "label", "abstained", "confidence", "scores", "attributes"}
)
"""Of an emotion. Its words are in the transcript."""
_SAMPLE_BYTES: Final = 2
_CHANNELS: Final = 1
_LANGUAGE: Final = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9_-]*)?")
_MAX_QUOTED: Final = 32
_DONE: Final = "client_close"


def describe(settings: Settings) -> bytes:
    """The `info` event: what is offered here."""
    fixed = settings.asr.language
    model = {
        "name": settings.asr.model,
        "description": "Whisper by OpenAI",
        "attribution": {"name": "OpenAI", "url": "https://github.com/openai/whisper"},
        "installed": True,
        "version": None,
        "languages": [fixed] if fixed else list(WHISPER_LANGUAGES),
    }
    program = {
        "name": "MEDUSA live",
        "description": "Words, and how they are said",
        "attribution": {"name": "MEDUSA", "url": "https://arxiv.org/abs/2506.09556"},
        "installed": True,
        "version": version("medusa-live"),
        "models": [model],
        "supports_transcript_streaming": True,
        "requires_external_vad": True,
    }
    return write_event("info", {"asr": [program]})


class WyomingDialect:
    """One connection.

    Args:
        settings: all of them.
    """

    def __init__(self, settings: Settings) -> None:
        self._info = describe(settings)
        self._max_payload_bytes: Final = settings.server.max_message_bytes
        self._max_utterance_s: Final = settings.wyoming.max_utterance_s
        self._language: str | None = None
        self._audio: AudioFormat | None = None
        """Of the utterance that is being sent."""
        self._left_bytes = 0.0
        self._utterance: Utterance | None = None
        """The one that is being answered."""

    def read(self, message: str | bytes) -> Sequence[Step]:
        """See `Dialect.read`."""
        if isinstance(message, str):
            raise ProtocolError("events come as bytes")
        event = read_event(message, self._max_payload_bytes)
        steps: Sequence[Step] = ()  # of events of other services, and of what Wyoming may add
        match event.type:
            case "describe":
                steps = (Reply(self._info),)
            case "ping":
                text = event.data.get("text")
                steps = (Reply(write_event("pong", {"text": text if isinstance(text, str) else None})),)
            case "transcribe":
                self._ask(event.data)
            case "audio-start":
                steps = (self._begin(event.data),)
            case "audio-chunk":
                steps = (self._hear(event),)
            case "audio-stop":
                steps = (self._stop(),)
        return steps

    def tell(self, event: Event) -> Sequence[bytes]:
        """What the peer is sent of an event."""
        if isinstance(event, SessionStarted):
            self._utterance = Utterance(event.session, self._language)
            return (write_event("transcript-start", {"language": self._language} if self._language else None),)
        return () if self._utterance is None else self._tell(self._utterance, event)

    def _tell(self, utterance: Utterance, event: Event) -> Sequence[bytes]:
        told: Sequence[bytes] = ()
        match event:
            case SpeechStarted(segment=segment):
                utterance.began(segment)
            case TranscriptEvent():
                fresh = utterance.heard(event)
                told = (write_event("transcript-chunk", {"text": fresh}),) if fresh else ()
            case EmotionEvent():
                utterance.judged(event)
                told = (write_event(EMOTION, event.model_dump(mode="json", include=set(_SHOWN))),)
            case ErrorEvent(code=code, message=message, channel=channel):
                if channel is not None:
                    utterance.failed()
                told = (_error(code, message),)
            case SessionEnded(reason=reason):
                told = self._end(utterance, reason)
        return told

    def refuse(self, error: StreamingError) -> Sequence[bytes]:
        """An `error` event with what was wrong."""
        return (_error(error.code, str(error)),)

    def _ask(self, asked: Mapping[str, Any]) -> None:
        """`transcribe`: its language holds for the next utterance; there is one model, whatever its name."""
        if self._audio is not None:
            raise ProtocolError("transcribe comes before audio-start")
        language = asked.get("language")
        if not language:
            self._language = None
            return
        written = _LANGUAGE.fullmatch(str(language))
        code = written[1].lower() if written else ""
        if code not in WHISPER_LANGUAGES:
            quoted = repr(str(language)[:_MAX_QUOTED])
            raise ProtocolError(f"language {quoted} is none that is offered: name one of those in info, or none")
        self._language = code

    def _begin(self, shape: Mapping[str, Any]) -> Begin:
        if self._audio is not None:
            raise ProtocolError("the audio starts twice: send audio-stop first")
        rate_hz, width, channels = (shape.get(name) for name in ("rate", "width", "channels"))
        if width != _SAMPLE_BYTES or channels != _CHANNELS or type(rate_hz) is not int:
            raise AudioFormatError(
                "audio-start must say a rate, a width of 2 (16-bit PCM) and 1 channel: convert the audio"
            )
        self._audio = AudioFormat(Encoding.PCM16, rate_hz, _CHANNELS)
        self._left_bytes = self._max_utterance_s * self._audio.bytes_per_s
        return Begin(ListenRequest(self._audio, (DEFAULT_ROLE,), self._language, interim=True))

    def _hear(self, chunk: WyomingEvent) -> Audio:
        if self._audio is None:
            raise ProtocolError("audio comes before audio-start")
        told = {"rate": self._audio.rate_hz, "width": _SAMPLE_BYTES, "channels": _CHANNELS}
        for name, value in told.items():
            if chunk.data.get(name, value) != value:
                raise ProtocolError(f"the {name} of an audio-chunk is not that of audio-start, which was {value}")
        self._left_bytes -= len(chunk.payload)
        if self._left_bytes < 0:
            raise ProtocolError(
                f"more than {self._max_utterance_s:g} s of audio without an audio-stop: send it, or raise [wyoming] "
                "max_utterance_s"
            )
        return Audio(chunk.payload)

    def _stop(self) -> Close:
        if self._audio is None:
            raise ProtocolError("audio-stop comes before audio-start")
        self._audio = None
        return Close()

    def _end(self, utterance: Utterance, reason: str) -> Sequence[bytes]:
        """The transcript, or why there is none: words that were cut off must not be taken for a command."""
        self._utterance = self._language = None
        if reason != _DONE:
            return (_error(reason, f"the utterance ended before its audio-stop ({reason}): it has no transcript"),)
        said: dict[str, Any] = {"text": utterance.text, "context": {EMOTION: utterance.summary()}}
        if utterance.language is not None:
            said["language"] = utterance.language
        return write_event("transcript", said), write_event("transcript-stop")


def _error(code: str, message: str) -> bytes:
    return write_event("error", {"text": message, "code": code})
