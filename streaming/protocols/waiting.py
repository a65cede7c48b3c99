"""Waiting for one thing that others may cut short, without a task for every wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


class Interruptible:
    """Waits for one thing after another, each until it is there, time is up, or one of some tasks is done.

    A task cuts one wait short, the one during which it ends; where it ends between two, nothing happens here.
    """

    def __init__(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Watches the tasks from now on.

        Args:
            tasks: of which each may cut a wait short.
        """
        self._waiting: asyncio.Timeout | None = None
        self._interrupted = False
        for task in tasks:
            task.add_done_callback(self._interrupt)

    async def wait(self, awaited: Callable[[], Awaitable[T]], timeout_s: float) -> T | None:
        """What is waited for; None where a task is done before.

        Args:
            awaited: begins to wait; it is cancelled where it is cut short, and must lose nothing by that.
            timeout_s: how long it may take.

        Raises:
            TimeoutError: it took longer.
        """
        self._interrupted = False
        try:
            async with asyncio.timeout(timeout_s) as self._waiting:
                return await awaited()
        except TimeoutError:
            if self._interrupted:
                return None
            raise
        finally:
            self._waiting = None

    def _interrupt(self, _task: asyncio.Task[Any]) -> None:
        if self._waiting is not None and not self._waiting.expired():
            self._interrupted = True
            self._waiting.reschedule(asyncio.get_running_loop().time())
