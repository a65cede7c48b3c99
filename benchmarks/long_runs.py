"""What a measurement of minutes owes whoever waits for it: how long it will take, and an end when it is asked to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Seconds = Callable[[float], None]
"""Told of seconds that have passed."""
Progress = Callable[[str, float], AbstractContextManager[Seconds]]
"""Makes a display from a description and how many seconds it will take."""


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what it started is stopped."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
