"""From speech decisions to segments: onset, pause, resumption, end, and the cut of speech that goes on too long.

Pure: time is counted in samples at 16 kHz, and the same frames give the same events however they were chunked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.windows import SAMPLE_RATE_HZ
from streaming.audio.history import AudioHistory
from streaming.audio.pauses import Pauses
from streaming.audio.quietest import quietest_frame
from streaming.config import VadSettings
from streaming.errors import StreamingError

FRAME_SAMPLES: Final = 320
"""20 ms at 16 kHz."""

CUT_FROM: Final = 2 / 3
"""Over-long speech is cut in what lies behind this share of it."""
_CUT_PLANNED_S: Final = 2.0
"""Where it will be cut is settled this long before, so that the answer is there when it is."""
_CUT_PLANNED_SHARE: Final = 1 / 6
"""But not earlier than this share of the longest segment before its limit."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """A segment has begun."""

    segment: int
    """Counts from 1."""
    start_sample: int
    """With the pre-roll."""


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """Silence has lasted for `pause_ms`; if it goes on, the segment ends just here."""

    segment: int
    start_sample: int
    end_sample: int
    """With the post-roll."""


@dataclass(frozen=True, slots=True)
class CutPlanned:
    """Speech has nearly reached its longest; if it goes on without a pause, the segment ends just here."""

    segment: int
    start_sample: int
    end_sample: int


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """The pause was not the end."""

    segment: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """A segment is over."""

    segment: int
    start_sample: int
    end_sample: int
    reason: Literal["silence", "max_length", "stream_end"]


SegmentEvent = SpeechStarted | SpeechPaused | CutPlanned | SpeechResumed | SpeechEnded


@dataclass(frozen=True, slots=True)
class OpenSegment:
    """The segment that is going on."""

    segment: int
    start_sample: int
    end_sample: int
    """As far as it was heard."""
    is_paused: bool


class _State(Enum):
    SILENT = auto()
    CANDIDATE = auto()
    """Speech, but not yet enough of it to be a segment."""
    SPEAKING = auto()
    PAUSED = auto()


class Segmenter:
    """One channel's segments.

    A segment opens after `start_ms` of speech without a gap and `min_segment_ms` of it within `max_segment_s`. It
    pauses after `pause_ms` of silence, resumes after `start_ms` of speech, and ends after `endpoint_ms` of silence, or
    what the speaker's own pauses ask for between `endpoint_min_ms` and `endpoint_max_ms`: each segment keeps the
    endpoint that was known when it opened. Speech that reaches `max_segment_s` is cut in the quietest place of its
    last third, which is settled a little before and void if speech pauses after all. What lies between two segments is
    heard once: a pre-roll never reaches into the segment before.
    """

    def __init__(self, settings: VadSettings) -> None:
        """Starts in silence.

        Args:
            settings: durations and the threshold of speech.
        """
        self._threshold = settings.threshold
        self._start_frames = _frames(settings.start_ms)
        self._least_frames = max(self._start_frames, _frames(settings.min_segment_ms))
        self._pause = _samples(settings.pause_ms)
        self._pauses = Pauses(
            _samples(settings.endpoint_ms), _samples(settings.endpoint_min_ms), _samples(settings.endpoint_max_ms)
        )
        self._endpoint = self._pauses.endpoint
        self._pre_roll = _samples(settings.pre_roll_ms)
        self._post_roll = min(_samples(settings.post_roll_ms), self._pause)
        self._longest = round(settings.max_segment_s * SAMPLE_RATE_HZ) // FRAME_SAMPLES * FRAME_SAMPLES
        self._plan_from = self._longest - round(cut_planned_s(settings.max_segment_s) * SAMPLE_RATE_HZ)
        self._history = AudioHistory()
        self._state = _State.SILENT
        self._segment = 0
        self._position = 0
        self._start = 0
        self._onset = 0
        self._run_frames = 0
        self._speech_frames = 0
        self._speech_end = 0
        self._free_from = 0
        """Where the segment before ended."""
        self._cut_at: int | None = None
        """Where the open segment is to be cut if it does not pause first."""
        self._fell_silent: int | None = None
        """Where the speech of a segment that silence ended was over, until it is known whether it goes on."""
        self._cut_open_until = 0
        """Speech that begins before this goes on what was cut, however short it is."""

    @property
    def open_segment(self) -> OpenSegment | None:
        """The segment that is going on; None in silence."""
        if self._state not in {_State.SPEAKING, _State.PAUSED}:
            return None
        return OpenSegment(self._segment, self._start, self._position, self._state is _State.PAUSED)

    @property
    def held_samples(self) -> int:
        """How much audio is kept.

        At most the longest segment (or `min_segment_ms`, if that is more), the pre-roll, `start_ms`, and what the last
        push brought.
        """
        return self._history.end - self._history.start

    def audio(self, start_sample: int, end_sample: int) -> NDArray[np.float32]:
        """Audio of the segment that is open or has just ended, until the next `push`.

        Raises:
            StreamingError: some of it is not held any more.
        """
        return self._history.between(start_sample, end_sample)

    def push(self, frames: NDArray[np.float32], speech: NDArray[np.float32]) -> list[SegmentEvent]:
        """Takes the next frames.

        Args:
            frames: `[frames, FRAME_SAMPLES]`.
            speech: `[frames]`, how likely each is speech.

        Returns:
            What happened, in order.

        Raises:
            StreamingError: frames and judgements do not belong together.
        """
        if frames.shape != (len(speech), FRAME_SAMPLES):
            raise StreamingError(
                f"{len(speech)} judgements need frames of shape ({len(speech)}, {FRAME_SAMPLES}), got {frames.shape}"
            )
        self._forget()
        self._history.append(frames.reshape(-1))
        events: list[SegmentEvent] = []
        for is_speech in speech >= self._threshold:
            self._position += FRAME_SAMPLES
            self._step(bool(is_speech), events)
        return events

    def flush(self) -> list[SegmentEvent]:
        """Ends an open segment where it is; what was too short to be one is dropped."""
        events: list[SegmentEvent] = []
        if self._state in {_State.SPEAKING, _State.PAUSED}:
            self._end(self._pause_end(), "stream_end", events)
        self._silence()
        self._run_frames = 0
        self._fell_silent = None
        return events

    def _step(self, is_speech: bool, events: list[SegmentEvent]) -> None:
        self._run_frames = self._run_frames + 1 if is_speech else 0
        spoken = self._run_frames >= self._start_frames
        match self._state:
            case _State.SILENT if spoken:
                self._state = _State.CANDIDATE
                self._onset = self._run_onset()
                self._start = max(self._free_from, self._history.start, self._onset - self._pre_roll)
                self._speech_frames = self._least_frames if self._onset < self._cut_open_until else self._run_frames
                self._speech_end = self._position
                self._open_if_enough(events)
            case _State.CANDIDATE:
                self._count(is_speech)
                if not is_speech and self._position - self._speech_end >= self._pause:
                    self._silence()
                else:
                    self._open_if_enough(events)
                    self._give_up_if_sparse()
            case _State.SPEAKING:
                self._count(is_speech)
                if not is_speech and self._position - self._speech_end >= self._pause:
                    self._state = _State.PAUSED
                    self._cut_at = None
                    events.append(SpeechPaused(self._segment, self._start, self._pause_end()))
                self._cut_if_long(events)
            case _State.PAUSED:
                if spoken:
                    self._state = _State.SPEAKING
                    self._pauses.observe(self._run_onset() - self._speech_end)
                    self._speech_end = self._position
                    events.append(SpeechResumed(self._segment))
                elif not is_speech and self._position - self._speech_end >= self._endpoint:
                    self._fell_silent = self._speech_end
                    self._end(self._pause_end(), "silence", events)
                    return
                self._cut_if_long(events)
            case _:
                pass

    def _count(self, is_speech: bool) -> None:
        if is_speech:
            self._speech_frames += 1
            self._speech_end = self._position

    def _open_if_enough(self, events: list[SegmentEvent]) -> None:
        if self._speech_frames >= self._least_frames:
            if self._fell_silent is not None:
                self._pauses.observe(self._onset - self._fell_silent)
                self._fell_silent = None
            self._open(events)
            self._cut_if_long(events)

    def _open(self, events: list[SegmentEvent]) -> None:
        self._state = _State.SPEAKING
        self._endpoint = self._pauses.endpoint
        self._segment += 1
        events.append(SpeechStarted(self._segment, self._start))

    def _run_onset(self) -> int:
        return self._position - self._run_frames * FRAME_SAMPLES

    def _give_up_if_sparse(self) -> None:
        """Clicks are not collected for ever; speech that is going on just now begins anew with its own onset."""
        if self._state is _State.CANDIDATE and self._position - self._start >= self._longest:
            self._silence()

    def _pause_end(self) -> int:
        return min(self._speech_end + self._post_roll, self._position, self._start + self._longest)

    def _cut_if_long(self, events: list[SegmentEvent]) -> None:
        while self._state is _State.SPEAKING and self._position - self._start >= self._plan_from:
            if self._cut_at is None:
                self._cut_at = self._quietest_place()
                events.append(CutPlanned(self._segment, self._start, self._cut_at))
            if self._position - self._start < self._longest:
                return
            self._cut(self._cut_at, events)
        if self._state is _State.PAUSED and self._position - self._start >= self._longest:
            self._end(self._pause_end(), "max_length", events)
            self._cut_open_until = self._speech_end + self._endpoint

    def _quietest_place(self) -> int:
        first = self._start + int(self._longest * CUT_FROM) // FRAME_SAMPLES * FRAME_SAMPLES
        audio = self._history.between(first, min(self._position, self._start + self._longest))
        frames = audio[: audio.size // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        return first + quietest_frame(frames) * FRAME_SAMPLES

    def _cut(self, cut: int, events: list[SegmentEvent]) -> None:
        self._end(cut, "max_length", events)
        if self._speech_end > cut:
            self._start = cut
            self._open(events)
        else:
            self._cut_open_until = self._speech_end + self._endpoint

    def _end(
        self, end: int, reason: Literal["silence", "max_length", "stream_end"], events: list[SegmentEvent]
    ) -> None:
        events.append(SpeechEnded(self._segment, self._start, end, reason))
        self._free_from = end
        self._cut_at = None
        self._silence()

    def _silence(self) -> None:
        self._state = _State.SILENT
        self._speech_frames = 0

    def _forget(self) -> None:
        """Drops audio that no segment can reach any more."""
        if self._state is _State.SILENT:
            reach = self._pre_roll + max(self._start_frames, self._run_frames) * FRAME_SAMPLES
            self._history.drop_before(max(self._history.start, self._position - reach))
        else:
            self._history.drop_before(self._start)


def cut_planned_s(max_segment_s: float) -> float:
    """How long before the longest segment is full it is settled where it will be cut."""
    return min(_CUT_PLANNED_S, _CUT_PLANNED_SHARE * max_segment_s)


def _samples(milliseconds: int) -> int:
    return milliseconds * SAMPLE_RATE_HZ // 1000


def _frames(milliseconds: int) -> int:
    return -(-_samples(milliseconds) // FRAME_SAMPLES)
