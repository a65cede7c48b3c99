from __future__ import annotations

import io

from rich.console import Console

from streaming.live_table import LiveTable, plain_line
from tests.fakes.events import EventSource


def drawn(table: LiveTable) -> str:
    console = Console(file=io.StringIO(), width=110)
    console.print(table.render())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_before_any_event_it_waits() -> None:
    assert "waiting for audio" in drawn(LiveTable())


def test_it_shows_who_speaks_what_was_said_and_a_bar_a_class() -> None:
    make, table = EventSource(), LiveTable()
    for event in (make.started(), make.speech_started(), make.transcript(final=False, text="well")):
        table.take(event)
    assert "speaking" in drawn(table)
    final = make.emotion(final=True)
    for event in (make.speech_ended(), make.transcript(final=True, text="well then"), final):
        table.take(event)
    shown = drawn(table)
    assert "well then" in shown
    assert "silent" in shown
    assert "█" in shown
    assert f"{final.latency.total_ms:.0f} ms" in shown


def test_two_channels_stand_in_rows_of_their_own() -> None:
    make, table = EventSource(), LiveTable()
    table.take(make.started())
    table.take(make.transcript(final=True, text="from one side", channel=0))
    table.take(make.transcript(final=True, text="from the other", channel=1))
    lines = drawn(table).splitlines()
    one = next(i for i, line in enumerate(lines) if "from one side" in line)
    other = next(i for i, line in enumerate(lines) if "from the other" in line)
    assert one < other


def test_without_a_terminal_only_finals_and_errors_are_lines() -> None:
    make = EventSource()
    assert plain_line(make.emotion(final=False)) is None
    assert plain_line(make.speech_started()) is None
    line = plain_line(make.emotion(final=True))
    assert line is not None
    assert "customer" in line
