"""A priority queue whose entries may stop being true: they are dropped when they come up."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

Entry = TypeVar("Entry", bound=tuple[Any, ...])
_LEAST_SIZE: Final = 64
"""Below it, what is no longer true is not worth looking for."""


class LazyHeap(Generic[Entry]):
    """The smallest entry that is true, in logarithmic time, amortised; entries are never looked for to be removed."""

    def __init__(self, is_true: Callable[[Entry], bool]) -> None:
        """Empty.

        Args:
            is_true: whether an entry still holds; one that does not never does again unless it is pushed again.
        """
        self._is_true = is_true
        self._entries: list[Entry] = []
        self._bound = _LEAST_SIZE

    def __len__(self) -> int:
        """Entries that are held, true or not: at most twice as many as were true at some time, or a few."""
        return len(self._entries)

    def push(self, entry: Entry) -> None:
        """Adds an entry; one that is there already is there once."""
        heapq.heappush(self._entries, entry)
        if len(self._entries) > self._bound:
            self._entries = [one for one in set(self._entries) if self._is_true(one)]
            heapq.heapify(self._entries)
            self._bound = max(_LEAST_SIZE, 2 * len(self._entries))

    def first(self) -> Entry | None:
        """The smallest true entry, which stays; None where there is none."""
        while self._entries:
            if self._is_true(self._entries[0]):
                return self._entries[0]
            heapq.heappop(self._entries)
        return None
