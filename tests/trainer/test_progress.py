from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from trainer.progress import AudioRateColumn, terminal_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_drawn_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal_progress("features", 3, 10.0) as advance:
        advance(3, 10.0)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_terminal_sees_what_is_done_and_of_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with terminal_progress("features", 3, 7200.0) as advance:
        advance(2, 60.0)
    drawn = terminal.getvalue()
    assert "features (2.00 h)" in drawn
    assert "2/3" in drawn
    assert "h/h" in drawn


def test_a_job_with_nothing_to_do_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with terminal_progress("features", 0, 0.0):
        pass
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(("audio_s", "shown"), [(0.0, ""), (7200.0, "720 h/h")])
def test_the_rate_is_hours_of_audio_in_an_hour(audio_s: float, shown: str) -> None:
    now = 100.0
    bar = Progress(console=Console(file=io.StringIO()), get_time=lambda: now)
    task = bar.add_task("x", total=2, audio_s=audio_s)
    now = 110.0
    assert AudioRateColumn().render(bar.tasks[task]).plain == shown
