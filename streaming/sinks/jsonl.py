"""Events as JSON lines, to a file or to standard output."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

from streaming.errors import ServerError
from streaming.events import Event
from streaming.hub import EventHub
from streaming.subscription import Overflow, Subscription

_LOG: Final = logging.getLogger(__name__)
_BATCH: Final = 64
"""Events written in one trip to the worker thread."""


class JsonLinesSink:
    """Writes each event as one line and flushes it, so that a reader following the file sees it at once.

    A full disk or a closed pipe ends this sink with one error in the log.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        """Writes to an open stream; see `open` for files.

        Args:
            stream: where lines go; closed by nobody but its owner.
            name: what the log calls it.
        """
        self._stream = stream
        self._name = name
        self._owns_stream = False
        self._events: Subscription | None = None

    @classmethod
    def open(cls, path: Path | None) -> JsonLinesSink:
        """A sink that appends to a file, or writes to standard output for None.

        Raises:
            ServerError: the file cannot be opened for writing.
        """
        if path is None:
            return cls(sys.stdout, "standard output")
        try:
            stream = path.open("a", encoding="utf-8")
        except OSError as error:
            raise ServerError(f"cannot write events to {path}: {error.strerror}; choose another file") from None
        sink = cls(stream, str(path))
        sink._owns_stream = True
        return sink

    def attach(self, hub: EventHub) -> None:
        """Subscribes to all sessions; the oldest events give way when writing falls behind."""
        self._events = hub.subscribe(overflow=Overflow.DROP_OLDEST)

    async def run(self) -> None:
        """Writes until the hub closes and all is written.

        Raises:
            ServerError: `attach` was not called.
        """
        if self._events is None:
            raise ServerError("the JSON lines sink was not attached to a hub: call attach() before run()")
        try:
            with self._events as events:
                while await events.ready():
                    await asyncio.to_thread(self._write, events.take(_BATCH))
        except OSError as error:
            _LOG.error("events are no longer written to %s: %s", self._name, error.strerror)
        finally:
            if self._owns_stream:
                self._stream.close()

    def _write(self, events: Sequence[Event]) -> None:
        for event in events:
            self._stream.write(event.to_json() + "\n")
            self._stream.flush()
