"""What was received and waits for whoever iterates."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """A queue from one task to another that can end, in order or with an error.

    Args:
        limit: items that may wait; whoever puts one more waits too.
    """

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._items: Final[deque[Item]] = deque()
        self._closed = False
        self._failure: BaseException | None = None
        self._filled: Final = asyncio.Event()
        self._room: Final = asyncio.Event()

    async def put(self, item: Item) -> None:
        """Adds an item once there is room."""
        while len(self._items) >= self._limit:
            self._room.clear()
            await self._room.wait()
        self._items.append(item)
        self._filled.set()

    def close(self, failure: BaseException | None = None) -> None:
        """Nothing will follow.

        Args:
            failure: why, unless it is the end.
        """
        self._closed, self._failure = True, failure
        self._filled.set()

    async def get(self) -> Item:
        """The next item. May be cancelled: nothing is taken then.

        Raises:
            StopAsyncIteration: there will be none; after a failure, that instead.
        """
        while not self._items:
            if self._closed:
                raise self._failure or StopAsyncIteration
            self._filled.clear()
            await self._filled.wait()
        self._room.set()
        return self._items.popleft()
