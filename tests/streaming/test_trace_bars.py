"""A trace on the terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console

from streaming.events import Event
from streaming.trace import Tracer
from streaming.trace_bars import MARKS, trace_bars
from tests.fakes.stories import TOLD, story


def shown(stories: Sequence[Iterable[Event]], **options: bool | int) -> str:
    tracer = Tracer()
    for events in stories:
        for event in events:
            tracer.take(event)
    console = Console(width=140, file=io.StringIO(), color_system=None)
    console.print(trace_bars(tracer.segments, **options))  # type: ignore[arg-type]
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue()


def test_every_stage_of_a_segment_has_its_mark_and_the_marks_are_explained() -> None:
    text = shown([story(latency=TOLD.model_copy(update={"compute_ms": 230.0}))])
    bars, legend = text.rsplit("\n", 2)[:2]
    for stage, (mark, _) in MARKS.items():
        assert mark in bars
        assert f"{mark} {stage.value}" in legend


def test_what_was_computed_ahead_stands_under_the_silence_that_hid_it() -> None:
    lines = shown([story()]).splitlines()
    (row,) = [number for number, line in enumerate(lines) if "angry" in line]
    silence, computed = lines[row : row + 2]
    assert silence.index("─") < computed.index("e") < computed.index("m") < silence.index(">")


def test_a_segment_is_named_and_its_answer_told() -> None:
    text = shown([story(3, channel=1, role="agent", start_s=4.2)])
    for told in ("1.3 agent", "4.2 s", "605", "angry"):
        assert told in text


def test_words_are_shown_only_where_they_are_asked_for() -> None:
    assert "well then" not in shown([story()])
    assert "well then" in shown([story()], words=True)


def test_segments_without_an_answer_are_drawn_too() -> None:
    text = shown([story(1), story(2, start_s=5.0, fails=True), story(3, start_s=9.0, latency=None)])
    assert "failed" in text
    assert "not scored" in text


def test_segments_left_out_are_mentioned() -> None:
    assert "7 earlier segments are not shown" in shown([story()], left_out=7)


def test_a_role_and_words_from_elsewhere_cannot_move_the_cursor() -> None:
    assert "\x1b" not in shown([story(text="well \x1b[2J then", label="ang\x1bry")], words=True)


def test_nothing_at_all_can_be_drawn() -> None:
    assert "life of the segments" in shown([])
