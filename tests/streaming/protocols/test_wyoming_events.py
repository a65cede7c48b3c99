"""Wyoming's events as bytes, cut anywhere."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wyoming.event import Event
from wyoming.event import read_event as their_read_event
from wyoming.event import write_event as their_write_event

from streaming.errors import ProtocolError
from streaming.protocols.wyoming_events import (
    MAX_DATA_BYTES,
    MAX_HEADER_BYTES,
    EventCutter,
    WyomingEvent,
    read_event,
    write_event,
)

PAYLOAD_BYTES = 100_000

words = st.text('ab \n"\\\0é今🙂', max_size=9)
events = st.builds(
    Event,
    words,
    st.dictionaries(words, words | st.integers(-(2**53), 2**53) | st.lists(words, max_size=2), max_size=4),
    st.none() | st.binary(min_size=1, max_size=300),
)


def written(*said: Event) -> bytes:
    """As Wyoming's own library writes them."""
    stream = io.BytesIO()
    for event in said:
        their_write_event(event, stream)
    return stream.getvalue()


def cut(data: bytes, *places: int) -> list[bytes]:
    cutter = EventCutter(PAYLOAD_BYTES)
    found = []
    for start, end in zip((0, *places), (*places, len(data)), strict=True):
        cutter.push(data[start:end])
        while (event := cutter.next()) is not None:
            found.append(event)
    return found


def read(data: bytes) -> WyomingEvent:
    return read_event(data, PAYLOAD_BYTES)


@given(st.lists(events, max_size=4), st.data())
def test_events_of_wyomings_own_library_are_read_wherever_they_are_split(
    said: list[Event], data: st.DataObject
) -> None:
    stream = written(*said)
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    assert [read(event) for event in cut(stream, *places)] == [
        WyomingEvent(event.type, event.data, event.payload or b"") for event in said
    ]


@given(events)
def test_events_as_we_write_them_are_read_by_wyomings_own_library(said: Event) -> None:
    stream = io.BytesIO(write_event(said.type, said.data, said.payload or b""))
    assert their_read_event(stream) == said


def test_data_behind_the_header_is_merged_over_that_in_it() -> None:
    behind = json.dumps({"language": "de", "name": "x"}).encode()
    header = {"type": "transcribe", "data": {"language": "en", "context": {}}, "data_length": len(behind)}
    assert read(json.dumps(header).encode() + b"\n" + behind).data == {"language": "de", "name": "x", "context": {}}


@pytest.mark.parametrize("data", [None, {}])
def test_an_event_may_have_no_data(data: Any) -> None:
    line = json.dumps({"type": "describe", "data": data, "data_length": None, "payload_length": 0}).encode() + b"\n"
    assert [read(event) for event in cut(line)] == [WyomingEvent("describe", {})]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "no JSON"),
        (b"GET / HTTP/1.1\r", "no JSON"),
        (b"[]", "no JSON object"),
        (b"\xff\xfe", "UTF-8"),
        (b"[" * 9000, "no JSON"),
        (b"{}", "lacks its type"),
        (b'{"type": 7}', "lacks its type"),
        (b'{"type": "x", "data": []}', "data of an event"),
        (b'{"type": "x", "data_length": -1}', "data_length"),
        (b'{"type": "x", "data_length": true}', "data_length"),
        (b'{"type": "x", "data_length": 1e3}', "data_length"),
        (b'{"type": "x", "data_length": "9"}', "data_length"),
        (b'{"type": "x", "data_length": %d}' % (MAX_DATA_BYTES + 1), "data_length"),
        (b'{"type": "x", "payload_length": %d}' % (PAYLOAD_BYTES + 1), "payload_length"),
        (b'{"type": "x", "payload_length": 1' + b"0" * 5000 + b"}", "no JSON"),
        (b'{"type": "' + b"x" * MAX_HEADER_BYTES + b'"}', "longer than"),
    ],
)
def test_a_header_that_is_none_comes_out_once_says_what_is_wrong_and_ends_the_stream(line: bytes, said: str) -> None:
    good = write_event("ping", {"text": "x"})
    first, bad = cut(good + line + b"\n" + good)
    assert first == good
    with pytest.raises(ProtocolError, match=said):
        read(bad)


def test_a_line_without_end_is_held_no_longer_than_a_header_may_be() -> None:
    cutter = EventCutter(PAYLOAD_BYTES)
    for _ in range(MAX_HEADER_BYTES // 100):
        cutter.push(b"x" * 100)
        assert cutter.next() is None
    cutter.push(b"x" * 10_000)
    bad = cutter.next()
    cutter.push(b"x" * 10_000)
    assert bad is not None
    assert (cutter.next(), cutter.held_bytes) == (None, 0)
    with pytest.raises(ProtocolError, match="longer than"):
        read(bad)


@pytest.mark.parametrize("behind", [b"{", b"[]", b"\xff", b"null"])
def test_data_that_is_no_object_is_refused(behind: bytes) -> None:
    header = json.dumps({"type": "ping", "data_length": len(behind)}).encode()
    with pytest.raises(ProtocolError):
        read(header + b"\n" + behind)


def test_an_event_of_another_length_than_it_says_is_refused() -> None:
    with pytest.raises(ProtocolError, match="as long as"):
        read(b'{"type": "x", "payload_length": 2}\nabc')


@given(st.binary(max_size=200), st.data())
def test_no_bytes_raise_anything_but_our_own_error(junk: bytes, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(junk)), max_size=3)))
    for event in cut(junk, *places):
        try:
            read(event)
        except ProtocolError as error:
            assert len(str(error)) < 200
