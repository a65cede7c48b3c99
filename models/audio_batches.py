"""Audio side by side, for an engine that has speech encoders inside: waveforms, and spectrograms for those that ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import FeatureError

LEAST_MEL_FRAMES: Final = 2
"""Of which Whisper's encoder makes one."""


@dataclass(frozen=True, slots=True)
class AudioBatch:
    """Clips of different lengths side by side."""

    samples: NDArray[np.float32]
    """`[batch, time]`, mono at 16 kHz, anything finite where there is padding; time is at least 1."""
    lengths: NDArray[np.int64]
    """`[batch]`, samples of each clip; 0 says that there is none."""

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.lengths.shape != (self.samples.shape[0],):
            raise FeatureError(
                f"samples must be [batch, time] and lengths [batch], got {self.samples.shape} and {self.lengths.shape}"
            )
        if self.samples.shape[1] < 1:
            raise FeatureError("a batch of audio needs room for one sample, even where all is missing")
        if (self.lengths < 0).any() or (self.lengths > self.samples.shape[1]).any():
            raise FeatureError(f"lengths {self.lengths.tolist()} do not fit {self.samples.shape[1]} samples")

    @property
    def sequence(self) -> NDArray[np.float32]:
        """What is laid side by side."""
        return self.samples

    def rows(self, start: int, stop: int) -> AudioBatch:
        """Some of the clips; nothing is copied."""
        return AudioBatch(self.samples[start:stop], self.lengths[start:stop])

    def clips(self) -> list[NDArray[np.float32] | None]:
        """Each without its padding, None where there is none."""
        return [
            row[:length] if length else None for row, length in zip(self.samples, self.lengths.tolist(), strict=True)
        ]

    def __len__(self) -> int:
        return int(self.samples.shape[0])


@dataclass(frozen=True, slots=True)
class MelBatch:
    """Log-mel spectrograms of clips that were padded to one window."""

    mel: NDArray[np.float32]
    """`[batch, mel bands, time]`, 100 frames a second; time is at least `LEAST_MEL_FRAMES`."""
    lengths: NDArray[np.int64]
    """`[batch]`, samples of each clip at 16 kHz, its padding left out; 0 says that there is none."""

    def __post_init__(self) -> None:
        if self.mel.ndim != 3 or self.lengths.shape != (self.mel.shape[0],):
            raise FeatureError(
                f"mel must be [batch, bands, time] and lengths [batch], got {self.mel.shape} and {self.lengths.shape}"
            )
        if self.mel.shape[2] < LEAST_MEL_FRAMES:
            raise FeatureError(f"a batch of spectrograms needs room for {LEAST_MEL_FRAMES} frames of mel")
        if (self.lengths < 0).any():
            raise FeatureError(f"lengths {self.lengths.tolist()} must not be negative")

    @property
    def sequence(self) -> NDArray[np.float32]:
        """What is laid side by side."""
        return self.mel

    def rows(self, start: int, stop: int) -> MelBatch:
        """Some of the clips; nothing is copied."""
        return MelBatch(self.mel[start:stop], self.lengths[start:stop])

    def __len__(self) -> int:
        return int(self.mel.shape[0])


def pad_audio(clips: Sequence[NDArray[np.float32] | None]) -> AudioBatch:
    """Lays clips side by side.

    Args:
        clips: each `[samples]`, mono at 16 kHz, or None where there is none.

    Raises:
        FeatureError: a clip is no row of samples.
    """
    lengths = np.array([0 if clip is None else clip.size for clip in clips], dtype=np.int64)
    samples = np.zeros((len(clips), max(1, int(lengths.max(initial=0)))), dtype=np.float32)
    for row, clip in enumerate(clips):
        if clip is None:
            continue
        if clip.ndim != 1:
            raise FeatureError(f"clip {row} has shape {clip.shape}, expected [samples]")
        samples[row, : clip.size] = clip
    return AudioBatch(samples, lengths)
