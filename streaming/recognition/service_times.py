"""How long batches take, as measured: what the scheduler plans with."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

_MEMORY: Final = 0.98
"""Of an observation's weight, what is left after the next one: the last fifty count."""
_SHARED: Final = 0.5
"""Share of a single request's time that a batch is taken to pay once, until batches of several sizes were seen."""
_PRIOR_WEIGHT: Final = 2.0
"""Observations that this is worth."""


@dataclass(slots=True)
class _Line:
    """Time over batch size: weighted least squares with a prior on what a batch pays once.

    Old observations fade, so that a machine that has become slower is believed within fifty batches.
    """

    weight: float = 0.0
    size: float = 0.0
    size_squared: float = 0.0
    time: float = 0.0
    size_time: float = 0.0
    largest: float = 0.0
    """Size seen lately; it fades as all that was seen does."""

    def add(self, size: int, time_s: float) -> None:
        self.weight = _MEMORY * self.weight + 1
        self.size = _MEMORY * self.size + size
        self.size_squared = _MEMORY * self.size_squared + size * size
        self.time = _MEMORY * self.time + time_s
        self.size_time = _MEMORY * self.size_time + size * time_s
        self.largest = max(float(size), _MEMORY * self.largest)

    def at(self, size: int) -> float:
        single = self.time / (self.weight * _SHARED + (1 - _SHARED) * self.size)
        # Sizes one and two as the prior has them, on top of what was seen.
        weight, sizes, squares, times, products = self.weight, self.size, self.size_squared, self.time, self.size_time
        for imagined in (1, 2):
            time_s = single * (_SHARED + (1 - _SHARED) * imagined)
            weight += _PRIOR_WEIGHT
            sizes += _PRIOR_WEIGHT * imagined
            squares += _PRIOR_WEIGHT * imagined * imagined
            times += _PRIOR_WEIGHT * time_s
            products += _PRIOR_WEIGHT * imagined * time_s
        spread = weight * squares - sizes * sizes
        slope = max(0.0, (weight * products - sizes * times) / spread)
        once = max(0.0, (times - slope * sizes) / weight)
        return once + slope * size


class ServiceTimes:
    """Predicts a batch's time from its length bucket, its size, and whether words are wanted; pure."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._lines: dict[tuple[float, bool], _Line] = {}

    def observe(self, window_s: float, size: int, time_s: float, *, words: bool = True) -> None:
        """Notes what a batch took.

        Args:
            window_s: its length bucket.
            size: requests in it.
            time_s: of the recogniser.
            words: whether it was transcribed.
        """
        self._lines.setdefault((window_s, words), _Line()).add(size, time_s)

    def predict(self, window_s: float, size: int, *, words: bool = True) -> float | None:
        """Seconds that a batch will take; None while nothing is known.

        What was never seen is scaled from the nearest bucket that was: the encoder's work grows with its window.
        Without words a batch is taken to cost what it costs with them, until one was seen.
        """
        found = self._nearest(window_s, words=words)
        return None if found is None else found[0].at(size) * found[1]

    def share(self, window_s: float, most: int, *, words: bool = True) -> float | None:
        """Seconds that one request costs as a part of a full batch; None while nothing is known.

        This, not what its own batch took, is what a request takes away from others: a machine that pays most of a
        batch's time once is hardly ever idle while anybody speaks, and yet has time for many more. No batch is believed
        to be cheaper than those that were seen lately.

        Args:
            window_s: its length bucket.
            most: requests in a full batch.
            words: whether it is to be transcribed.
        """
        found = self._nearest(window_s, words=words)
        if found is None:
            return None
        line, scale = found
        size = max(1, min(most, math.ceil(line.largest)))
        return line.at(size) * scale / size

    def largest_batch(self, window_s: float, most: int, within_s: float, *, words: bool = True) -> int:
        """How many requests a batch may hold to take no longer than `within_s`: 1 at least, `most` at most."""
        if self.predict(window_s, 1, words=words) is None:
            return most

        def seconds(size: int) -> float:
            return self.predict(window_s, size, words=words) or 0.0

        return max(1, bisect_right(range(1, most + 1), within_s, key=seconds))

    def _nearest(self, window_s: float, *, words: bool) -> tuple[_Line, float] | None:
        """What is known of the nearest bucket, and what its times are multiplied by."""
        known = [window for window, with_words in self._lines if with_words is words]
        if not known:
            return None if words else self._nearest(window_s, words=True)
        nearest = min(known, key=lambda window: (abs(window - window_s), window))
        return self._lines[nearest, words], window_s / nearest
