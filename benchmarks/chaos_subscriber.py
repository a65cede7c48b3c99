"""A subscriber that misses nothing: one persistent session at the broker, however often the broker goes away."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiomqtt

from benchmarks.chaos_accounting import Heard

_LOG: Final = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False  # a broker that goes away is what this is about
_NAME: Final = "medusa-bench-chaos"
_AGAIN_S: Final = 0.1
_KEEPALIVE_S: Final = 5
_CONNECT_PATIENCE_S: Final = 5.0


def heard_of(payload: bytes) -> Heard | None:
    """What is counted of an event; None for an interim, and for what is no event.

    Args:
        payload: of a message.
    """
    try:
        values: dict[str, Any] = json.loads(payload)
        session, seq, kind = str(values["session"]), int(values["seq"]), str(values["type"])
    except (ValueError, KeyError, TypeError):
        return None
    if values.get("final") is False:
        return None
    return Heard(
        session=session,
        seq=seq,
        type=kind,
        **{name: values.get(name) for name in ("channel", "segment", "start_s", "end_s", "code", "reason")},
    )


class Subscriber:
    """Everything that arrives, in its order.

    Args:
        port: of the broker, on loopback.
        topics: a filter.
    """

    def __init__(self, port: int, topics: str) -> None:
        self._port = port
        self._topics = topics
        self.heard: Final[list[Heard]] = []
        """In order of arrival, repetitions included; interims are left out."""
        self.connected: Final = asyncio.Event()
        """Set while the broker knows that this subscriber is there."""
        self.news: Final = asyncio.Event()
        """Set by everything that is heard; whoever waits for more clears it."""

    async def run(self) -> None:
        """Listens until cancelled."""
        while True:
            try:
                async with self._client() as client:
                    await client.subscribe(self._topics, qos=1)
                    self.connected.set()
                    async for _ in client.messages:
                        pass  # taken down already
            except aiomqtt.MqttError:
                pass  # the broker is away: that is what this is about
            finally:
                self.connected.clear()
            await asyncio.sleep(_AGAIN_S)

    def _client(self) -> aiomqtt.Client:
        return aiomqtt.Client(
            "127.0.0.1",
            self._port,
            identifier=_NAME,
            clean_session=False,
            keepalive=_KEEPALIVE_S,
            timeout=_CONNECT_PATIENCE_S,
            logger=_LOG,
            queue_type=_taking_down(self._take),
        )

    def _take(self, message: aiomqtt.Message) -> None:
        payload = message.payload
        event = heard_of(payload) if isinstance(payload, bytes) else None
        if event is not None:
            self.heard.append(event)
            self.news.set()


def _taking_down(take: Callable[[aiomqtt.Message], None]) -> type[asyncio.Queue[aiomqtt.Message]]:
    """A queue that tells of every message as it comes.

    One that waits in it when the connection breaks is acknowledged already, and would be lost.
    """

    class Told(asyncio.Queue[aiomqtt.Message]):
        def put_nowait(self, item: aiomqtt.Message) -> None:
            take(item)
            super().put_nowait(item)

    return Told


@asynccontextmanager
async def subscribed(port: int, topics: str) -> AsyncIterator[Subscriber]:
    """A subscriber for as long as the block runs; entered once the broker knows it.

    Raises:
        TimeoutError: the broker does not answer.
    """
    subscriber = Subscriber(port, topics)
    listening = asyncio.create_task(subscriber.run())
    try:
        async with asyncio.timeout(_CONNECT_PATIENCE_S):
            await subscriber.connected.wait()
        yield subscriber
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
