"""Events to an MQTT broker, which may come and go.

Topics are `PREFIX/SESSION/CHANNEL/TYPE`; events of the whole session have `session` in place of the channel number.
`PREFIX/status` is retained and says `{"status": "online"}`, or `offline` after a clean stop or, by last will, a lost
connection. Interims travel with QoS 0, all else with QoS 1: after a reconnection an event may come twice, with the
same `seq`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from typing import Final

import aiomqtt

from streaming.config import MqttSettings
from streaming.errors import ServerError
from streaming.events import Event
from streaming.hub import EventHub
from streaming.subscription import Overflow, Subscription, is_interim

_LOG: Final = logging.getLogger(__name__)
SESSION_LEVEL: Final = "session"
"""Topic level of events that no single channel caused."""
_ONLINE: Final = json.dumps({"status": "online"})
_OFFLINE: Final = json.dumps({"status": "offline"})
_IN_FLIGHT: Final = 16
"""Events published before the first is acknowledged; under the 20 that paho allows."""
_FIRST_RETRY_S: Final = 0.5
_LAST_RETRY_S: Final = 30.0
_GOODBYE_S: Final = 2.0
"""How long the last status may take."""


def topic_of(prefix: str, event: Event) -> str:
    """Where an event is published."""
    channel = SESSION_LEVEL if event.channel is None else str(event.channel)
    return f"{prefix}/{event.session}/{channel}/{event.type}"


def qos_of(event: Event) -> int:
    """0 where a newer event will say it again, 1 for all else."""
    return 0 if is_interim(event) else 1


class MqttSink:
    """Publishes all events, keeps a bounded number while the broker is away, and reconnects with growing pauses.

    When the queue is full interims give way first, then the oldest event; either leaves a notice in the sequence (see
    `streaming.subscription`), and the log says how many other events were lost at the 1st, 10th, 100th, ...
    """

    def __init__(
        self, settings: MqttSettings, *, first_retry_s: float = _FIRST_RETRY_S, last_retry_s: float = _LAST_RETRY_S
    ) -> None:
        """Connects to nothing yet.

        Args:
            settings: the broker.
            first_retry_s: pause before the first reconnection; each further one is twice as long.
            last_retry_s: longest pause.
        """
        self._settings = settings
        self._broker = f"{settings.host}:{settings.port}"
        self._first_retry_s = first_retry_s
        self._last_retry_s = last_retry_s
        self._events: Subscription | None = None
        self._unacknowledged: list[Event] = []
        self.lost = 0
        """Events, interims apart, that were given up because the broker was away too long."""
        self.connected = asyncio.Event()
        """Set while the broker is reachable and knows us as online."""

    @property
    def status_topic(self) -> str:
        """Where `online` and `offline` are retained."""
        return f"{self._settings.prefix}/status"

    def attach(self, hub: EventHub) -> None:
        """Subscribes to all sessions."""
        self._events = hub.subscribe(
            capacity=self._settings.queue, overflow=Overflow.DROP_OLDEST, on_drop=self._count_lost
        )

    def _count_lost(self, event: Event) -> None:
        if is_interim(event):
            return
        self.lost += 1
        if str(self.lost).strip("0") == "1":
            _LOG.error(
                "MQTT broker %s does not take events fast enough: %d lost so far, beside interims; "
                "raise [mqtt] queue or look after the broker",
                self._broker,
                self.lost,
            )

    async def run(self) -> None:
        """Publishes until the hub closes and all is published, or until cancelled.

        Raises:
            ServerError: `attach` was not called.
        """
        if self._events is None:
            raise ServerError("the MQTT sink was not attached to a hub: call attach() before run()")
        retry_s = self._first_retry_s
        with self._events as events:
            while True:
                try:
                    async with self._client() as client:
                        retry_s = self._first_retry_s
                        await self._serve(client, events)
                        return
                except aiomqtt.MqttError as error:
                    _LOG.warning(
                        "MQTT broker %s cannot be reached (%s): up to %d events wait; next try in %g s",
                        self._broker,
                        error,
                        self._settings.queue,
                        retry_s,
                    )
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, self._last_retry_s)

    def _client(self) -> aiomqtt.Client:
        settings = self._settings
        client = aiomqtt.Client(
            settings.host,
            settings.port,
            username=settings.username or None,
            password=settings.password or None,
            tls_context=ssl.create_default_context() if settings.tls else None,
            will=aiomqtt.Will(self.status_topic, _OFFLINE, qos=1, retain=True),
        )
        client.pending_calls_threshold = _IN_FLIGHT
        return client

    async def _serve(self, client: aiomqtt.Client, events: Subscription) -> None:
        await client.publish(self.status_topic, _ONLINE, qos=1, retain=True)
        _LOG.info("publishing events to MQTT broker %s under %s", self._broker, self._settings.prefix)
        self.connected.set()
        watching = asyncio.create_task(_watch(client))
        forwarding = asyncio.create_task(self._forward(client, events))
        try:
            done, _ = await asyncio.wait({watching, forwarding}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.connected.clear()
            for task in (watching, forwarding):
                task.cancel()
            await asyncio.gather(watching, forwarding, return_exceptions=True)
            with contextlib.suppress(aiomqtt.MqttError):  # a broken connection leaves the last will to say it
                await client.publish(self.status_topic, _OFFLINE, qos=1, retain=True, timeout=_GOODBYE_S)

    async def _forward(self, client: aiomqtt.Client, events: Subscription) -> None:
        while self._unacknowledged or await events.ready():
            if not self._unacknowledged:
                self._unacknowledged = events.take(_IN_FLIGHT)
            sent = self._unacknowledged
            outcomes = await asyncio.gather(*(self._publish(client, event) for event in sent), return_exceptions=True)
            failures = {position: outcome for position, outcome in enumerate(outcomes) if outcome is not None}
            self._unacknowledged = [sent[position] for position in failures]
            for failure in failures.values():
                raise failure

    async def _publish(self, client: aiomqtt.Client, event: Event) -> None:
        await client.publish(topic_of(self._settings.prefix, event), event.to_json(), qos=qos_of(event))


async def _watch(client: aiomqtt.Client) -> None:
    """Raises `MqttError` when the connection is lost, also while there is nothing to publish."""
    async for _ in client.messages:
        pass
