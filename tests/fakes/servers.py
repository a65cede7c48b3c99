"""A real server on a free loopback port, with a recogniser that tests control."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.client import EventsClient, ListenClient
from streaming.config import Disclosure, Settings
from streaming.events import Event
from streaming.recognition.recognizer import Recognizer
from streaming.server import RunningServer, running_server
from streaming.sinks.base import Sink
from tests.fakes.elsewhere import elsewhere
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.vad import LoudnessVad

PATIENCE_S = 10.0
SPEECH = AudioFormat(Encoding.PCM16, 16_000, 1)


@contextlib.asynccontextmanager
async def a_server(
    recognizer: Recognizer | None = None,
    *,
    load: Callable[[], Recognizer] | None = None,
    vad: Callable[..., Any] = lambda _settings: LoudnessVad(),
    sinks: Sequence[Sink] = (),
    warm: bool = True,
    mqtt: dict[str, Any] | None = None,
    clock: Callable[[], float] = time.monotonic,
    transcripts: Disclosure = "full",
    audiohook: dict[str, Any] | None = None,
    wyoming: dict[str, Any] | None = None,
    home_assistant: dict[str, Any] | None = None,
    **server: Any,
) -> AsyncIterator[RunningServer]:
    """A server for as long as the block runs; keywords go to `[server]`. It keeps MQTT events in memory by default."""
    sections = {
        "server": {"port": 0, **server},
        "mqtt": {"outbox_mib": 0} | (mqtt or {}),
        "privacy": {"transcripts": transcripts},
        "audiohook": audiohook or {},
        "wyoming": wyoming or {},
        "home_assistant": home_assistant or {},
    }
    settings = Settings.model_validate(sections)
    chosen = load or (lambda: recognizer or FakeRecognizer())
    async with running_server(settings, chosen, sinks=sinks, vad=vad, clock=clock) as running:
        if warm:
            await asyncio.wait_for(running.service.warm(), PATIENCE_S)
        yield running


async def all_events(client: ListenClient | EventsClient) -> list[Event]:
    """Everything until the server closes in order."""
    async with asyncio.timeout(PATIENCE_S):
        return [event async for event in client]


async def until(client: ListenClient | EventsClient, type_: str) -> list[Event]:
    """Everything up to the first event of a type."""
    seen: list[Event] = []
    async with asyncio.timeout(PATIENCE_S):
        async for event in client:
            seen.append(event)
            if event.type == type_:
                return seen
    raise EOFError(f"no {type_} among {[event.type for event in seen]}")


async def converse(server: RunningServer, data: bytes, audio: AudioFormat = SPEECH, **options: Any) -> list[Event]:
    """A whole session: sends everything, finishes, and gives all events."""
    async with ListenClient(server.url, audio, **options) as client:
        await client.send(data)
        await client.finish()
        return await all_events(client)


@contextlib.contextmanager
def a_server_elsewhere(recognizer: Recognizer | None = None, **server: Any) -> Iterator[RunningServer]:
    """A server on a thread of its own, for tests of programs that run their own event loop."""
    with elsewhere(a_server(recognizer, **server)) as running:
        yield running
