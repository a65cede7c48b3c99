"""How the plain server hears: bytes in, whole segments out, nothing computed ahead.

The detector, the segmenter and the settings are ours, so that both servers answer for the same stretches of speech,
with the same silence at their end: what is compared is what comes after.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.windows import SAMPLE_RATE_HZ
from streaming.arrivals import Arrivals
from streaming.audio.codecs import Decoder, Encoding
from streaming.audio.segmenter import FRAME_SAMPLES, Segmenter, SegmentEvent, SpeechEnded, SpeechStarted
from streaming.audio.vad import VoiceActivityDetector
from streaming.config import VadSettings
from streaming.voicing import VoicedFrames

_MS_PER_S: Final = 1000


@dataclass(frozen=True, slots=True)
class Onset:
    """Somebody began to speak."""

    segment: int
    start_s: float


@dataclass(frozen=True, slots=True)
class Spoken:
    """A segment that is over."""

    segment: int
    start_s: float
    end_s: float
    reason: Literal["silence", "max_length", "stream_end"]
    speech_s: float
    """Length less its margins."""
    arrived_s: float
    """When its last sample of speech had arrived."""
    decided_s: float
    """When it was known to be over."""
    samples: NDArray[np.float32] = field(repr=False)
    """`[samples]`, 16 kHz."""


class PlainHearing:
    """One session's ear."""

    def __init__(self, settings: VadSettings, vad: VoiceActivityDetector) -> None:
        """Has heard nothing yet.

        Args:
            settings: what counts as speech, and where a segment ends.
            vad: the session's own detector.
        """
        horizon_s = settings.max_segment_s + (settings.endpoint_ms + settings.pre_roll_ms) / _MS_PER_S
        self._threshold = settings.threshold
        self._decoder = Decoder(Encoding.PCM16, 1)
        self._vad = vad
        self._segmenter = Segmenter(settings)
        self._voiced = VoicedFrames(round(horizon_s * SAMPLE_RATE_HZ))
        self._arrivals = Arrivals(horizon_s)
        self._undecided = np.zeros(0, dtype=np.float32)
        self._heard_samples = 0

    @property
    def clock_s(self) -> float:
        """Audio heard."""
        return self._heard_samples / SAMPLE_RATE_HZ

    def hear(self, data: bytes, now_s: float) -> list[Onset | Spoken]:
        """Hears mono PCM16 at 16 kHz; samples may be split anywhere.

        Args:
            data: as it arrived.
            now_s: when, on a clock that never goes back.
        """
        samples = self._decoder.push(data)[0]
        self._heard_samples += len(samples)
        self._arrivals.record(self.clock_s, now_s)
        self._undecided = np.concatenate([self._undecided, samples])
        speech = self._vad.push(samples)
        decided = len(speech) * FRAME_SAMPLES
        frames = self._undecided[:decided].reshape(-1, FRAME_SAMPLES)
        self._undecided = self._undecided[decided:]
        self._voiced.push(speech >= self._threshold)
        return self._told(self._segmenter.push(frames, speech), now_s)

    def finish(self, now_s: float) -> list[Onset | Spoken]:
        """Ends open speech: no audio will follow."""
        return self._told(self._segmenter.flush(), now_s)

    def _told(self, events: list[SegmentEvent], now_s: float) -> list[Onset | Spoken]:
        told: list[Onset | Spoken] = []
        for event in events:
            if isinstance(event, SpeechStarted):
                told.append(Onset(event.segment, event.start_sample / SAMPLE_RATE_HZ))
            elif isinstance(event, SpeechEnded):
                told.append(self._spoken(event, now_s))
        return told

    def _spoken(self, event: SpeechEnded, now_s: float) -> Spoken:
        begin, end = self._voiced.span(event.start_sample, event.end_sample)
        return Spoken(
            segment=event.segment,
            start_s=event.start_sample / SAMPLE_RATE_HZ,
            end_s=event.end_sample / SAMPLE_RATE_HZ,
            reason=event.reason,
            speech_s=(end - begin) / SAMPLE_RATE_HZ,
            arrived_s=self._arrivals.of(end / SAMPLE_RATE_HZ),
            decided_s=now_s,
            samples=self._segmenter.audio(event.start_sample, event.end_sample),
        )
