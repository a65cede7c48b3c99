"""The progress bar of downloads."""

from __future__ import annotations

import io

import pytest

from models.weights_progress import download_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "shown", "drawn"), [(Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)]
)
def test_a_bar_is_drawn_only_on_a_terminal_and_when_asked_for(
    stream: io.StringIO, shown: bool, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with download_progress(shown=shown) as report:
        report("model.bin", 1, 4)
        report("model.bin", 4, 4)
    assert ("model.bin" in stream.getvalue()) is drawn
