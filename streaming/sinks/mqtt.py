"""Events to an MQTT broker, which may come and go.

Topics are `PREFIX/SESSION/CHANNEL/TYPE`; events of the whole session have `session` in place of the channel number.
`PREFIX/status` is retained and says `{"status": "online"}`, or `offline` after a clean stop or, by last will, a lost
connection. Interims travel with QoS 0, all else with QoS 1 and from an outbox: it comes once at least, in order, after
the broker was away and after the server was. After a reconnection an event may come twice, with the same `seq`.

On the same connection Home Assistant is told of its devices, where there are any (`streaming/sinks/home_assistant.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import Sequence
from typing import Final

import aiomqtt

from streaming.config import MqttSettings
from streaming.errors import ServerError
from streaming.hub import EventHub
from streaming.outbox.outbox import EventOutbox
from streaming.outbox.rows import Entry
from streaming.outbox.topics import status_topic
from streaming.sinks.home_assistant import MqttMessage
from streaming.sinks.home_postings import HomePostings

_LOG: Final = logging.getLogger(__name__)
_ONLINE: Final = json.dumps({"status": "online"})
_OFFLINE: Final = json.dumps({"status": "offline"})
_IN_FLIGHT: Final = 16
"""Events published before the first is acknowledged; under the 20 that paho allows."""
_INCOMING: Final = 1024
"""Messages from the broker that may wait to be read; more are thrown away."""
_FIRST_RETRY_S: Final = 0.5
_LAST_RETRY_S: Final = 30.0
_SETTLE_S: Final = 1.0
"""Time between two looks after the outbox's file: what a power cut may cost."""
_GOODBYE_S: Final = 2.0
"""How long the last status may take."""


class MqttSink:
    """Publishes all events from an outbox, and reconnects with growing pauses."""

    def __init__(
        self,
        settings: MqttSettings,
        outbox: EventOutbox | None = None,
        *,
        home: HomePostings | None = None,
        first_retry_s: float = _FIRST_RETRY_S,
        last_retry_s: float = _LAST_RETRY_S,
        settle_s: float = _SETTLE_S,
    ) -> None:
        """Connects to nothing yet.

        Args:
            settings: the broker.
            outbox: where events wait; it stays its owner's to close. None for one in memory.
            home: what Home Assistant is told; None for nothing.
            first_retry_s: pause before the first reconnection; each further one is twice as long.
            last_retry_s: longest pause.
            settle_s: time between two looks after the outbox's file.
        """
        self._settings = settings
        self._outbox = outbox or EventOutbox(settings)
        self._home = home
        self._broker = f"{settings.host}:{settings.port}"
        self._first_retry_s = first_retry_s
        self._last_retry_s = last_retry_s
        self._settle_s = settle_s
        self._attached = False
        self.connected = asyncio.Event()
        """Set while the broker is reachable and knows us as online."""

    @property
    def status_topic(self) -> str:
        """Where `online` and `offline` are retained."""
        return status_topic(self._settings.prefix)

    @property
    def lost(self) -> int:
        """Events, interims apart, that were given up because the broker was away too long."""
        return self._outbox.lost

    def attach(self, hub: EventHub) -> None:
        """Has the outbox record the events of all sessions."""
        hub.journal(self._outbox)
        if self._home is not None:
            hub.journal(self._home)
        self._attached = True

    async def run(self) -> None:
        """Publishes until the hub closes and all is published, or until cancelled.

        Raises:
            ServerError: `attach` was not called.
        """
        if not self._attached:
            raise ServerError("the MQTT sink was not attached to a hub: call attach() before run()")
        settling = asyncio.create_task(self._settle())
        try:
            await self._publish_all()
        finally:
            settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(self._settle_s)
            self._outbox.settle()
            await asyncio.to_thread(self._outbox.checkpoint)

    async def _publish_all(self) -> None:
        retry_s = self._first_retry_s
        while True:
            try:
                async with self._client() as client:
                    retry_s = self._first_retry_s
                    await self._serve(client)
                    return
            except aiomqtt.MqttError as error:
                _LOG.warning(
                    "MQTT broker %s cannot be reached (%s): %s; next try in %g s",
                    self._broker,
                    error,
                    self._outbox.place,
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
            max_queued_incoming_messages=_INCOMING,
        )
        client.pending_calls_threshold = _IN_FLIGHT
        return client

    async def _serve(self, client: aiomqtt.Client) -> None:
        watching = asyncio.create_task(self._watch(client))
        forwarding = asyncio.create_task(self._forward(client))
        tasks = {watching, forwarding}
        if self._home is not None:
            tasks.add(asyncio.create_task(self._tell_home(client, self._home)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.connected.clear()
            if self._home is not None:
                self._home.disconnected()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(aiomqtt.MqttError):  # a broken connection leaves the last will to say it
                await client.publish(self.status_topic, _OFFLINE, qos=1, retain=True, timeout=_GOODBYE_S)

    async def _forward(self, client: aiomqtt.Client) -> None:
        await client.publish(self.status_topic, _ONLINE, qos=1, retain=True)
        _LOG.info("publishing events to MQTT broker %s under %s", self._broker, self._settings.prefix)
        self.connected.set()
        while entries := await self._outbox.next(_IN_FLIGHT):
            taken: set[int] = set()
            try:
                outcomes = await asyncio.gather(
                    *(_publish(client, entry, taken) for entry in entries), return_exceptions=True
                )
            finally:
                self._acknowledge(entries, taken)
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome
        if self._home is not None:
            await _publish_messages(client, self._home.take())

    async def _tell_home(self, client: aiomqtt.Client, home: HomePostings) -> None:
        for topic in home.connected():
            await client.subscribe(topic, qos=1)
        while messages := await home.next():
            await _publish_messages(client, messages)

    async def _watch(self, client: aiomqtt.Client) -> None:
        """Raises `MqttError` when the connection is lost, also while there is nothing to publish."""
        async for message in client.messages:
            if self._home is not None and isinstance(message.payload, bytes):
                self._home.heard(str(message.topic), message.payload, retained=bool(message.retain))

    def _acknowledge(self, entries: list[Entry], taken: set[int]) -> None:
        """Lets go of the entries before the first that was not taken: what follows that comes again, in order."""
        position = None
        for entry in entries:
            if not entry.interim and entry.position not in taken:
                break
            position = entry.position
        if position is not None:
            self._outbox.acknowledge(position)


async def _publish(client: aiomqtt.Client, entry: Entry, taken: set[int]) -> None:
    await client.publish(entry.topic, entry.payload, qos=0 if entry.interim else 1)
    taken.add(entry.position)


async def _publish_messages(client: aiomqtt.Client, messages: Sequence[MqttMessage]) -> None:
    for message in messages:
        await client.publish(message.topic, message.payload, qos=1, retain=message.retain)
