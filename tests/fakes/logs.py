"""Waiting for a line in the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator


class _Watcher(logging.Handler):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.seen = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.seen.set()


@contextlib.contextmanager
def log_line(logger: str, text: str) -> Iterator[asyncio.Event]:
    """An event that is set once `logger` has written a line that holds `text`."""
    watcher = _Watcher(text)
    logging.getLogger(logger).addHandler(watcher)
    try:
        yield watcher.seen
    finally:
        logging.getLogger(logger).removeHandler(watcher)
