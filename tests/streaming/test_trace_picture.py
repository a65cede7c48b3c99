"""A trace as a picture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

import pytest

from streaming.events import Event
from streaming.trace import Stage, Tracer
from streaming.trace_picture import trace_picture
from tests.fakes.stories import TOLD, story

SVG = "{http://www.w3.org/2000/svg}"


def drawn(stories: Sequence[Iterable[Event]], **options: bool | int) -> ElementTree.Element:
    tracer = Tracer()
    for events in stories:
        for event in events:
            tracer.take(event)
    return ElementTree.fromstring(trace_picture(tracer.segments, title="a <call> & more", **options))  # type: ignore[arg-type]  # noqa: S314


def texts(picture: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in picture.iter(f"{SVG}text")]


def boxes(picture: ElementTree.Element, kind: str) -> list[tuple[float, float]]:
    """Left edge and width of what is drawn with a hint."""
    return [
        (float(box.attrib["x"]), float(box.attrib["width"]))
        for box in picture.iter(f"{SVG}rect")
        if box.attrib["class"] == kind and box.find(f"{SVG}title") is not None
    ]


def test_every_stage_of_a_segment_is_a_box_with_its_figures() -> None:
    picture = drawn([story(latency=TOLD.model_copy(update={"compute_ms": 230.0}))])
    hints = [title.text or "" for title in picture.iter(f"{SVG}title")]
    for stage in Stage:
        assert any(hint.startswith(f"{stage.value}: ") for hint in hints)
    assert "decode: 90.0 ms, from 270.0 ms on" in hints


def test_all_rows_share_their_axes() -> None:
    slow = TOLD.model_copy(update={"endpoint_ms": 1200.0, "total_ms": 1205.0})
    (_, short), (_, long) = boxes(drawn([story(), story(2, start_s=5.0, latency=slow)]), "silence")
    assert long == pytest.approx(2 * short, abs=0.2)


def test_boxes_stay_inside_the_picture_and_in_order() -> None:
    picture = drawn([story(number, start_s=3.0 * number) for number in range(1, 30)])
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    for box in picture.iter(f"{SVG}rect"):
        assert 0 <= float(box.attrib["x"]) <= float(box.attrib["x"]) + float(box.attrib["width"]) <= width
        assert 0 <= float(box.attrib["y"]) + float(box.attrib["height"]) <= height
    starts = [boxes(picture, kind)[0][0] for kind in ("queue", "encode", "decode", "emotion", "emit")]
    assert starts == sorted(starts)


def test_interims_are_marked_within_the_speech() -> None:
    picture = drawn([story()])
    ((left, width),) = boxes(picture, "speech")
    marks = [float(line.attrib["x1"]) for line in picture.iter(f"{SVG}line") if line.attrib["class"] == "ink-line"]
    assert marks == [pytest.approx(left + width / 2, abs=0.2)]


def test_every_colour_has_one_for_dark_pages() -> None:
    picture = drawn([story(), story(2, start_s=9.0, latency=None)], words=True)
    (style,) = picture.iter(f"{SVG}style")
    assert (style.text or "").startswith("@media (prefers-color-scheme: dark)")
    for element in picture.iter():
        if "class" in element.attrib:
            assert f".{element.attrib['class']}{{" in (style.text or "")
            colour = element.attrib.get("fill") or element.attrib["stroke"]
            assert re.fullmatch(r"#[0-9a-f]{6}", colour)


def test_words_are_drawn_only_where_they_are_asked_for_and_shortened_where_they_are_many() -> None:
    assert "well then" not in texts(drawn([story()]))
    assert "well then" in texts(drawn([story()], words=True))
    (cut,) = [text for text in texts(drawn([story(text="well " * 100)], words=True)) if text.startswith("well")]
    assert len(cut) == 150
    assert cut.endswith("…")


def test_text_from_elsewhere_stays_text() -> None:
    picture = drawn([story(text="</text><script>\x00", label="<b>")], words=True)
    assert {"</text><script>\N{REPLACEMENT CHARACTER}", "<b>", "a <call> & more"} <= set(texts(picture))
    assert not list(picture.iter(f"{SVG}script"))


def test_segments_without_an_answer_are_drawn_too() -> None:
    picture = drawn([story(1, fails=True), story(2, start_s=9.0, latency=None)], left_out=3)
    assert {"failed", "not scored"} <= set(texts(picture))
    assert "2 segments, 3 earlier ones left out" in texts(picture)


@pytest.mark.parametrize("total_ms", [0.5, 7, 605, 30_000])
def test_ticks_are_round_numbers_and_few(total_ms: float) -> None:
    picture = drawn([story(latency=TOLD.model_copy(update={"total_ms": total_ms}))])
    labels = [float(text) for text in texts(picture) if re.fullmatch(r"[\d.e+-]+", text)]
    after = labels[labels.index(0.0, 1) :]
    assert 2 <= len(after) <= 7
    assert total_ms <= after[-1] < 2.5 * total_ms
