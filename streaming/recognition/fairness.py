"""Fair turns between sessions that want the same thing.

Self-clocked fair queueing (Golestani 1994), with seconds of encoded audio as the currency: the session that was served
least goes first, and one that was away gets no credit for it. While two sessions both have requests of one
length bucket waiting, neither is served more than two windows ahead of the other, however much either asks for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import partial

from streaming.errors import RecognitionError
from streaming.recognition.lazy_heap import LazyHeap
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
    """Requests of one urgency. Within a session and a length bucket, first come, first served.

    What a batch costs to choose grows with its own size, and with the logarithm of how many sessions wait.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, dict[Hashable, Waiting]] = {}
        self._served_s: dict[str, float] = {}
        self._now_s = 0.0
        self._length = 0
        self._turns: dict[float, LazyHeap[tuple[float, int, str]]] = {}
        """By length bucket: what a session was served, the place of its first request there, and its name."""
        self._ages = LazyHeap(self._still_waits)
        self._ahead: list[tuple[float, str]] = []
        """Sessions by what they were served, until their lead is used up."""

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
        replaced = self._sessions[session].get(slot)
        self._length += replaced is None
        self._sessions[session][slot] = waiting
        self._ages.push((waiting.place, session, slot))
        if replaced is not None and replaced.window_s != waiting.window_s:
            self._offer(session, replaced.window_s)
        if self._first(session, waiting.window_s) == (slot, waiting):
            self._offer(session, waiting.window_s)

    def remove(self, session: str, slot: Hashable) -> Waiting | None:
        """Takes one request out, if it is there."""
        waiting = self._sessions.get(session, {}).pop(slot, None)
        if waiting is not None:
            self._length -= 1
            if self._sessions[session]:
                self._offer(session, waiting.window_s)
            else:
                del self._sessions[session]
                self._forget_if_even(session)
            if not self._length:
                self._begin_anew()
        return waiting

    def oldest(self) -> Waiting | None:
        """The request that has waited longest."""
        first = self._ages.first()
        return None if first is None else self._sessions[first[1]][first[2]]

    def take(self, most: Callable[[float], int], max_padded_s: float) -> list[Waiting]:
        """Takes a batch of one length bucket: that of the request whose turn it is.

        Args:
            most: how many requests of a length bucket a batch may hold, 1 at least.
            max_padded_s: windows together at most; a single request may exceed it.
        """
        turns = [(turn, window_s) for window_s, heap in self._turns.items() if (turn := heap.first()) is not None]
        if not turns:
            return []
        (turn_s, _, _), window_s = min(turns)
        self._now_s = max(self._now_s, turn_s + window_s)
        size = max(1, min(most(window_s), int(max_padded_s / window_s)))
        heap = self._turns[window_s]
        batch: list[Waiting] = []
        while len(batch) < size and (turn := heap.first()) is not None:
            session = turn[2]
            # Company in a batch is charged, but sets nobody back by more than a full batch.
            self._served_s[session] = min(self._served_s[session] + window_s, turn_s + max_padded_s)
            batch.append(self._take_first(session, window_s))
        self._forget_even()
        return batch

    def _take_first(self, session: str, window_s: float) -> Waiting:
        slot, waiting = self._first(session, window_s) or (None, None)
        if waiting is None:
            raise RecognitionError(f"session {session} has nothing of {window_s:g} s waiting: its turn was not true")
        heapq.heappush(self._ahead, (self._served_s[session], session))
        self.remove(session, slot)
        for other_s in {one.window_s for one in self._sessions.get(session, {}).values()}:
            self._offer(session, other_s)
        return waiting

    def _offer(self, session: str, window_s: float) -> None:
        """Puts a session down for its turn in a length bucket, as it stands now."""
        first = self._first(session, window_s)
        if first is not None:
            heap = self._turns.setdefault(window_s, LazyHeap(partial(self._has_turn, window_s)))
            heap.push((self._served_s[session], first[1].place, session))

    def _has_turn(self, window_s: float, turn: tuple[float, int, str]) -> bool:
        served_s, place, session = turn
        first = self._first(session, window_s)
        return first is not None and first[1].place == place and self._served_s[session] == served_s

    def _first(self, session: str, window_s: float) -> tuple[Hashable, Waiting] | None:
        waiting = self._sessions.get(session, {}).items()
        return next(((slot, one) for slot, one in waiting if one.window_s == window_s), None)

    def _still_waits(self, age: tuple[int, str, Hashable]) -> bool:
        waiting = self.get(age[1], age[2])
        return waiting is not None and waiting.place == age[0]

    def _forget_even(self) -> None:
        """Forgets sessions whose lead is used up, unless they wait."""
        while self._ahead and self._ahead[0][0] <= self._now_s:
            self._forget_if_even(heapq.heappop(self._ahead)[1])

    def _forget_if_even(self, session: str) -> None:
        if session not in self._sessions and self._served_s.get(session, 0.0) <= self._now_s:
            self._served_s.pop(session, None)

    def _begin_anew(self) -> None:
        self._served_s.clear()
        self._ahead.clear()
        self._now_s = 0.0
