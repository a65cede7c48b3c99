"""What reaches an MQTT subscriber when brokers and servers come and go."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from streaming.config import MqttSettings
from streaming.hub import EventHub
from streaming.outbox.outbox import EventOutbox, open_outbox
from streaming.sinks.mqtt import MqttSink
from tests.fakes.broker import PATIENCE_S, Heard, Way, payload, running_broker
from tests.fakes.events import EventSource

RESTARTS = 5
FINALS_BETWEEN = 40


def settings_of(port: int, folder: Path) -> MqttSettings:
    return MqttSettings(enabled=True, port=port, outbox=str(folder / "outbox.sqlite"))


def new_hub() -> EventHub:
    return EventHub(event_buffer=100, subscriber_queue=100, ended_sessions=2)


@contextlib.asynccontextmanager
async def publishing(settings: MqttSettings) -> AsyncIterator[tuple[EventHub, MqttSink, EventOutbox]]:
    """A sink at work; leaving the block cancels it and closes its outbox."""
    with open_outbox(settings) as outbox:
        hub, sink = new_hub(), MqttSink(settings, outbox, first_retry_s=0.02, last_retry_s=0.05, settle_s=0.02)
        sink.attach(hub)
        task = asyncio.create_task(sink.run())
        try:
            yield hub, sink, outbox
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def first_sights(seqs: list[int]) -> list[int]:
    return list(dict.fromkeys(seqs))


def seqs_of_finals(messages: list[dict[str, Any]]) -> list[int]:
    return first_sights([message["seq"] for message in messages if message["type"] != "transcript" or message["final"]])


async def heard_until(heard: Heard, type_: str) -> list[dict[str, Any]]:
    messages = [payload(await heard.next())]
    while messages[-1]["type"] != type_:
        messages.append(payload(await heard.next()))
    return messages


AGAIN_S = 0.02
"""Before a subscriber looks for its broker again."""


class DurableSubscriber:
    """Reconnects for as long as it takes; the broker keeps for it what it misses meanwhile."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.seqs: list[int] = []
        self.subscribed = asyncio.Event()
        self.ended = asyncio.Event()

    async def run(self) -> None:
        while not self.ended.is_set():
            client = aiomqtt.Client("127.0.0.1", self._port, identifier="subscriber", clean_session=False)
            with contextlib.suppress(aiomqtt.MqttError):
                async with client:
                    await client.subscribe("medusa/v1/+/+/+", qos=1)
                    self.subscribed.set()
                    async for message in client.messages:
                        self._take(message)
            while (
                client._queue.qsize()
            ):  # received, acknowledged, and forgotten by the client when its connection broke
                self._take(client._queue.get_nowait())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), AGAIN_S)

    def _take(self, message: aiomqtt.Message) -> None:
        self.seqs.append(payload(message)["seq"])
        if payload(message)["type"] == "session.ended":
            self.ended.set()


@contextlib.asynccontextmanager
async def listening_through(way: Way) -> AsyncIterator[DurableSubscriber]:
    subscriber = DurableSubscriber(way.port)
    task = asyncio.create_task(subscriber.run())
    try:
        await asyncio.wait_for(subscriber.subscribed.wait(), PATIENCE_S)
        yield subscriber
    finally:
        subscriber.ended.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_nothing_is_missing_and_nothing_out_of_order_after_a_broker_restarted_again_and_again(
    tmp_path: Path,
) -> None:
    async with running_broker(tmp_path, persistent=True) as broker:
        way, source = Way(broker), EventSource()
        await way.open()
        settings = settings_of(way.port, tmp_path)
        async with listening_through(way) as subscriber, publishing(settings) as (hub, sink, outbox):
            hub.publish(source.started())
            for _ in range(RESTARTS):
                await asyncio.wait_for(sink.connected.wait(), PATIENCE_S)
                for number in range(FINALS_BETWEEN):
                    hub.publish(source.final())
                    await asyncio.sleep(0)
                    if number == FINALS_BETWEEN // 2:
                        await way.cut()  # a client that a dying broker has accepted waits long for its answer
                await broker.stop()
                for _ in range(FINALS_BETWEEN):
                    hub.publish(source.final())
                await broker.start()
                await way.open()
            hub.publish(source.ended())
            await asyncio.wait_for(subscriber.ended.wait(), PATIENCE_S)
            lost = outbox.lost
        await way.cut()

    assert first_sights(subscriber.seqs) == list(range(1, source.seq + 1))
    assert lost == 0


async def test_a_connection_cut_mid_stream_again_and_again_loses_no_final(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, broker.listening("medusa/v1/+/+/+") as heard:
        way, source, finals = Way(broker), EventSource(), []
        async with publishing(settings_of(way.port, tmp_path)) as (hub, sink, _):
            hub.publish(source.started())
            for _ in range(RESTARTS):
                await way.open()
                await asyncio.wait_for(sink.connected.wait(), PATIENCE_S)
                for number in range(FINALS_BETWEEN):
                    hub.publish(source.interim())
                    hub.publish(source.final())
                    finals.append(source.seq)
                    await asyncio.sleep(0)
                    if number == FINALS_BETWEEN // 2:
                        await way.cut()
            await way.open()
            hub.publish(source.ended())
            messages = await heard_until(heard, "session.ended")
        await way.cut()

    assert seqs_of_finals(messages) == [1, *finals, source.seq]
    sights = first_sights([message["seq"] for message in messages])
    assert sights == sorted(sights)


async def test_while_the_broker_is_away_interims_are_dropped_but_the_latest(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, broker.listening("medusa/v1/+/+/+") as heard:
        way, source = Way(broker), EventSource()
        async with publishing(settings_of(way.port, tmp_path)) as (hub, _, _):
            for make in (source.started, source.interim, source.interim, source.final, source.interim, source.interim):
                hub.publish(make())
            await way.open()
            messages = await heard.take(3)
            hub.publish(source.ended())
            last = payload(await heard.next())
        await way.cut()

    assert [payload(message)["seq"] for message in messages] == [1, 4, 6]
    assert last["seq"] == 7


async def test_what_a_stopped_server_could_not_publish_the_next_one_does_first(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, broker.listening("medusa/v1/+/+/+") as heard:
        old, new, away = EventSource("old"), EventSource("new"), Way(broker)
        async with publishing(settings_of(away.port, tmp_path)) as (hub, _, _):
            for event in (old.started(), old.final(), old.ended()):
                hub.publish(event)
        async with publishing(settings_of(broker.port, tmp_path)) as (hub, _, _):
            hub.publish(new.started())
            messages = await heard.take(4)

    assert [(payload(message)["session"], payload(message)["seq"]) for message in messages] == [
        ("old", 1),
        ("old", 2),
        ("old", 3),
        ("new", 1),
    ]


def a_server_that_talks(settings: MqttSettings) -> list[str]:
    """Publishes finals and interims without end; prints the number of each final once it was published."""
    code = f"""
        import asyncio
        from streaming.config import MqttSettings
        from streaming.hub import EventHub
        from streaming.outbox.outbox import open_outbox
        from streaming.sinks.mqtt import MqttSink
        from tests.fakes.events import EventSource

        async def main():
            settings = MqttSettings.model_validate({settings.model_dump()!r})
            with open_outbox(settings) as outbox:
                hub, source = EventHub(event_buffer=10, subscriber_queue=10, ended_sessions=1), EventSource("killed")
                sink = MqttSink(settings, outbox, settle_s=0.02)
                sink.attach(hub)
                running = asyncio.create_task(sink.run())
                hub.publish(source.started())
                while True:
                    hub.publish(source.interim())
                    hub.publish(source.final())
                    print(source.seq, flush=True)
                    await asyncio.sleep(0)

        asyncio.run(main())
    """
    return [sys.executable, "-c", textwrap.dedent(code)]


@pytest.mark.parametrize("broker_away", [False, True])
async def test_what_a_killed_server_published_arrives_and_its_sessions_end(tmp_path: Path, broker_away: bool) -> None:
    async with running_broker(tmp_path) as broker, broker.listening("medusa/v1/+/+/+") as heard:
        settings = settings_of(Way(broker).port if broker_away else broker.port, tmp_path)
        killed = await asyncio.create_subprocess_exec(*a_server_that_talks(settings), stdout=asyncio.subprocess.PIPE)
        assert killed.stdout is not None
        said = [int(await asyncio.wait_for(killed.stdout.readline(), PATIENCE_S)) for _ in range(200)]
        killed.send_signal(signal.SIGKILL)
        said += [int(line) for line in (await killed.stdout.read()).split(b"\n")[:-1]]
        await killed.wait()
        async with publishing(settings_of(broker.port, tmp_path)):
            messages = await heard_until(heard, "session.ended")

    *finals, error, ended = seqs_of_finals(messages)
    # One more may have been written, and the process killed before it could say so.
    assert finals in ([1, *said], [1, *said, said[-1] + 2])
    assert (messages[-2]["type"], messages[-2]["code"], messages[-2]["seq"]) == ("error", "server_restarted", error)
    assert (messages[-1]["reason"], messages[-1]["seq"]) == ("server_lost", ended)
    assert max(message["seq"] for message in messages[:-2]) < error
