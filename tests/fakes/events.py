"""Events as a session would make them, for tests of what carries them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

from streaming.events import (
    AudioInfo,
    EmotionEvent,
    Event,
    Latency,
    Limits,
    ModelInfo,
    SessionEnded,
    SessionStarted,
    SpeechEnded,
    SpeechStarted,
    Totals,
    TranscriptEvent,
)

_Made = TypeVar("_Made", bound=Event)
MOMENT = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


class EventSource:
    """Numbers one session's events."""

    def __init__(self, session: str = "s1") -> None:
        self.session = session
        self.seq = 0

    def _make(self, event: type[_Made], **fields: Any) -> _Made:
        self.seq += 1
        return event(session=self.session, seq=self.seq, time_s=self.seq / 10, **fields).stamped(MOMENT)

    def started(self) -> SessionStarted:
        return self._make(
            SessionStarted,
            audio=AudioInfo(encoding="pcm_s16le", rate_hz=16_000, channels=1),
            model=ModelInfo(bundle="fake", sha256="0" * 64, profile="base", labels=("angry", "neutral")),
            limits=Limits(max_message_bytes=1024, max_segment_s=15, idle_timeout_s=60, replay_events=10),
        )

    def speech_started(self, channel: int = 0) -> SpeechStarted:
        return self._make(SpeechStarted, channel=channel, role="customer", segment=1, start_s=0.1)

    def speech_ended(self, channel: int = 0) -> SpeechEnded:
        return self._make(
            SpeechEnded, channel=channel, role="customer", segment=1, start_s=0.1, end_s=0.2, reason="silence"
        )

    def transcript(self, *, final: bool, text: str = "well then", channel: int = 0) -> TranscriptEvent:
        return self._make(
            TranscriptEvent,
            channel=channel,
            role="customer",
            segment=1,
            final=final,
            committed=text,
            tentative="",
            language="en",
            words=(),
        )

    def emotion(self, *, final: bool, total_ms: float = 900, channel: int = 0) -> EmotionEvent:
        return self._make(
            EmotionEvent,
            channel=channel,
            role="customer",
            segment=1,
            start_s=0.1,
            end_s=0.2,
            final=final,
            label="angry",
            abstained=False,
            confidence=0.7,
            scores={"angry": 0.7, "neutral": 0.3},
            attributes=None,
            text="well then",
            latency=Latency(
                endpoint_ms=600 if final else 0,
                queue_ms=10,
                compute_ms=200,
                total_ms=total_ms,
                request_ms=200 if final else 0,
                encode_ms=50,
                decode_ms=120,
                emotion_ms=30,
                emit_ms=1,
            ),
        )

    def interim(self) -> TranscriptEvent:
        return self.transcript(final=False)

    def final(self) -> TranscriptEvent:
        return self.transcript(final=True)

    def ended(self) -> SessionEnded:
        return self._make(
            SessionEnded,
            reason="client_close",
            totals=Totals(audio_s=1.0, speech_s=0.1, segments=1, finals=1, interims=1),
        )
