"""Whether there is room for one more session, judged by what the others take of the recogniser's time."""

from __future__ import annotations

import math
from typing import Final

from streaming.errors import CapacityError

FULL: Final = 0.85
"""Share of the recogniser's time that finals may take. The rest is what keeps them from waiting for one another."""
_MEMORY_S: Final = 60.0
"""Time over which what a session takes is averaged."""
_PRIOR_SESSIONS_S: Final = 30.0
"""Session-seconds that the assumption about an unknown session is worth."""
_SECONDS_A_FINAL: Final = 6.0
"""Of a session, as assumed: a talker in a conversation ends so many segments."""
_LEAST_RETRY_S: Final = 2.0
_LONGEST_RETRY_S: Final = 60.0


class Admission:
    """Learns what a session takes, and refuses those that would make the finals of all others late; pure.

    A session just begun has taken nothing yet. So the number of sessions is multiplied by what one has taken on average
    over the last minute; before that is known, by what one final takes, every few seconds.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._busy_s = 0.0
        self._session_s = 0.0
        self._seen_s: float | None = None
        self._sessions = 0

    def session_count(self, sessions: int, now_s: float) -> None:
        """So many sessions are open from now on."""
        self._pass(now_s)
        self._sessions = sessions

    def final_computed(self, time_s: float, now_s: float) -> None:
        """Finals or speculative finals took so much of the recogniser's time."""
        self._pass(now_s)
        self._busy_s += time_s

    def share(self, final_s: float | None, now_s: float) -> float:
        """Share of the recogniser's time that one session takes.

        Args:
            final_s: what a final takes, where that is known.
            now_s: the moment.
        """
        self._pass(now_s)
        assumed = (final_s or 0.0) / _SECONDS_A_FINAL
        return (self._busy_s + assumed * _PRIOR_SESSIONS_S) / (self._session_s + _PRIOR_SESSIONS_S)

    def check(self, sessions: int, final_s: float | None, now_s: float) -> None:
        """Returns if there is room for one more.

        Args:
            sessions: that are open; the first always finds room.
            final_s: what a final takes, where that is known.
            now_s: the moment.

        Raises:
            CapacityError: there is not; it says when to try again.
        """
        demand = (sessions + 1) * self.share(final_s, now_s)
        if not sessions or demand <= FULL:
            return
        retry_after_s = math.ceil(min(_LONGEST_RETRY_S, max(_LEAST_RETRY_S, _MEMORY_S * (demand / FULL - 1))))
        raise CapacityError(
            f"{sessions} sessions keep the recogniser busy, one more would make everybody's finals late: "
            f"try again in {retry_after_s} s",
            retry_after_s=retry_after_s,
        )

    def _pass(self, now_s: float) -> None:
        passed_s = 0.0 if self._seen_s is None else max(0.0, now_s - self._seen_s)
        self._seen_s = now_s
        left = math.exp(-passed_s / _MEMORY_S)
        self._busy_s *= left
        # The integral of a count that fades while it is added to.
        self._session_s = self._session_s * left + self._sessions * _MEMORY_S * (1 - left)
