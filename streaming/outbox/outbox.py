"""Events on their way to the MQTT broker: in order, and on disk before anyone sees them."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from platformdirs import user_state_path

from streaming.config import MqttSettings
from streaming.errors import ServerError
from streaming.events import Event, SessionEnded
from streaming.outbox.disk import OutboxDisk
from streaming.outbox.file import OutboxFile
from streaming.outbox.interims import LatestInterims
from streaming.outbox.notices import INTERNAL_ERROR, server_restarted, session_ended
from streaming.outbox.rows import Entry, Kind
from streaming.outbox.sessions import UNWRITTEN_SEQ, OpenSessions
from streaming.outbox.store import Capacity, OutboxStore
from streaming.outbox.topics import topic_of
from streaming.subscription import is_interim

_LOG: Final = logging.getLogger(__name__)
_BYTES_PER_MIB: Final = 2**20
_FILE_NAME: Final = "mqtt-outbox.sqlite"


class EventOutbox:
    """Holds every event until it is acknowledged. A journal of the hub (`streaming.hub.Journal`).

    With a disk, all but interims are in its file before `record` returns, and a process that comes after finds them
    there. What cannot be written waits in memory, `[mqtt] queue` events at most, until `settle` brings it to the file.
    Without a disk everything waits in memory. Of interims the latest alone waits, in memory.

    All methods but `checkpoint` belong to the event loop's thread, and none raises.

    Args:
        settings: how many may wait in memory, and the topics' prefix.
        disk: where events outlive the process; None for memory alone. The outbox's own from now on.
        utc_now: for what it says on behalf of sessions that a former process left open.
    """

    def __init__(
        self,
        settings: MqttSettings,
        disk: OutboxDisk | None = None,
        *,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._disk = disk
        self._utc_now = utc_now
        self._memory = OutboxStore.in_memory(Capacity(events=settings.queue))
        self._interims = LatestInterims()
        self._sessions = OpenSessions(disk.open_sessions if disk else ())
        self._position = disk.last_position if disk else 0
        self._acknowledged = 0
        self._lost_told = 0
        self._ended = False
        self._changed = asyncio.Event()
        self._end_lost_sessions()

    @property
    def events(self) -> int:
        """Events that wait, interims apart."""
        return self._memory.events + (self._disk.events if self._disk else 0)

    @property
    def size_bytes(self) -> int:
        """Their topics and payloads."""
        return self._memory.size_bytes + (self._disk.size_bytes if self._disk else 0)

    @property
    def lost(self) -> int:
        """Events, interims apart, that were given up for want of room."""
        return self._memory.lost + (self._disk.lost if self._disk else 0)

    @property
    def write_failures(self) -> int:
        """Writes to the file that failed."""
        return self._disk.write_failures if self._disk else 0

    @property
    def superseded_interims(self) -> int:
        """Interims that were overtaken before they could be sent."""
        return self._interims.superseded

    @property
    def place(self) -> str:
        """How much may wait where, in words."""
        if self._disk is None:
            return f"up to {self._settings.queue} events wait in memory"
        return f"up to {self._settings.outbox_mib} MiB of events wait in {self._disk.place}"

    def record(self, event: Event) -> None:
        """Takes a stamped event; unless it is an interim, or the disk fails, it is in the file on return."""
        self._position += 1
        session = self._sessions.follow(event)
        entry = Entry(
            self._position,
            event.session,
            event.seq,
            topic_of(self._settings.prefix, event),
            event.to_json().encode(),
            Kind.ENDED if isinstance(event, SessionEnded) else Kind.EVENT,
            interim=is_interim(event),
        )
        self._interims.follow(event, entry)
        changed = [session] if session is not None and (not entry.interim or self._sessions.overdue(session)) else []
        ended = [] if session is not None else [event.session]
        kept = [] if entry.interim else [entry]
        if (kept or changed) and self._disk is not None and self._disk.append(kept, open_sessions=changed, ended=ended):
            self._sessions.wrote(changed)
        elif kept:
            self._memory.append(kept)
        self._tell_lost()
        self._changed.set()

    def abandon(self, session: str) -> None:
        """Ends a session that broke before it could say `session.ended`; nothing for one that said so."""
        known = self._sessions.get(session)
        if known is not None:
            self.record(session_ended(known, INTERNAL_ERROR, self._utc_now()))

    def end(self) -> None:
        """No event will follow: `next` gives what is left, then nothing."""
        self._ended = True
        self._changed.set()

    async def next(self, limit: int) -> list[Entry]:
        """Waits for entries and gives the oldest that are not acknowledged, in order; none when none will follow.

        Interims are given once, all others until they are acknowledged.

        Args:
            limit: how many at most, interims apart.
        """
        while not (entries := self._oldest(limit)):
            if self._ended and entries is not None:
                return []
            self._changed.clear()
            await self._changed.wait()
        self._memory.hold(entries[-1].position)
        if self._disk is not None:
            self._disk.hold(entries[-1].position)
        return entries

    def acknowledge(self, position: int) -> None:
        """Lets go of all entries up to a position: they were taken."""
        self._acknowledged = max(position, self._acknowledged)
        self._memory.remove_through(self._acknowledged)
        if self._disk is not None:
            self._disk.remove_through(self._acknowledged)

    def settle(self) -> None:
        """Tries to bring to the file what could not be written before. To be called every now and then."""
        if self._disk is None or not self._disk.failing:
            return
        waiting = self._memory.after(self._acknowledged, self._memory.events)
        if self._disk.catch_up(waiting, self._sessions.all(), removed=self._acknowledged):
            self._memory.remove_through(self._position)
            self._sessions.wrote(self._sessions.all())
        self._tell_lost()
        self._changed.set()

    def checkpoint(self) -> None:
        """Brings the file to the disk. For a worker thread, every now and then."""
        if self._disk is not None:
            self._disk.checkpoint()

    def close(self) -> None:
        """Lets go of the file; what was not acknowledged is in it for the next process."""
        self.settle()
        if self._memory.events:
            _LOG.error("%d events that the MQTT broker did not take are lost", self._memory.events)
        if self._disk is None:
            return
        if self._disk.events:
            _LOG.warning(
                "%d events that the MQTT broker did not take wait in %s for the next start",
                self._disk.events,
                self._disk.place,
            )
        self._disk.close()

    def _oldest(self, limit: int) -> list[Entry] | None:
        entries = self._disk.after(self._acknowledged, limit) if self._disk else []
        if entries is None:
            return None  # what waits in memory is younger: it waits until the disk is read or given up
        entries += self._memory.after(self._acknowledged, limit - len(entries))
        interims = self._interims.take(entries[-1].position if len(entries) == limit else float("inf"))
        return sorted([*entries, *interims], key=lambda entry: entry.position)

    def _end_lost_sessions(self) -> None:
        """Says that sessions are over which a former process could not end."""
        lost = self._sessions.all()
        for session in lost:
            # Interims may have carried numbers beyond what was written.
            counted = replace(session, seq=session.seq + UNWRITTEN_SEQ)
            for event in server_restarted(counted, self._utc_now()):
                self.record(event)
        if self._disk is not None and self.events:
            _LOG.info(
                "%d events of a former run wait in %s, the ends of %d sessions that it left open among them",
                self.events,
                self._disk.place,
                len(lost),
            )

    def _tell_lost(self) -> None:
        if self.lost and len(str(self.lost)) > len(str(self._lost_told or "")):
            _LOG.error(
                "the MQTT broker did not take events before there was no room for more, %d lost so far, beside "
                "interims: look after the broker, or raise [mqtt] outbox_mib or queue",
                self.lost,
            )
            self._lost_told = self.lost


@contextmanager
def open_outbox(settings: MqttSettings) -> Iterator[EventOutbox]:
    """The outbox that the settings ask for, for as long as the block runs.

    Raises:
        ServerError: its file is another server's or another program's, or cannot be written.
    """
    outbox = EventOutbox(settings, _open_disk(settings) if settings.outbox_mib else None)
    try:
        yield outbox
    finally:
        outbox.close()


def _open_disk(settings: MqttSettings) -> OutboxDisk:
    chosen = Path(settings.outbox).expanduser() if settings.outbox else None
    path = chosen or user_state_path("medusa-live", appauthor=False) / _FILE_NAME
    file = OutboxFile(path, make_folder=chosen is None)
    try:
        return OutboxDisk(file, Capacity(size_bytes=settings.outbox_mib * _BYTES_PER_MIB))
    except sqlite3.Error as error:
        file.release()
        raise ServerError(
            f"the MQTT outbox {path} cannot be opened: {error}; make room, or look after the disk"
        ) from None
    except BaseException:
        file.release()
        raise
