"""Stopping in good order: Ctrl-C, or a request to end, is taken up between two training steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

CHECKPOINT_EVERY_S: Final = 120.0
"""Time between two checkpoints of a member, where nobody says otherwise: what a kill costs at most."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether somebody asked to stop; once asked, it stays so."""

    def __init__(self) -> None:
        """Nobody has asked."""
        self._asked = False

    def ask(self) -> None:
        """Asks to stop at the next step."""
        self._asked = True

    def __call__(self) -> bool:
        """Whether somebody asked."""
        return self._asked


@contextmanager
def stopped_by_signals(*, patient: bool = False) -> Iterator[StopRequest]:
    """Turns the first SIGINT or SIGTERM inside the block into a request to stop; a second one ends the process as ever.

    Outside the main thread, where signals cannot be caught, nobody ever asks.

    Args:
        patient: further signals ask again and end nothing: for a process that the terminal and its parent both ask.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(_number: int, _frame: FrameType | None) -> None:
        request.ask()
        if not patient:
            restore()

    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        restore()
