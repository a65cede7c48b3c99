"""A voice assistant, as Home Assistant's is one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event

from streaming.server import RunningServer
from tests.fakes.servers import PATIENCE_S

RATE_HZ = 16_000
CHUNK_BYTES = 2048
"""1024 samples, as Wyoming's satellites send them."""


def where(server: RunningServer) -> tuple[str, int]:
    """Host and port for assistants."""
    if server.wyoming is None:
        raise ValueError("the server does not listen to assistants")
    return server.wyoming


@contextlib.asynccontextmanager
async def an_assistant(server: RunningServer) -> AsyncIterator[AsyncTcpClient]:
    """Wyoming's own client, connected for as long as the block runs."""
    async with asyncio.timeout(PATIENCE_S), AsyncTcpClient(*where(server)) as client:
        yield client


async def begin(
    client: AsyncTcpClient, audio: bytes = b"", *, language: str | None = None, rate_hz: int = RATE_HZ
) -> None:
    """Sends an utterance, less its end."""
    await client.write_event(Transcribe(language=language).event())
    await client.write_event(AudioStart(rate_hz, 2, 1).event())
    for first in range(0, len(audio), CHUNK_BYTES):
        await client.write_event(AudioChunk(rate_hz, 2, 1, audio[first : first + CHUNK_BYTES]).event())


async def say(
    client: AsyncTcpClient, audio: bytes, *, language: str | None = None, rate_hz: int = RATE_HZ
) -> list[Event]:
    """Sends a whole utterance, and reads all that is told of it."""
    await begin(client, audio, language=language, rate_hz=rate_hz)
    await client.write_event(AudioStop().event())
    return await until(client, "transcript-stop")


async def until(client: AsyncTcpClient, kind: str) -> list[Event]:
    """All events up to the first of a kind, or to the end of the connection."""
    told: list[Event] = []
    async with asyncio.timeout(PATIENCE_S):
        while (event := await client.read_event()) is not None:
            told.append(event)
            if event.type == kind:
                break
    return told


def transcript(told: list[Event]) -> Transcript:
    """The one among the events."""
    (event,) = [event for event in told if Transcript.is_type(event.type)]
    return Transcript.from_event(event)
