"""From events to the life of each segment: when it was spoken, and where the time until its answer went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from streaming.errors import RecognitionError
from streaming.events import (
    EmotionEvent,
    ErrorEvent,
    Event,
    Latency,
    SpeechEnded,
    SpeechEvent,
    SpeechStarted,
    TranscriptEvent,
)

MAX_SEGMENTS: Final = 500
"""Segments that are kept: the newest, so that a day of recording does not fill the memory."""
_LEAST_MS: Final = 0.5
"""Rounding of the stages amounts to less."""


class Stage(StrEnum):
    """What time goes into, in the order of a final's way."""

    SILENCE = "endpoint silence"
    QUEUE = "queue"
    ENCODE = "encode"
    DECODE = "decode"
    EMOTION = "emotion"
    REST = "rest of the batch"
    EMIT = "emit"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, counted from the arrival of the segment's last speech."""

    stage: Stage
    start_ms: float
    end_ms: float


@dataclass(slots=True)
class SegmentTrace:
    """The life of one segment, as far as it went."""

    channel: int
    role: str
    segment: int
    start_s: float
    """On the audio clock, pre-roll included, as all its moments in seconds."""
    end_s: float | None = None
    """None while it is open."""
    interims_s: list[float] = field(default_factory=list)
    """When interims were told."""
    answered: bool = False
    """Whether its final transcript came."""
    failed: bool = False
    """Whether an error came in place of it."""
    label: str | None = None
    """Of its final emotion; None also where the ensemble abstained or the channel is not scored."""
    text: str = ""
    latency: Latency | None = None
    """Of its final emotion; None on channels that are not scored."""

    @property
    def duration_s(self) -> float:
        """Audio of the segment; of an open one, as far as interims told of it."""
        end_s = self.end_s if self.end_s is not None else max(self.interims_s, default=self.start_s)
        return max(0.0, end_s - self.start_s)

    @property
    def total_ms(self) -> float:
        """From the last speech to the final emotion; 0 where there was none."""
        return self.latency.total_ms if self.latency is not None else 0.0

    @property
    def outcome(self) -> str:
        """The label, or in words why there is none."""
        if self.failed:
            return "failed"
        if not self.answered:
            return "no answer"
        if self.latency is None:
            return "not scored"
        return self.label or "not sure"

    def spans(self) -> Iterator[Span]:
        """Where the time after the last speech went; those of no length are left out."""
        told = self.latency
        if told is None:
            return
        begun_ms = told.request_ms + told.queue_ms
        encoded_ms = begun_ms + told.encode_ms
        decoded_ms = encoded_ms + told.decode_ms
        scored_ms = decoded_ms + told.emotion_ms
        done_ms = begun_ms + told.compute_ms
        for span in (
            Span(Stage.SILENCE, 0.0, told.endpoint_ms),
            Span(Stage.QUEUE, told.request_ms, begun_ms),
            Span(Stage.ENCODE, begun_ms, encoded_ms),
            Span(Stage.DECODE, encoded_ms, decoded_ms),
            Span(Stage.EMOTION, decoded_ms, scored_ms),
            Span(Stage.REST, scored_ms, done_ms if done_ms - scored_ms >= _LEAST_MS else scored_ms),
            Span(Stage.EMIT, told.total_ms - told.emit_ms, told.total_ms),
        ):
            if span.end_ms > span.start_ms:
                yield span


class Tracer:
    """Takes the events of one session in their order; keeps no clock."""

    def __init__(self) -> None:
        """Starts with nothing heard."""
        self._lives: dict[tuple[int, int], SegmentTrace] = {}
        self.left_out = 0
        """Older segments that are not kept any more."""

    @property
    def segments(self) -> tuple[SegmentTrace, ...]:
        """Those kept, in the order in which they began."""
        return tuple(sorted(self._lives.values(), key=lambda life: (life.start_s, life.channel)))

    def take(self, event: Event) -> None:
        """Follows one event."""
        match event:
            case SpeechStarted():
                self._begin(event)
            case ErrorEvent(code=RecognitionError.code, channel=int(channel)):
                self._fail(channel)
            case SpeechEnded() | TranscriptEvent() | EmotionEvent():
                life = self._lives.get((event.channel, event.segment))
                if life is not None:
                    _follow(life, event)
            case _:
                pass

    def _begin(self, event: SpeechStarted) -> None:
        if len(self._lives) == MAX_SEGMENTS:
            del self._lives[next(iter(self._lives))]
            self.left_out += 1
        life = SegmentTrace(event.channel, event.role, event.segment, event.start_s)
        self._lives[event.channel, event.segment] = life

    def _fail(self, channel: int) -> None:
        """An error stands in place of the oldest final that is due, since finals come in order."""
        for life in self._lives.values():
            if life.channel == channel and life.end_s is not None and not (life.answered or life.failed):
                life.failed = True
                return


def _follow(life: SegmentTrace, event: SpeechEvent) -> None:
    match event:
        case SpeechEnded(end_s=end_s):
            life.end_s = end_s
        case TranscriptEvent(final=False, time_s=time_s):
            life.interims_s.append(time_s)
        case TranscriptEvent(committed=text):
            life.answered, life.text = True, text
        case EmotionEvent(final=True, label=label, latency=latency):
            life.label, life.latency = label, latency
        case _:
            pass
