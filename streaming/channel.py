"""One channel: its audio on the way to segments, and its segments in order."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.speaker import UNHEARD, remember
from models.windows import SAMPLE_RATE_HZ
from streaming.actions import Outbox
from streaming.answers import Stretch
from streaming.arrivals import Arrivals
from streaming.audio.resample import StreamResampler
from streaming.audio.segmenter import (
    FRAME_SAMPLES,
    CutPlanned,
    Segmenter,
    SegmentEvent,
    SpeechEnded,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
)
from streaming.audio.vad import VoiceActivityDetector
from streaming.config import Settings
from streaming.recognition.degradation import Degradation
from streaming.recognition.request import RecognitionOutcome, RecognitionResult
from streaming.segment import Known, Segment, Speaker, Tally
from streaming.voicing import VoicedFrames

FIRST_INTERIM_SHARE: Final = 0.5
"""The first interim comes after this share of the usual distance, so that something shows soon."""
FIRST_INTERIM_MIN_S: Final = 0.6
"""But not before there is so much speech: less is not worth recognising."""
MS_PER_S: Final = 1000
DETECTOR_LAG_FRAMES: Final = 50
"""Frames of silence a detector is given, at most, to judge the last audio of a stream."""
LANGUAGE_CONFIDENCE: Final = 0.8
"""A language detected in a final with this probability is taken for the channel's from then on."""


class Channel:
    """One speaker's audio: resampled, cut into segments, and recognised in order.

    Args:
        speaker: who it is.
        settings: all of them.
        rate_hz: of the audio that `hear` is given.
        outbox: where actions go.
        arrivals: when audio was received; the session keeps it.
        vad: this channel's own detector.
        language: of the speech, or None to detect it.
        interim: whether interims are wanted.
    """

    def __init__(
        self,
        speaker: Speaker,
        settings: Settings,
        *,
        rate_hz: int,
        outbox: Outbox,
        arrivals: Arrivals,
        vad: VoiceActivityDetector,
        language: str | None,
        interim: bool,
    ) -> None:
        self.tally: Final = Tally()
        self._speaker: Final = speaker
        self._settings: Final = settings
        self._outbox: Final = outbox
        self._arrivals: Final = arrivals
        self._resampler: Final = StreamResampler(rate_hz)
        self._vad: Final = vad
        self._segmenter: Final = Segmenter(settings.vad)
        horizon_s = settings.vad.max_segment_s + (settings.vad.endpoint_max_ms + settings.vad.pre_roll_ms) / MS_PER_S
        self._voiced: Final = VoicedFrames(round(horizon_s * SAMPLE_RATE_HZ))
        self._heard_samples = 0
        self._decided_samples = 0
        self._undecided = np.zeros(0, dtype=np.float32)
        self._known = Known(language, UNHEARD)
        self._interim: Final = interim
        self._interim_samples: Final = round(settings.asr.interim_s * SAMPLE_RATE_HZ)
        first_s = max(FIRST_INTERIM_MIN_S, FIRST_INTERIM_SHARE * settings.asr.interim_s)
        self._first_interim_samples: Final = round(first_s * SAMPLE_RATE_HZ)
        self._next_interim_samples = self._first_interim_samples
        self._step = Degradation.NONE
        self._open: Segment | None = None
        self._ended: Final[deque[Segment]] = deque()

    @property
    def outstanding(self) -> int:
        """Ended segments whose final was not emitted yet."""
        return len(self._ended)

    def hear(self, samples: NDArray[np.float32], now_s: float) -> None:
        """Takes the next `[samples]` at the channel's own rate."""
        heard = self._resampler.push(samples)
        self._heard_samples += len(heard)
        self._detect(heard, now_s)
        self._ask_interim()

    def pace(self, step: Degradation) -> None:
        """Asks for interims as this step of degradation allows."""
        self._step = step

    def flush(self, now_s: float) -> None:
        """Ends open speech where it is."""
        for event in self._segmenter.flush():
            self._follow(event, now_s)

    def finish(self, now_s: float) -> None:
        """Hears what is left in the resampler and the detector, and ends open speech."""
        tail = self._resampler.flush()
        self._heard_samples += len(tail)
        self._detect(tail, now_s)
        for _ in range(DETECTOR_LAG_FRAMES):
            if self._decided_samples >= self._heard_samples:
                break
            self._detect(np.zeros(FRAME_SAMPLES, dtype=np.float32), now_s)
        self.flush(now_s)

    def resolve(self, outcome: RecognitionOutcome, now_s: float) -> None:
        """Takes the outcome of one of this channel's requests."""
        for segment in (self._open, *self._ended):
            if segment is not None and segment.number == outcome.request.segment:
                segment.resolve(outcome, now_s)
        self._deliver(now_s)

    def abandon(self, message: str, now_s: float) -> None:
        """Stops waiting for finals: each that is missing fails with `message`."""
        for segment in self._ended:
            segment.abandon(message)
        self._deliver(now_s)

    def _detect(self, samples: NDArray[np.float32], now_s: float) -> None:
        self._undecided = np.concatenate([self._undecided, samples])
        speech = self._vad.push(samples)
        decided = len(speech) * FRAME_SAMPLES
        frames = self._undecided[:decided].reshape(-1, FRAME_SAMPLES)
        self._undecided = self._undecided[decided:]
        self._decided_samples += decided
        self._voiced.push(speech >= self._settings.vad.threshold)
        for event in self._segmenter.push(frames, speech):
            self._follow(event, now_s)

    def _follow(self, event: SegmentEvent, now_s: float) -> None:
        match event:
            case SpeechStarted():
                self._start(event)
            case SpeechPaused() | CutPlanned() if self._open is not None:
                self._open.foresee(self._stretch(event.start_sample, event.end_sample), self._known)
            case SpeechResumed() if self._open is not None:
                self._open.resume()
            case SpeechEnded() if self._open is not None:
                stretch = self._stretch(event.start_sample, event.end_sample)
                self._open.end(stretch, event.reason, self._known, now_s)
                self._ended.append(self._open)
                self._open = None
                self._deliver(now_s)

    def _start(self, event: SpeechStarted) -> None:
        self._open = Segment(
            event.segment, event.start_sample, speaker=self._speaker, outbox=self._outbox, tally=self.tally
        )
        self._next_interim_samples = self._first_interim_samples

    def _ask_interim(self) -> None:
        opened = self._segmenter.open_segment
        if not self._interim or self._open is None or opened is None:
            return
        if opened.is_paused or self._open.awaits_interim:
            return
        speech_start, speech_end = self._voiced.span(opened.start_sample, opened.end_sample)
        speech_samples = speech_end - speech_start
        if speech_samples >= self._next_interim_samples:
            stretch = self._stretch(opened.start_sample, opened.end_sample)
            self._open.ask_interim(stretch, self._known, words=self._step.words)
            self._next_interim_samples = speech_samples + round(self._step.spacing * self._interim_samples)

    def _stretch(self, start_sample: int, end_sample: int) -> Stretch:
        end_sample = min(end_sample, self._heard_samples)  # the silence that pads the stream is nobody's audio
        speech_start, speech_end = self._voiced.span(start_sample, end_sample)
        return Stretch(
            start_sample,
            end_sample,
            speech_samples=speech_end - speech_start,
            arrived_s=self._arrivals.of(speech_end / SAMPLE_RATE_HZ),
            samples=self._segmenter.audio(start_sample, end_sample),
        )

    def _deliver(self, now_s: float) -> None:
        while self._ended and self._ended[0].settled:
            result = self._ended.popleft().deliver(now_s)
            if result is not None:
                self._learn(result)

    def _learn(self, result: RecognitionResult) -> None:
        said, language = result.transcript, self._known.language
        if language is None and said.text and said.language_probability >= LANGUAGE_CONFIDENCE:
            language = said.language
        self._known = Known(language, remember(self._known.heard, result.moments))
