"""Events as they come, on stdout: a live table on a terminal, lines elsewhere, JSON for programs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click
from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler

from streaming.events import EmotionEvent, Event, TranscriptEvent
from streaming.live_table import LiveTable
from streaming.plain_lines import plain_line
from streaming.session import AGENT_ROLE


class Display(Protocol):
    """Shows events."""

    def show(self, event: Event) -> None:
        """Shows one more."""


class JsonDisplay:
    """Every event as it is on the wire, one a line."""

    def show(self, event: Event) -> None:
        """Writes it."""
        click.echo(event.to_json())


class LinesDisplay:
    """A line for each segment that is over, and for whatever went wrong.

    What an agent said is shown without an emotion where none is inferred. Whether one will be is seen from the next
    event: the final emotion follows its transcript directly.
    """

    def __init__(self) -> None:
        self._said: TranscriptEvent | None = None

    def show(self, event: Event) -> None:
        """Writes what is worth a line."""
        if not self._scores(event):
            self.flush()
        self._said = None
        if isinstance(event, TranscriptEvent):
            self._said = event if event.final and event.role == AGENT_ROLE else None
            return
        line = plain_line(event)
        if line is not None:
            click.echo(line)

    def flush(self) -> None:
        """Writes what still waits."""
        if self._said is not None:
            click.echo(plain_line(self._said))
            self._said = None

    def _scores(self, event: Event) -> bool:
        said = self._said
        return (
            isinstance(event, EmotionEvent)
            and said is not None
            and (event.channel, event.segment) == (said.channel, said.segment)
        )


class TableDisplay:
    """The live table, drawn anew at every event."""

    def __init__(self, table: LiveTable, live: Live) -> None:
        self._table = table
        self._live = live

    def show(self, event: Event) -> None:
        """Draws it."""
        self._table.take(event)
        self._live.update(self._table.render(), refresh=True)


@contextmanager
def open_display(*, as_json: bool) -> Iterator[Display]:
    """The display that suits stdout, for as long as the block runs.

    Args:
        as_json: JSON lines, wherever stdout leads.
    """
    if as_json:
        yield JsonDisplay()
    elif not sys.stdout.isatty():
        lines = LinesDisplay()
        try:
            yield lines
        finally:
            lines.flush()
    else:
        console = Console()
        table = LiveTable()
        # Refreshed by events alone: a thread of its own would draw the table while it changes.
        with Live(table.render(), console=console, auto_refresh=False) as live, _logs_above(console):
            yield TableDisplay(table, live)


@contextmanager
def _logs_above(console: Console) -> Iterator[None]:
    """Lets log lines pass above the table rather than through it, where both are on the terminal."""
    root = logging.getLogger()
    before = root.handlers[:]
    if sys.stderr.isatty():
        root.handlers[:] = [RichHandler(console=console, show_path=False, log_time_format="%X")]
    try:
        yield
    finally:
        root.handlers[:] = before
