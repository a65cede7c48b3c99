"""Something asynchronous on a thread of its own, for tests of programs that run their own event loop."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

_PATIENCE_S = 10.0
T = TypeVar("T")


@contextmanager
def elsewhere(made: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enters it there, and leaves it there at the end of the block."""
    started: queue.Queue[tuple[T, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def run() -> None:
        stop = asyncio.Event()
        async with made as running:
            started.put((running, asyncio.get_running_loop(), stop))
            await stop.wait()

    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(asyncio.run, run())
        running, loop, stop = started.get(timeout=_PATIENCE_S)
        try:
            yield running
        finally:
            loop.call_soon_threadsafe(stop.set)
            done.result(_PATIENCE_S)
