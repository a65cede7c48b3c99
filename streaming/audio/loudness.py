"""How loud a recording is, as little of it as a picture needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

LOUDNESS_STEP_S: Final = 0.02
"""Audio that one value stands for."""


@dataclass(frozen=True, slots=True, eq=False)
class Loudness:
    """The course of a recording's loudness."""

    peaks: NDArray[np.float32] = field(repr=False)
    """`[channels, steps]` of `LOUDNESS_STEP_S`, the largest deflection in each, 0 to 1."""

    @classmethod
    def of(cls, samples: NDArray[np.float32], rate_hz: int) -> Loudness:
        """Looks through a recording.

        Args:
            samples: `[channels, samples]`, -1 to 1.
            rate_hz: sampling rate.
        """
        step = LOUDNESS_STEP_S * rate_hz
        starts = np.arange(np.ceil(samples.shape[1] / step), dtype=np.float64)
        if not starts.size:
            return cls(np.zeros((len(samples), 0), dtype=np.float32))
        peaks = np.maximum.reduceat(np.abs(samples), (starts * step).astype(np.int64), axis=1)
        return cls(np.minimum(peaks, 1.0).astype(np.float32))
