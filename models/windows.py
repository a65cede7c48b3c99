"""The window policy: how much audio and silence a segment is padded to before a speech encoder sees it.

A short window is fast; a bare one makes the decoder miss its end. The policy is part of the bundle, because the
features members were trained on depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.errors import FeatureError

SAMPLE_RATE_HZ: Final = 16_000
MEL_HOP_SAMPLES: Final = 160
ENCODER_HOP_SAMPLES: Final = 320
"""Whisper, WavLM and HuBERT all give one frame every 20 ms."""
FRAME_SAMPLES: Final = 400
"""What one frame of WavLM or HuBERT hears: of a shorter clip they say nothing."""
LONGEST_WINDOW_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """Which window a segment is encoded in."""

    buckets_s: tuple[float, ...]
    """Window lengths to choose from, ascending; the first is the floor."""
    tail_s: float
    """Silence that must fit behind the segment, where the longest window leaves room for it."""

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.buckets_s, self.buckets_s[1:], strict=False))
        if not self.buckets_s or not ascending or self.buckets_s[0] <= 0 or self.buckets_s[-1] > LONGEST_WINDOW_S:
            raise FeatureError(f"buckets must ascend within 0 to {LONGEST_WINDOW_S:g} s, got {self.buckets_s}")
        if self.tail_s < 0:
            raise FeatureError(f"the tail must not be negative, got {self.tail_s}")

    @property
    def longest_s(self) -> float:
        """The longest segment this policy can encode whole."""
        return self.buckets_s[-1]

    def bucket_s(self, samples: int) -> float:
        """Window, in seconds, for a segment of `samples` at 16 kHz.

        Raises:
            FeatureError: the segment is longer than the longest window.
        """
        duration_s = samples / SAMPLE_RATE_HZ
        if duration_s > self.longest_s:
            raise FeatureError(f"a segment of {duration_s:.1f} s does not fit a window of {self.longest_s:g} s")
        return next((b for b in self.buckets_s if b >= duration_s + self.tail_s), self.longest_s)


FINAL_WINDOWS: Final = WindowPolicy(buckets_s=(10.0, 12.0, 16.0, 20.0, 24.0, 30.0), tail_s=1.5)
INTERIM_WINDOWS: Final = WindowPolicy(buckets_s=(6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 24.0, 30.0), tail_s=1.0)


def encoder_frames(samples: int) -> int:
    """Encoder frames that hold real audio, for a segment of `samples` at 16 kHz."""
    return -(-samples // ENCODER_HOP_SAMPLES)
