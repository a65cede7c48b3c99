"""How long a speaker falls silent without being done, and how much patience that asks for."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from math import ceil
from typing import Final

REMEMBERED: Final = 64
"""Latest pauses that count: a few minutes of speech."""
ENOUGH: Final = 8
"""Pauses below which nothing is known of the speaker."""
QUANTILE: Final = 0.75
"""The pause that stands for the speaker's: three of four are no longer."""
MARGIN: Final = 1.25
"""How much longer than that one the endpoint is."""


class Pauses:
    """One speaker's pauses, and the silence that is to end the next segment.

    A pause is a silence after which the same speaker went on: inside a segment, or soon after one that silence had
    ended too early. The endpoint is the usual one until `ENOUGH` pauses are known; then it is the upper quartile of
    the `REMEMBERED` latest and a quarter more, between the bounds. So a few odd pauses move little, and a speaker who
    changes is followed as old ones are forgotten.

    Durations are counted in samples, whatever their rate.

    Args:
        usual: silence that ends a segment while little is known.
        least: silence that ends it at the earliest.
        most: silence that ends it at the latest; a longer one is no pause but the end of a turn.
    """

    def __init__(self, usual: int, least: int, most: int) -> None:
        self._usual: Final = usual
        self._least: Final = least
        self._most: Final = most
        self._latest: Final[deque[int]] = deque(maxlen=REMEMBERED)
        self._sorted: Final[list[int]] = []

    @property
    def endpoint(self) -> int:
        """Silence that is to end the next segment."""
        known = len(self._sorted)
        if known < ENOUGH:
            return self._usual
        typical = self._sorted[ceil(QUANTILE * known) - 1]
        return min(self._most, max(self._least, round(MARGIN * typical)))

    def observe(self, silence: int) -> None:
        """Takes a silence after which the speaker went on; one longer than `most` tells nothing."""
        if silence > self._most:
            return
        if len(self._latest) == REMEMBERED:
            del self._sorted[bisect_left(self._sorted, self._latest[0])]
        self._latest.append(silence)
        insort(self._sorted, silence)
