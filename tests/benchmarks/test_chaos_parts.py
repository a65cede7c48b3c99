"""The parts of chaos that touch the world: the way to the server, the broker and its subscriber, faults inside."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import numpy as np
import pytest

from benchmarks import chaos_broker
from benchmarks.chaos_broker import Broker, free_port
from benchmarks.chaos_recordings import speech_of
from benchmarks.chaos_server import CLOCK_LEAPS, EXCEPTIONS, LeapingClock, ProvokedError, RaisingRecognizer, full_disk
from benchmarks.chaos_subscriber import heard_of, subscribed
from benchmarks.chaos_way import MOST_BYTES, way_to
from benchmarks.errors import BenchmarkError
from streaming.config import VadSettings
from tests.fakes.events import EventSource
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.shell import silence, speech
from tests.fakes.vad import LoudnessVad

PATIENCE_S = 10.0


@contextlib.asynccontextmanager
async def an_echo() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that says again what it hears, and keeps it."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                heard.append(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()


async def test_a_way_passes_on_until_it_is_broken() -> None:
    async with an_echo() as (port, _), way_to(port, seed=1) as way:
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        writer.write(bytes(MOST_BYTES))
        assert await asyncio.wait_for(reader.readexactly(MOST_BYTES), PATIENCE_S) == bytes(MOST_BYTES)

        await way.break_one(halve=False)

        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), PATIENCE_S)
        writer.transport.abort()


async def test_half_a_message_gets_through_before_the_way_breaks() -> None:
    async with an_echo() as (port, heard), way_to(port, seed=1) as way:
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        writer.write(b"x" * MOST_BYTES)
        await asyncio.wait_for(reader.readexactly(MOST_BYTES), PATIENCE_S)
        await way.break_one(halve=True)

        writer.write(b"y" * 1000)
        with contextlib.suppress(ConnectionResetError):
            await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.transport.abort()

    assert b"".join(heard).count(b"y") < 1000


async def test_a_break_waits_for_a_connection_that_got_somewhere() -> None:
    async with an_echo() as (port, _), way_to(port, seed=1) as way:
        breaking = asyncio.create_task(way.break_one(halve=False))
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.readexactly(5), PATIENCE_S) == b"hello"
        assert not breaking.done()

        writer.write(bytes(MOST_BYTES))
        await asyncio.wait_for(breaking, PATIENCE_S)
        with contextlib.suppress(ConnectionResetError):
            while await asyncio.wait_for(reader.read(1 << 16), PATIENCE_S):
                pass
        writer.transport.abort()


async def publish(port: int, *payloads: str) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        for payload in payloads:
            await client.publish("chaos/s1/0/transcript", payload, qos=1)


@pytest.mark.parametrize("kill", [False, True])
async def test_a_subscriber_has_everything_in_order_although_the_broker_went_away(tmp_path: Path, kill: bool) -> None:
    source = EventSource()
    events = [source.final().to_json() for _ in range(4)]
    broker = Broker(tmp_path, free_port())
    await broker.start()
    try:
        async with subscribed(broker.port, "chaos/#") as subscriber:
            await publish(broker.port, *events[:2])
            await broker.stop(kill=kill)
            await broker.start()
            await publish(broker.port, source.interim().to_json(), "no event", *events[2:])
            async with asyncio.timeout(PATIENCE_S):
                while len({event.seq for event in subscriber.heard}) < 4:
                    subscriber.news.clear()
                    await subscriber.news.wait()
    finally:
        await broker.stop()

    assert list(dict.fromkeys(event.seq for event in subscriber.heard)) == [1, 2, 3, 4]
    assert {event.type for event in subscriber.heard} == {"transcript"}


def test_finals_errors_and_sessions_are_counted_and_interims_are_not() -> None:
    source = EventSource()
    final = heard_of(source.emotion(final=True).to_json().encode())

    assert final is not None
    assert final.final is not None
    assert (final.final.start_s, final.final.end_s) == (0.1, 0.2)
    assert heard_of(source.started().to_json().encode()) is not None
    assert heard_of(source.interim().to_json().encode()) is None
    assert heard_of(b'{"status": "online"}') is None
    assert heard_of(b"\xff") is None


def test_a_machine_without_mosquitto_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(chaos_broker, "_OUT_OF_SIGHT", ())
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BenchmarkError, match="mosquitto is not installed: apt-get install"):
        Broker(tmp_path, free_port())


def test_speech_is_where_no_server_could_miss_it() -> None:
    short_pause, click = silence(0.1), speech(0.1)
    audio = np.concatenate(
        [
            silence(1.0),
            speech(1.0),
            short_pause,
            speech(0.9),
            silence(2.0),
            click,
            silence(0.9),
            speech(1.0),
            silence(1.0),
        ]
    )

    first, second = speech_of(audio, VadSettings(), LoudnessVad)

    assert first == pytest.approx((1.0, 3.0), abs=0.03)
    assert second == pytest.approx((6.0, 7.0), abs=0.03)


def test_a_recogniser_breaks_now_and_then_and_says_so() -> None:
    counts: Counter[str] = Counter()
    recognizer = RaisingRecognizer(FakeRecognizer(), np.random.default_rng(1), counts)
    broken = 0
    for _ in range(500):
        try:
            recognizer.recognize([])
        except ProvokedError:
            broken += 1

    assert 0 < broken < 50
    assert counts[EXCEPTIONS] == broken


def test_a_clock_leaps_and_never_goes_back() -> None:
    now_s = 0.0
    counts: Counter[str] = Counter()
    clock = LeapingClock(np.random.default_rng(1), counts, lambda: now_s)
    told = []
    for tick in range(600):
        now_s = tick / 10
        told.append(clock())

    assert counts[CLOCK_LEAPS] >= 2
    assert told == sorted(told)
    assert told[-1] > 61.0


def test_a_disk_is_full_for_a_while(tmp_path: Path) -> None:
    file = tmp_path / "outbox"
    with full_disk(), pytest.raises(OSError, match="File too large"):
        file.write_bytes(bytes(1 << 16))

    assert file.write_bytes(bytes(1 << 16)) == 1 << 16
