"""Whatever happens in whatever order, an outbox on disk holds what a plain list would."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streaming.config import MqttSettings
from streaming.events import ErrorEvent, Event, SessionEnded
from streaming.outbox.outbox import EventOutbox, open_outbox
from streaming.outbox.store import OutboxStore
from tests.fakes.events import EventSource
from tests.fakes.outboxes import copy_of_a_crash, pending

HAPPENINGS = ("final", "speech_ended", "interims", "ended")
INTERIMS = 25


class _FullDisk(OutboxStore):
    """Takes nothing more, and lets nothing go."""

    def append(self, *_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    def remove_through(self, _position: int) -> None:
        raise sqlite3.OperationalError("database or disk is full")


class OutboxMachine(RuleBasedStateMachine):
    """Appends, acknowledges, fills the disk, kills the process; beside it two lists, of what waits and of the file."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.crashes = 0
        self.numbers = itertools.count()
        self.full = False
        self.failing = False
        self.sources: dict[str, EventSource] = {}
        self.waiting: list[Event] = []
        self.written: list[Event] = []
        self.open_in_file: set[str] = set()
        self.seen_unwritten: set[str] = set()
        self._open(self.folder / "outbox.sqlite")

    def _open(self, path: Path) -> None:
        self.path = path
        self._opened = open_outbox(MqttSettings(outbox=str(path)))
        self.outbox: EventOutbox = self._opened.__enter__()
        self.failures = 0

    def _record(self, event: Event) -> None:
        self.outbox.record(event)
        self.failing |= self.full
        self.failures = self.outbox.write_failures
        self.waiting.append(event)
        if self.failing:
            self.seen_unwritten.add(event.session)
        else:
            self._write([event])

    def _write(self, events: list[Event]) -> None:
        self.written += events
        for event in events:
            (self.open_in_file.discard if isinstance(event, SessionEnded) else self.open_in_file.add)(event.session)

    @rule(happenings=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(HAPPENINGS)), min_size=1, max_size=12))
    def sessions_go_on(self, happenings: list[tuple[str, str]]) -> None:
        for name, happening in happenings:
            if name not in self.sources:
                self.sources[name] = EventSource(f"{name}{next(self.numbers)}")
                self._record(self.sources[name].started())
            elif happening == "ended":
                self._record(self.sources.pop(name).ended())
            elif happening == "interims":
                self._record_interims(self.sources[name])
            else:
                self._record(getattr(self.sources[name], happening)())

    def _record_interims(self, source: EventSource) -> None:
        for _ in range(INTERIMS):
            self.outbox.record(source.interim())
        self.failing |= self.outbox.write_failures > self.failures  # now and then one has to be written
        self.failures = self.outbox.write_failures
        if self.failing:
            self.seen_unwritten.add(source.session)

    @precondition(lambda self: self.waiting)
    @rule(limit=st.integers(1, 16), share=st.floats(0, 1))
    def some_are_sent_and_the_first_of_them_acknowledged(self, limit: int, share: float) -> None:
        entries = [entry for entry in asyncio.run(self.outbox.next(limit)) if not entry.interim]
        assert [entry.payload for entry in entries] == [event.to_json().encode() for event in self.waiting[:limit]]
        taken = round(share * len(entries))
        if taken:
            self.outbox.acknowledge(entries[taken - 1].position)
            gone = self.waiting[:taken]
            self.waiting = self.waiting[taken:]
            self.failing |= self.full
            self.failures = self.outbox.write_failures
            if not self.failing:
                self.written = [event for event in self.written if event not in gone]

    @rule(full=st.booleans())
    def the_disk_fills_up_or_has_room_again(self, full: bool) -> None:
        if self.outbox._disk is not None and self.outbox._disk._store is not None:
            self.outbox._disk._store.__class__ = _FullDisk if full else OutboxStore
        self.full = full

    @rule()
    def a_second_passes(self) -> None:
        self.outbox.settle()
        self.failures = self.outbox.write_failures
        if self.failing and not self.full:
            self.failing = False
            self.written = list(self.waiting)
            self.open_in_file = {source.session for source in self.sources.values()}
            self.seen_unwritten.clear()
        self.outbox.checkpoint()

    @rule()
    def the_process_is_killed(self) -> None:
        self.the_disk_fills_up_or_has_room_again(full=False)
        last = {source.session: source.seq for source in self.sources.values()}
        self.crashes += 1
        killed = copy_of_a_crash(self.path, self.folder / str(self.crashes))
        self._opened.__exit__(None, None, None)
        self._open(killed)
        found = pending(self.outbox)
        left, last_words = found[: len(self.written)], found[len(self.written) :]

        assert left == self.written
        for error, ended in zip(last_words[::2], last_words[1::2], strict=True):
            assert isinstance(error, ErrorEvent)
            assert isinstance(ended, SessionEnded)
            assert error.session == ended.session
            assert ended.seq == error.seq + 1
            assert error.session in self.seen_unwritten or error.seq > last[error.session]
        assert {event.session for event in last_words} == self.open_in_file
        self.sources, self.open_in_file, self.seen_unwritten = {}, set(), set()
        self.waiting, self.written, self.failing = list(found), list(found), False

    @invariant()
    def what_waits_is_what_was_recorded_and_not_acknowledged(self) -> None:
        assert pending(self.outbox) == self.waiting

    def teardown(self) -> None:
        self.the_disk_fills_up_or_has_room_again(full=False)
        self._opened.__exit__(None, None, None)
        shutil.rmtree(self.folder)


OutboxMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestOutbox = OutboxMachine.TestCase
