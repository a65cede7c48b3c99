"""The demo: the real server, a real client at the pace of speech, and a second one that checks what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import AudioFormat
from streaming.client import EventsClient, ListenClient
from streaming.config import Settings
from streaming.conversation import Conversation
from streaming.demo_result import DemoResult
from streaming.errors import ServerError
from streaming.events import Event
from streaming.recognition.recognizer import Recognizer
from streaming.server import RunningServer, running_server
from streaming.sinks.mqtt import MqttSink

LANGUAGE: Final = "en"
_BROKER_PATIENCE_S: Final = 5.0


def demo_settings(
    settings: Settings, *, port: int = 0, mqtt_host: str | None = None, mqtt_port: int | None = None
) -> Settings:
    """Settings of the demo's own server: open to this machine alone, and both voices are scored.

    Args:
        settings: whatever else holds.
        port: to listen on; 0 for a free one.
        mqtt_host: a broker to publish to; None for the configured one.
        mqtt_port: its port. If neither is given, the settings say whether events are published.
    """
    server = {"host": "127.0.0.1", "port": port, "tokens_file": "", "tls_cert": "", "tls_key": ""}
    server["max_channels"] = max(2, settings.server.max_channels)
    mqtt: dict[str, Any] = {"enabled": True} if mqtt_host is not None or mqtt_port is not None else {}
    mqtt |= {} if mqtt_host is None else {"host": mqtt_host}
    mqtt |= {} if mqtt_port is None else {"port": mqtt_port}
    return settings.model_copy(
        update={
            "server": settings.server.model_copy(update=server),
            "mqtt": settings.mqtt.model_copy(update=mqtt),
            "roles": settings.roles.model_copy(update={"score_agents": True}),
        }
    )


async def run_demo(
    settings: Settings,
    conversation: Conversation,
    load: Callable[[], Recognizer],
    *,
    follow: Callable[[Event], None] = lambda _event: None,
    on_ready: Callable[[RunningServer], None] = lambda _server: None,
    paced: bool = True,
    **service_options: Any,
) -> DemoResult:
    """Plays the conversation through a server of its own.

    Args:
        settings: of the server; its port 0 takes a free one.
        conversation: what is played.
        load: makes the recogniser.
        follow: told of every event as it comes.
        on_ready: called when the server takes sessions.
        paced: at the pace of speech; else as fast as the server takes it.
        **service_options: for `streaming.service.LiveService`.

    Raises:
        ServerError: the server cannot listen, or events are to be published and the broker is missing.
        StreamingError: the recogniser cannot be loaded, or the connection is lost.
    """
    sinks = [MqttSink(settings.mqtt)] if settings.mqtt.enabled else []
    unpublished = settings.model_copy(update={"mqtt": settings.mqtt.model_copy(update={"enabled": False})})
    async with running_server(unpublished, load, sinks=sinks, **service_options) as server:
        await server.service.warm()
        for sink in sinks:
            await _reach(sink, f"{settings.mqtt.host}:{settings.mqtt.port}")
        on_ready(server)
        events, followed = await _converse(server, conversation, follow, paced=paced)
    unpublished_events = sum(sink.lost for sink in sinks)
    verbatim = settings.privacy.transcripts == "full"
    return DemoResult.of(conversation, events, followed, unpublished=unpublished_events, verbatim=verbatim)


async def _reach(sink: MqttSink, broker: str) -> None:
    try:
        await asyncio.wait_for(sink.connected.wait(), _BROKER_PATIENCE_S)
    except TimeoutError:
        raise ServerError(
            f"no MQTT broker answers at {broker}: start one (such as mosquitto), name another with --mqtt-host and "
            "--mqtt-port, or set [mqtt] enabled = false"
        ) from None


async def _converse(
    server: RunningServer, conversation: Conversation, follow: Callable[[Event], None], *, paced: bool
) -> tuple[list[Event], list[Event]]:
    """Plays the conversation: the events on its own socket, and those a subscriber saw."""
    audio = AudioFormat(Encoding.PCM16, conversation.rate_hz, len(conversation.samples))
    data = encode(conversation.samples.T.reshape(-1), audio.encoding)
    events: list[Event] = []
    async with ListenClient(server.url, audio, roles=conversation.roles, language=LANGUAGE) as client:
        subscriber = EventsClient(server.url, session=client.started.session, after=0)
        sending = asyncio.create_task(_send(client, data, paced=paced))
        subscribing = asyncio.create_task(_collect(subscriber))
        try:
            async for event in client:
                events.append(event)
                follow(event)
            await sending
            return events, await subscribing
        finally:
            sending.cancel()
            subscribing.cancel()
            await asyncio.gather(sending, subscribing, return_exceptions=True)


async def _send(client: ListenClient, data: bytes, *, paced: bool) -> None:
    await (client.send_paced(data) if paced else client.send(data))
    await client.finish()


async def _collect(subscriber: EventsClient) -> list[Event]:
    async with subscriber:
        return [event async for event in subscriber]
