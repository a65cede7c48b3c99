"""The picture of the live table."""

from __future__ import annotations

from pathlib import Path

from streaming.live_picture import LivePicture
from tests.fakes.events import EventSource


def words(path: Path) -> str:
    return path.read_text(encoding="utf-8").replace("&#160;", " ")


def test_it_shows_the_last_moment_at_which_words_were_tentative(tmp_path: Path) -> None:
    make, picture = EventSource(), LivePicture("medusa demo")
    tentative = make.transcript(final=False, text="").model_copy(update={"tentative": "perhaps this"})
    for event in (make.started(), make.speech_started(), tentative, make.final(), make.ended()):
        picture.take(event)
    picture.save(tmp_path / "table.svg")
    shown = words(tmp_path / "table.svg")
    assert shown.startswith("<svg")
    assert "medusa demo" in shown
    assert "perhaps this" in shown
    assert "well then" not in shown


def test_without_tentative_words_it_shows_the_end(tmp_path: Path) -> None:
    make, picture = EventSource(), LivePicture("medusa demo")
    for event in (make.started(), make.final(), make.emotion(final=True), make.ended()):
        picture.take(event)
    picture.save(tmp_path / "table.svg")
    assert "well then" in words(tmp_path / "table.svg")
