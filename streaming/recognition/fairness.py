"""Fair turns between sessions that want the same thing.

Self-clocked fair queueing (Golestani 1994), with seconds of encoded audio as the currency: the session that was served
least goes first, and one that was away gets no credit for it. While two sessions both have requests of one
length bucket waiting, neither is served more than two windows ahead of the other, however much either asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from streaming.recognition.request import RecognitionRequest


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request in its queue."""

    request: RecognitionRequest
    window_s: float
    """Its length bucket, and what serving it costs."""
    place: int
    """Order of arrival; a request that replaces another has that one's."""


class FairLane:
    """Requests of one urgency. Within a session, first come, first served."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[Hashable, Waiting]] = {}
        self._served_s: dict[str, float] = {}
        self._now_s = 0.0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Waiting]:
        for waiting in self._sessions.values():
            yield from waiting.values()

    def get(self, session: str, slot: Hashable) -> Waiting | None:
        """What waits in a slot, if anything does."""
        return self._sessions.get(session, {}).get(slot)

    def put(self, slot: Hashable, waiting: Waiting) -> None:
        """Adds a request behind the others of its session, or in the place of the one that is in its slot."""
        session = waiting.request.session
        if session not in self._sessions:
            self._sessions[session] = {}
            self._served_s[session] = max(self._served_s.get(session, 0.0), self._now_s)
        self._length += slot not in self._sessions[session]
        self._sessions[session][slot] = waiting

    def remove(self, session: str, slot: Hashable) -> Waiting | None:
        """Takes one request out, if it is there."""
        waiting = self._sessions.get(session, {}).pop(slot, None)
        if waiting is not None:
            self._length -= 1
            if not self._sessions[session]:
                del self._sessions[session]
            if not self._length:
                self._served_s.clear()
                self._now_s = 0.0
        return waiting

    def oldest(self) -> Waiting | None:
        """The request that has waited longest."""
        firsts = (next(iter(waiting.values())) for waiting in self._sessions.values())
        return min(firsts, key=lambda first: first.place, default=None)

    def take(self, most: Callable[[float], int], max_padded_s: float) -> list[Waiting]:
        """Takes a batch of one length bucket: that of the request whose turn it is.

        Args:
            most: how many requests of a length bucket a batch may hold, 1 at least.
            max_padded_s: windows together at most; a single request may exceed it.
        """
        batch: list[Waiting] = []
        window_s: float | None = None
        turn_s = 0.0
        while True:
            full = window_s is not None and (len(batch) >= most(window_s) or (len(batch) + 1) * window_s > max_padded_s)
            if full:
                break
            session = self._next_session(window_s)
            if session is None:
                break
            slot, waiting = self._first(session, window_s)
            if window_s is None:
                window_s, turn_s = waiting.window_s, self._served_s[session]
                self._now_s = max(self._now_s, turn_s + window_s)
            # Company in a batch is charged, but sets nobody back by more than a full batch.
            self._served_s[session] = min(self._served_s[session] + waiting.window_s, turn_s + max_padded_s)
            self.remove(session, slot)
            batch.append(waiting)
        self._forget_idle()
        return batch

    def _next_session(self, window_s: float | None) -> str | None:
        able = (
            session
            for session, waiting in self._sessions.items()
            if window_s is None or any(one.window_s == window_s for one in waiting.values())
        )
        return min(able, key=lambda session: (self._served_s[session], self._place(session)), default=None)

    def _place(self, session: str) -> int:
        return next(iter(self._sessions[session].values())).place

    def _first(self, session: str, window_s: float | None) -> tuple[Hashable, Waiting]:
        waiting = self._sessions[session].items()
        return next((slot, one) for slot, one in waiting if window_s is None or one.window_s == window_s)

    def _forget_idle(self) -> None:
        idle = [
            session
            for session, served_s in self._served_s.items()
            if served_s <= self._now_s and session not in self._sessions
        ]
        for session in idle:
            del self._served_s[session]
