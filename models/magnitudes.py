"""How large numbers are, counted as they come: what a share of them stays below, without keeping any of them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_DROPPED_BITS: Final = 16
"""Of a number in single precision; what is left tells magnitudes apart that differ by a hundredth."""
_BINS: Final = 1 << 15
_INFINITE: Final = 0x7F80
"""From this bin on numbers are none, or infinite."""


class Magnitudes:
    """A histogram over the whole range of single precision."""

    def __init__(self) -> None:
        """Has seen nothing."""
        self._counts = np.zeros(_BINS, dtype=np.int64)
        self._largest = 0.0

    def add(self, numbers: NDArray[np.floating[Any]]) -> None:
        """Counts numbers of any shape."""
        own = np.abs(np.ascontiguousarray(numbers, dtype=np.float32)).ravel()
        self._counts += np.bincount(own.view(np.uint32) >> _DROPPED_BITS, minlength=_BINS)
        self._largest = max(self._largest, float(own.max(initial=0.0)))

    @property
    def finite(self) -> bool:
        """Whether all of them were numbers."""
        return not self._counts[_INFINITE:].any()

    def below(self, share: float) -> float:
        """What a share of the magnitudes does not exceed, to a hundredth; the largest of them for all; 0 of none."""
        beyond = int((1 - share) * self._counts.sum())
        if not beyond:
            return self._largest
        from_the_top = np.cumsum(self._counts[::-1])
        edge = _BINS - int(np.searchsorted(from_the_top, beyond, side="right"))
        end = np.array(edge << _DROPPED_BITS, dtype=np.uint32).view(np.float32)
        return min(float(end), self._largest)
