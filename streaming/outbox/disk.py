"""The part of an outbox that outlives the process, and what is done when it cannot be written."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from streaming.errors import ServerError
from streaming.outbox.file import OutboxFile, is_damage
from streaming.outbox.rows import Entry, OpenSession
from streaming.outbox.store import Capacity, OutboxStore

_LOG: Final = logging.getLogger(__name__)


class OutboxDisk:
    """A store in a file. What cannot be done is said in the log, once until all is well again, and never raised.

    From the first write that fails on nothing more is written until `catch_up`. A file that turns out damaged is moved
    aside, and the next `catch_up` begins a new one.

    Args:
        file: locked; the disk's own from now on.
        capacity: how much may be in it.

    Raises:
        ServerError: the file is another program's.
        sqlite3.Error: it cannot be read or written now.
    """

    def __init__(self, file: OutboxFile, capacity: Capacity) -> None:
        self._file = file
        self._capacity = capacity
        self._store: OutboxStore | None = None
        self._lost_before = 0
        self._checkpoint_failing = False
        self.failing = False
        """Whether what comes has to wait for `catch_up`."""
        self.write_failures = 0
        """Writes that failed."""
        self._store = self._connect()
        self.last_position: Final = self._store.last_position
        """Greatest position a former process left in it."""
        self.open_sessions: Final = self._store.sessions()
        """Sessions that a former process left open."""

    @property
    def place(self) -> str:
        """Its path."""
        return str(self._file.path)

    @property
    def events(self) -> int:
        """Entries in it."""
        return self._store.events if self._store else 0

    @property
    def size_bytes(self) -> int:
        """Their topics and payloads."""
        return self._store.size_bytes if self._store else 0

    @property
    def lost(self) -> int:
        """Events given up for want of room."""
        return self._lost_before + (self._store.lost if self._store else 0)

    def append(
        self, entries: Sequence[Entry], *, open_sessions: Iterable[OpenSession] = (), ended: Iterable[str] = ()
    ) -> bool:
        """Writes entries and sessions as `OutboxStore.append` does; False where that is not possible now."""
        if self._store is None or self.failing:
            return False
        try:
            self._store.append(entries, open_sessions=open_sessions, ended=ended)
        except sqlite3.Error as error:
            self._failed(error)
            return False
        return True

    def after(self, position: int, limit: int) -> list[Entry] | None:
        """Up to `limit` entries behind a position; None where they cannot be read now."""
        if self._store is None:
            return []
        try:
            return self._store.after(position, limit)
        except sqlite3.Error as error:
            self._failed(error)
            return None

    def hold(self, position: int) -> None:
        """Declares what is in flight."""
        if self._store is not None:
            self._store.hold(position)

    def remove_through(self, position: int) -> None:
        """Removes the entries up to a position, or leaves them to `catch_up`."""
        if self._store is None or self.failing:
            return
        try:
            self._store.remove_through(position)
        except sqlite3.Error as error:
            self._failed(error)

    def catch_up(self, entries: Sequence[Entry], open_sessions: Sequence[OpenSession], *, removed: int) -> bool:
        """Tries again after a failure, and writes all that changed since.

        Args:
            entries: those that came since.
            open_sessions: all of them.
            removed: entries up to this position are to go.

        Returns:
            Whether it worked, so that writing goes on.
        """
        try:
            self._store = self._store or self._connect()
            self._store.remove_through(removed)
            open_now = {session.session for session in open_sessions}
            ended = [session.session for session in self._store.sessions() if session.session not in open_now]
            self._store.append(entries, open_sessions=open_sessions, ended=ended)
        except (sqlite3.Error, OSError, ServerError) as error:
            self._failed(error)
            return False
        self.failing = False
        _LOG.info("the MQTT outbox %s is written again", self.place)
        return True

    def checkpoint(self) -> None:
        """Brings the file to the disk. For a worker thread."""
        try:
            self._file.checkpoint()
        except (sqlite3.Error, OSError) as error:
            if not self._checkpoint_failing:
                _LOG.warning("the MQTT outbox %s cannot be brought to the disk: %s", self.place, error)
            self._checkpoint_failing = True
        else:
            self._checkpoint_failing = False

    def close(self) -> None:
        """Lets go of the file."""
        if self._store is not None:
            self._store.close()
        self._file.release()

    def _connect(self) -> OutboxStore:
        try:
            return OutboxStore(self._file.connect(), self._capacity)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._set_aside(error)
        return OutboxStore(self._file.connect(), self._capacity)

    def _failed(self, error: Exception) -> None:
        self.write_failures += 1
        if isinstance(error, sqlite3.Error) and is_damage(error):
            self._set_aside(error)
        elif not self.failing:
            _LOG.error(
                "the MQTT outbox %s cannot be written (%s): events wait in memory until it can, and are lost if the "
                "server is killed; make room, or look after the disk",
                self.place,
                error,
            )
        self.failing = True

    def _set_aside(self, damage: sqlite3.Error) -> None:
        if self._store is not None:
            self._lost_before = self.lost
            with suppress(sqlite3.Error):
                self._store.close()
            self._store = None
        try:
            aside = self._file.set_aside()
        except OSError as error:
            if not self.failing:
                _LOG.error("the damaged MQTT outbox %s cannot be moved aside: %s", self.place, error.strerror)
        else:
            _LOG.error(
                "the MQTT outbox %s is damaged (%s): it was moved to %s with the events in it, and a new one is begun",
                self.place,
                damage,
                aside,
            )
