"""Outboxes as a process that was killed leaves them."""

from __future__ import annotations

import shutil
from pathlib import Path

from streaming.events import Event, parse_event
from streaming.outbox.outbox import EventOutbox


def copy_of_a_crash(path: Path, folder: Path) -> Path:
    """What would be left of an outbox that is open, if its process were killed now: a copy in a new folder."""
    folder.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", folder)
    return folder / path.name


def pending(outbox: EventOutbox) -> list[Event]:
    """Everything that waits, interims apart, in order; nothing is handed out."""
    disk = (outbox._disk.after(outbox._acknowledged, 100_000) or []) if outbox._disk else []
    memory = outbox._memory.after(outbox._acknowledged, 100_000)
    return [parse_event(entry.payload) for entry in (*disk, *memory)]
