"""Where over-long speech is cut: in its quietest gap."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_SMOOTHING_FRAMES: Final = 5
"""A single quiet frame is the closure of a plosive; a gap between words lasts longer."""


def quietest_frame(frames: NDArray[np.float32]) -> int:
    """The frame that begins in the middle of the quietest stretch; as many as there are at most.

    Args:
        frames: `[frames, samples]`, one frame at least.
    """
    power = np.square(frames).mean(axis=1)
    width = min(_SMOOTHING_FRAMES, power.size)
    smooth = np.convolve(power, np.full(width, 1 / width), mode="valid")
    middle: int = np.argmin(smooth).item() + (width + 1) // 2
    return middle
