"""The MQTT sink, against a real Mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streaming.config import MqttSettings
from streaming.errors import ServerError
from streaming.hub import EventHub
from streaming.sinks.mqtt import MqttSink
from tests.fakes.broker import PATIENCE_S, Broker, Way, payload, running_broker
from tests.fakes.events import EventSource
from tests.fakes.logs import log_line


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with running_broker(tmp_path) as broker:
        yield broker


def new_hub() -> EventHub:
    return EventHub(event_buffer=100, subscriber_queue=100, ended_sessions=2)


def new_sink(port: int, **settings: object) -> MqttSink:
    chosen = MqttSettings.model_validate({"enabled": True, "port": port, **settings})
    return MqttSink(chosen, first_retry_s=0.02, last_retry_s=0.05)


@contextlib.asynccontextmanager
async def running(sink: MqttSink, hub: EventHub) -> AsyncIterator[asyncio.Task[None]]:
    """Runs a sink in the background; leaving the block cancels it if it still runs."""
    sink.attach(hub)
    task = asyncio.create_task(sink.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_connected(sink: MqttSink) -> None:
    await asyncio.wait_for(sink.connected.wait(), PATIENCE_S)


async def test_events_arrive_in_order_as_they_are_on_the_socket(broker: Broker) -> None:
    hub, source, sink = new_hub(), EventSource("abc"), new_sink(broker.port)
    events = [source.started(), source.speech_started(), *(source.final() for _ in range(50)), source.ended()]

    async with broker.listening("medusa/v1/abc/#") as heard, running(sink, hub):
        for event in events:
            hub.publish(event)
        messages = await heard.take(len(events))

    assert [message.payload for message in messages] == [event.to_json().encode() for event in events]
    assert str(messages[0].topic) == "medusa/v1/abc/session/session.started"
    assert str(messages[2].topic) == "medusa/v1/abc/0/transcript"
    assert not any(message.retain for message in messages)


async def test_status_is_online_while_running_and_offline_after_a_clean_stop(broker: Broker) -> None:
    hub, sink = new_hub(), new_sink(broker.port)
    async with running(sink, hub) as task:
        await until_connected(sink)
        async with broker.listening(sink.status_topic) as heard:
            online = await heard.next()
            hub.close()
            await asyncio.wait_for(task, PATIENCE_S)
            offline = await heard.next()

    assert (payload(online), online.retain) == ({"status": "online"}, True)
    assert payload(offline) == {"status": "offline"}
    async with broker.listening(sink.status_topic) as heard:
        assert payload(await heard.next()) == {"status": "offline"}


async def test_status_is_offline_when_the_sink_is_cancelled(broker: Broker) -> None:
    hub, sink = new_hub(), new_sink(broker.port)
    async with running(sink, hub):
        await until_connected(sink)

    async with broker.listening(sink.status_topic) as heard:
        assert payload(await heard.next()) == {"status": "offline"}


async def test_everything_queued_is_published_before_the_sink_ends(broker: Broker) -> None:
    hub, source, sink = new_hub(), EventSource(), new_sink(broker.port)

    async with broker.listening("medusa/v1/s1/#") as heard, running(sink, hub) as task:
        for _ in range(100):
            hub.publish(source.final())
        hub.close()
        await asyncio.wait_for(task, PATIENCE_S)
        messages = await heard.take(100)

    assert [payload(message)["seq"] for message in messages] == list(range(1, 101))


async def test_a_missing_broker_is_warned_of_and_its_events_wait(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    way = Way(broker)
    hub, source, sink = new_hub(), EventSource(), new_sink(way.port)

    warning = log_line("streaming.sinks.mqtt", "cannot be reached")
    async with broker.listening("medusa/v1/s1/#") as heard, running(sink, hub):
        with warning as warned:
            await asyncio.wait_for(warned.wait(), PATIENCE_S)
        for event in (source.started(), source.final()):
            hub.publish(event)
        await way.open()
        messages = await heard.take(2)
        await way.cut()

    assert [payload(message)["type"] for message in messages] == ["session.started", "transcript"]
    assert f"MQTT broker 127.0.0.1:{way.port} cannot be reached" in caplog.text
    assert "up to 1000 events wait" in caplog.text


async def test_a_connection_that_breaks_is_made_again_and_nothing_is_lost(broker: Broker) -> None:
    way = Way(broker)
    hub, source, sink = new_hub(), EventSource(), new_sink(way.port)
    await way.open()

    async with broker.listening("medusa/v1/s1/#") as heard, running(sink, hub):
        await until_connected(sink)
        await way.cut()
        hub.publish(source.final())
        await way.open()
        hub.publish(source.final())
        seen = {payload(await heard.next())["seq"]}
        while seen != {1, 2}:
            seen.add(payload(await heard.next())["seq"])
    await way.cut()


async def test_a_broker_away_too_long_costs_interims_first_then_the_oldest_and_the_log_counts(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    hub, source, sink = new_hub(), EventSource(), new_sink(broker.port, queue=10)

    async with broker.listening("medusa/v1/s1/#") as heard, running(sink, hub):
        for _ in range(5):
            hub.publish(source.interim())
        for _ in range(12):
            hub.publish(source.final())
        messages = await heard.take(11)

    first, *rest = [payload(message) for message in messages]
    assert (first["type"], first["code"], first["seq"]) == ("error", "events_lost", 7)
    assert [event["seq"] for event in rest] == list(range(8, 18))
    assert sink.lost == 2
    assert "1 lost so far" in caplog.text
    assert "2 lost so far" not in caplog.text


async def test_the_last_will_says_offline_when_the_connection_is_cut(broker: Broker) -> None:
    sink = new_sink(broker.port)
    async with broker.listening(sink.status_topic) as heard:
        client = sink._client()
        await client.__aenter__()
        client._client.socket().close()  # type: ignore[union-attr]
        message = await heard.next()

    assert payload(message) == {"status": "offline"}


async def test_a_sink_that_was_not_attached_says_so() -> None:
    with pytest.raises(ServerError, match="attach"):
        await new_sink(1883).run()
