"""The JSON lines sink."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from streaming.errors import ServerError
from streaming.events import parse_event
from streaming.hub import EventHub
from streaming.sinks.jsonl import JsonLinesSink
from tests.fakes.events import EventSource


class FlushRecorder(io.StringIO):
    """Notes how many lines were written at each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.lines_at_flush: list[int] = []

    def flush(self) -> None:
        self.lines_at_flush.append(self.getvalue().count("\n"))


class FullDisk(io.StringIO):
    """Takes nothing."""

    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def new_hub() -> EventHub:
    return EventHub(event_buffer=100, subscriber_queue=100, ended_sessions=2)


async def test_each_event_is_one_line_that_parses_back(tmp_path: Path) -> None:
    hub, source, path = new_hub(), EventSource(), tmp_path / "events.jsonl"
    events = [source.started(), source.transcript(final=True, text="two\nlines — “quoted”"), source.ended()]
    sink = JsonLinesSink.open(path)
    sink.attach(hub)
    for event in events:
        hub.publish(event)
    hub.close()

    await asyncio.wait_for(sink.run(), 5)

    assert [parse_event(line) for line in path.read_text(encoding="utf-8").splitlines()] == events


async def test_a_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for session in ("one", "two"):
        hub, sink = new_hub(), JsonLinesSink.open(path)
        sink.attach(hub)
        hub.publish(EventSource(session).started())
        hub.close()
        await asyncio.wait_for(sink.run(), 5)

    assert [parse_event(line).session for line in path.read_text().splitlines()] == ["one", "two"]


async def test_every_line_is_flushed_on_its_own() -> None:
    hub, source, stream = new_hub(), EventSource(), FlushRecorder()
    sink = JsonLinesSink(stream, "a test")
    sink.attach(hub)
    for _ in range(3):
        hub.publish(source.final())
    hub.close()

    await asyncio.wait_for(sink.run(), 5)

    assert stream.lines_at_flush == [1, 2, 3]
    assert not stream.closed


async def test_a_full_disk_ends_the_sink_with_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    hub, source = new_hub(), EventSource()
    sink = JsonLinesSink(FullDisk(), "events.jsonl")
    sink.attach(hub)
    hub.publish(source.transcript(final=True, text="a secret"))

    await asyncio.wait_for(sink.run(), 5)

    assert hub.subscribers == 0
    assert [record.message for record in caplog.records] == [
        "events are no longer written to events.jsonl: No space left on device"
    ]


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"cannot write events to .*: Is a directory"):
        JsonLinesSink.open(tmp_path)
