"""An outbox's tables: in a file where events are to outlive the process, in memory where they are not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from typing import Final

from streaming.outbox.notices import events_lost
from streaming.outbox.rows import Entry, Kind, OpenSession

SCHEMA: Final = (
    "CREATE TABLE events (position INTEGER PRIMARY KEY, session TEXT NOT NULL, seq INTEGER NOT NULL, "
    "topic TEXT NOT NULL, payload BLOB NOT NULL, kind INTEGER NOT NULL, lost_from INTEGER NOT NULL)",
    f"CREATE INDEX notices ON events (session) WHERE kind = {Kind.NOTICE:d}",
    "CREATE TABLE sessions (session TEXT PRIMARY KEY, seq INTEGER NOT NULL, time_s REAL NOT NULL, "
    "speech_s REAL NOT NULL, segments INTEGER NOT NULL, finals INTEGER NOT NULL, interims INTEGER NOT NULL) "
    "WITHOUT ROWID",
)
KEPT: Final = 1000
"""Notices and ends of sessions that stay when all else of their sessions was given up; beyond, the oldest go too."""
_COLUMNS: Final = "position, session, seq, topic, payload, kind, lost_from"
_SIZE: Final = "length(topic) + length(payload)"
_INSERT: Final = f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_FOLLOWING: Final = f"SELECT {_COLUMNS} FROM events WHERE position > ? ORDER BY position LIMIT ?"  # noqa: S608
_EARLIER_NOTICE: Final = f"SELECT {_COLUMNS} FROM events WHERE session = ? AND kind = {Kind.NOTICE:d} AND position > ?"  # noqa: S608
_REPLACE: Final = "UPDATE events SET topic = ?, payload = ?, kind = ?, lost_from = ? WHERE position = ?"
_DELETE: Final = "DELETE FROM events WHERE position = ?"
_IN_FLIGHT: Final = f"SELECT count(*), coalesce(sum({_SIZE}), 0) FROM events WHERE position > ? AND position <= ?"  # noqa: S608
_DELETE_THROUGH: Final = f"DELETE FROM events WHERE position <= ? RETURNING position, {_SIZE}"  # noqa: S608
_NOTE_SESSION: Final = "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)"
_FORGET_SESSION: Final = "DELETE FROM sessions WHERE session = ?"


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much a store may hold; what is in flight and what is never given up comes on top."""

    events: float = float("inf")
    size_bytes: float = float("inf")


@dataclass(frozen=True, slots=True)
class _Tally:
    events: int = 0
    size_bytes: int = 0
    kept: int = 0
    """Events up to `passed`: those that stayed when room was made."""
    kept_bytes: int = 0
    passed: int = 0
    """Room was made up to this position."""
    lost: int = 0

    def more(self, entry: Entry) -> _Tally:
        return replace(self, events=self.events + 1, size_bytes=self.size_bytes + entry.size_bytes)

    def fewer(self, position: int, size_bytes: int) -> _Tally:
        kept = position <= self.passed
        return replace(
            self,
            events=self.events - 1,
            size_bytes=self.size_bytes - size_bytes,
            kept=self.kept - kept,
            kept_bytes=self.kept_bytes - kept * size_bytes,
        )

    def keeping(self, through: int, events: int, size_bytes: int) -> _Tally:
        return replace(self, passed=through, kept=self.kept + events, kept_bytes=self.kept_bytes + size_bytes)


class OutboxStore:
    """Entries in order of their position, as many as there is room for.

    When it is full the oldest go first, and a notice takes the place of those of a session that went. The ends of
    sessions and the notices stay, `KEPT` of them. Every method is one transaction, done or undone as a whole, and
    passes on the `sqlite3.Error` it met.

    Args:
        connection: in autocommit mode, to a database with the tables of `SCHEMA`; the store's own from now on.
        capacity: how much it may hold.

    Raises:
        sqlite3.Error: the tables cannot be read.
    """

    def __init__(self, connection: sqlite3.Connection, capacity: Capacity) -> None:
        self._connection = connection
        self._capacity = capacity
        count, size, last = connection.execute(
            f"SELECT count(*), coalesce(sum({_SIZE}), 0), coalesce(max(position), 0) FROM events"  # noqa: S608
        ).fetchone()
        self._tally = _Tally(count, size)
        self._in_flight = 0
        self.last_position: int = last
        """Greatest position that was ever in it."""

    @classmethod
    def in_memory(cls, capacity: Capacity) -> OutboxStore:
        """An empty store that ends with the process."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        for statement in SCHEMA:
            connection.execute(statement)
        return cls(connection, capacity)

    @property
    def events(self) -> int:
        """Entries in it."""
        return self._tally.events

    @property
    def size_bytes(self) -> int:
        """Topics and payloads of all entries."""
        return self._tally.size_bytes

    @property
    def lost(self) -> int:
        """Events given up for want of room."""
        return self._tally.lost

    def sessions(self) -> list[OpenSession]:
        """The sessions noted and not forgotten."""
        return [OpenSession(*row) for row in self._connection.execute("SELECT * FROM sessions ORDER BY session")]

    def append(
        self, entries: Sequence[Entry], *, open_sessions: Iterable[OpenSession] = (), ended: Iterable[str] = ()
    ) -> None:
        """Adds entries behind all others, and makes room where they take too much.

        Args:
            entries: in order.
            open_sessions: how far their sessions have come with them.
            ended: sessions that have ended with them.
        """
        with self._transaction():
            for entry in entries:
                self._insert(entry)
            for session in open_sessions:
                self._connection.execute(_NOTE_SESSION, astuple(session))
            for name in ended:
                self._connection.execute(_FORGET_SESSION, (name,))
            self._make_room()

    def after(self, position: int, limit: int) -> list[Entry]:
        """Up to `limit` entries behind a position."""
        rows = self._connection.execute(_FOLLOWING, (position, limit)).fetchall()
        return [_entry(row) for row in rows]

    def hold(self, position: int) -> None:
        """Declares what is in flight: entries up to this position are not given up."""
        self._in_flight = position

    def remove_through(self, position: int) -> None:
        """Removes the entries up to a position."""
        if not self.events:
            return
        with self._transaction():
            for removed, size_bytes in self._connection.execute(_DELETE_THROUGH, (position,)).fetchall():
                self._tally = self._tally.fewer(removed, size_bytes)

    def close(self) -> None:
        """Lets go of the database; its space is given back where nothing is left in it."""
        if not self.events:
            with suppress(sqlite3.Error):  # it would have been tidier, no more
                self._connection.execute("VACUUM")
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before = self._tally, self.last_position
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._tally, self.last_position = before
            with suppress(sqlite3.Error):  # some errors have rolled back already
                self._connection.execute("ROLLBACK")
            raise

    def _insert(self, entry: Entry) -> None:
        row = (entry.position, entry.session, entry.seq, entry.topic, entry.payload, entry.kind, entry.lost_from)
        self._connection.execute(_INSERT, row)
        self._tally = self._tally.more(entry)
        self.last_position = entry.position

    def _full(self) -> bool:
        tally = self._tally
        return (
            tally.events - tally.kept > self._capacity.events
            or tally.size_bytes - tally.kept_bytes > self._capacity.size_bytes
        )

    def _make_room(self) -> None:
        if self._full() and self._tally.passed < self._in_flight:
            count, size = self._connection.execute(_IN_FLIGHT, (self._tally.passed, self._in_flight)).fetchone()
            self._tally = self._tally.keeping(self._in_flight, count, size)
        while self._full():
            entry = _entry(self._connection.execute(_FOLLOWING, (self._tally.passed, 1)).fetchone())
            if entry.position == self.last_position:  # what came just now is not what goes
                return
            if entry.kind is Kind.EVENT:
                entry = self._give_up(entry)
            self._tally = self._tally.keeping(entry.position, 1, entry.size_bytes)
            if self._tally.kept > KEPT:
                self._drop_oldest_kept()

    def _give_up(self, entry: Entry) -> Entry:
        """Puts a notice in the place of an event; the session's earlier notice becomes part of it."""
        lost_from = entry.seq
        for row in self._connection.execute(_EARLIER_NOTICE, (entry.session, self._in_flight)).fetchall():
            earlier = _entry(row)
            lost_from = min(lost_from, earlier.lost_from)
            self._remove(earlier)
        notice = events_lost(entry, lost_from=lost_from)
        changed = (notice.topic, notice.payload, notice.kind, notice.lost_from, notice.position)
        self._connection.execute(_REPLACE, changed)
        difference = notice.size_bytes - entry.size_bytes
        self._tally = replace(self._tally, size_bytes=self._tally.size_bytes + difference, lost=self._tally.lost + 1)
        return notice

    def _drop_oldest_kept(self) -> None:
        row = self._connection.execute(_FOLLOWING, (self._in_flight, 1)).fetchone()
        entry = _entry(row)
        self._remove(entry)
        self._tally = replace(self._tally, lost=self._tally.lost + (entry.kind is not Kind.NOTICE))

    def _remove(self, entry: Entry) -> None:
        self._connection.execute(_DELETE, (entry.position,))
        self._tally = self._tally.fewer(entry.position, entry.size_bytes)


def _entry(row: tuple[int, str, int, str, bytes, int, int]) -> Entry:
    position, session, seq, topic, payload, kind, lost_from = row
    return Entry(position, session, seq, topic, payload, Kind(kind), lost_from)
