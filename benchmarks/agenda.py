"""A clock without time: what is due is done in order, and the clock jumps to it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Agenda:
    """Moments and what happens at them; what is due at one moment happens in the order in which it was put down."""

    def __init__(self, now_s: float = 0.0) -> None:
        """Nothing is due.

        Args:
            now_s: where the clock stands.
        """
        self.now_s = now_s
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, moment_s: float, act: Callable[[], None]) -> None:
        """Puts something down for a moment; for now, if the moment has passed."""
        heapq.heappush(self._due, (max(moment_s, self.now_s), next(self._numbers), act))

    def run(self, passed: Callable[[float], None] = lambda _seconds: None) -> None:
        """Does all there is to do, and what comes of it.

        Args:
            passed: told of seconds on this clock.
        """
        while self._due:
            moment_s, _, act = heapq.heappop(self._due)
            passed(moment_s - self.now_s)
            self.now_s = moment_s
            act()
