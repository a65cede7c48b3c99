"""What a measurement of minutes owes whoever waits for it: how long it will take, and an end when it is asked to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from trainer.progress import terminal_progress

Seconds = Callable[[float], None]
"""Told of seconds that have passed."""
Progress = Callable[[str, float], AbstractContextManager[Seconds]]
"""Makes a display from a description and how many seconds it will take."""


@contextmanager
def seconds_shown(description: str, total_s: float) -> Iterator[Seconds]:
    """A bar that fills with the seconds; nothing where stderr is no terminal."""
    whole, shown, passed_s = round(total_s), 0, 0.0
    with terminal_progress(description, whole, 0.0) as advance:

        def passed(seconds: float) -> None:
            nonlocal shown, passed_s
            passed_s += seconds
            now = min(whole, int(passed_s))
            advance(now - shown, 0.0)
            shown = now

        yield passed


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
