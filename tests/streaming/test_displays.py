"""Which display suits stdout, and what each shows."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from streaming.displays import JsonDisplay, LinesDisplay, TableDisplay, open_display
from streaming.events import Event, parse_event
from tests.fakes.events import EventSource


class Terminal(io.StringIO):
    """A stream that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def as_agent(event: Event) -> Event:
    return event.model_copy(update={"role": "agent"})


def test_programs_get_every_event_as_it_is_on_the_wire(capsys: pytest.CaptureFixture[str]) -> None:
    make = EventSource()
    events = [make.started(), make.interim(), make.final(), make.ended()]
    with open_display(as_json=True) as display:
        assert isinstance(display, JsonDisplay)
        for event in events:
            display.show(event)
    assert [parse_event(line) for line in capsys.readouterr().out.splitlines()] == events


def test_without_a_terminal_a_segment_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    make = EventSource()
    with open_display(as_json=False) as display:
        assert isinstance(display, LinesDisplay)
        for event in (make.started(), make.interim(), make.final(), make.emotion(final=True), make.ended()):
            display.show(event)
    (line,) = capsys.readouterr().out.splitlines()
    assert "angry" in line
    assert line.endswith("well then")


def test_what_an_agent_says_is_a_line_though_nothing_is_inferred(capsys: pytest.CaptureFixture[str]) -> None:
    make = EventSource()
    with open_display(as_json=False) as display:
        display.show(as_agent(make.final()))
        display.show(as_agent(make.interim()))
        display.show(as_agent(make.final()))
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("0 agent      well then") for line in lines] == [True, True]


def test_an_agent_who_is_scored_has_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    make = EventSource()
    with open_display(as_json=False) as display:
        display.show(as_agent(make.final()))
        display.show(as_agent(make.emotion(final=True)))
    (line,) = capsys.readouterr().out.splitlines()
    assert "angry" in line


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Stdout and stderr lead to it from here to the end of the test."""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_on_a_terminal_the_table_is_drawn_at_every_event(monkeypatch: pytest.MonkeyPatch) -> None:
    make, terminal = EventSource(), on_a_terminal(monkeypatch)
    with open_display(as_json=False) as display:
        assert isinstance(display, TableDisplay)
        display.show(make.started())
        assert "ensemble fake" in terminal.getvalue()
        display.show(make.transcript(final=False, text="so far"))
        assert "so far" in terminal.getvalue()


def test_json_stays_json_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    with open_display(as_json=True) as display:
        display.show(EventSource().started())
    assert json.loads(terminal.getvalue())["type"] == "session.started"


def test_log_lines_pass_above_the_table_and_then_go_where_they_went_before(monkeypatch: pytest.MonkeyPatch) -> None:
    make, terminal, root = EventSource(), on_a_terminal(monkeypatch), logging.getLogger()
    before = root.handlers[:]
    with open_display(as_json=False) as display:
        display.show(make.started())
        logging.getLogger("streaming.elsewhere").warning("the broker is away")
    shown = terminal.getvalue()
    assert shown.index("the broker is away") < shown.rindex("ensemble fake")
    assert root.handlers == before


def test_log_lines_that_go_to_a_file_go_on_to_do_so(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, root = on_a_terminal(monkeypatch), logging.getLogger()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    before = root.handlers[:]
    with open_display(as_json=False):
        assert root.handlers == before
    assert "waiting for audio" in terminal.getvalue()
