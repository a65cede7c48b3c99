"""How long, and how often, a client tries to connect again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

STEADY_S: Final = 10.0
"""A connection that has lasted so long is no part of the trouble before it."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """Each twice as long as the last, less up to half of it by chance, so that not all clients come back at once."""

    first_s: float = 0.1
    longest_s: float = 3.0
    chance: Callable[[], float] = random.random

    def before(self, attempt: int) -> float:
        """Seconds before an attempt.

        Args:
            attempt: counts from 0.
        """
        pause_s = self.first_s
        while attempt > 0 and pause_s < self.longest_s:
            pause_s, attempt = 2 * pause_s, attempt - 1
        return min(pause_s, self.longest_s) * (1 - self.chance() / 2)


class Outage:
    """Counts the time without a connection. Moments are seconds on any clock that never goes back.

    A connection that breaks again before anything came of it belongs to the same outage.

    Args:
        patience_s: how long an outage may last; 0 for not at all.
        pauses: before each attempt.
    """

    def __init__(self, patience_s: float, pauses: Pauses) -> None:
        self.patience_s: Final = patience_s
        self._pauses: Final = pauses
        self._spent_s = 0.0
        self._attempts = 0
        self._lost_at_s = 0.0
        self._connected_at_s: float | None = None

    def begin(self, now_s: float) -> None:
        """The connection is lost."""
        if self._connected_at_s is not None and now_s - self._connected_at_s >= STEADY_S:
            self.over()
        self._lost_at_s = now_s

    def connected(self, now_s: float) -> float:
        """There is a connection again.

        Returns:
            How long there was none.
        """
        lasted_s = now_s - self._lost_at_s
        self._spent_s += lasted_s
        self._connected_at_s = now_s
        return lasted_s

    def over(self) -> None:
        """The conversation got further: what comes now is a new outage."""
        self._spent_s = 0.0
        self._attempts = 0

    def left_s(self, now_s: float) -> float:
        """Time that is left, in seconds; 0 once it is up."""
        return max(0.0, self.patience_s - self._spent_s - (now_s - self._lost_at_s))

    def pause_s(self, now_s: float, *, at_least_s: float = 0.0) -> float | None:
        """How long to wait before the next attempt; None once the time is up.

        Args:
            now_s: this moment.
            at_least_s: what the server asks for.
        """
        left_s = self.left_s(now_s)
        if not left_s:
            return None
        self._attempts += 1
        return min(left_s, max(at_least_s, self._pauses.before(self._attempts - 1)))
