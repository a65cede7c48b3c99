"""How the clients of `medusa bench live` reach a server: by its own protocol, or as a provider of telephony does.

Telephony is mu-law at 8 kHz. Its events come by `/v1/events`, as they do to whoever plugs such a provider in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Final, Protocol, Self

import numpy as np
import soxr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.live_messages import MESSAGES, Provider
from benchmarks.live_records import ClientsJob
from models.windows import SAMPLE_RATE_HZ
from streaming.audio.codecs import Encoding, decode, encode
from streaming.audio.sources import AudioFormat
from streaming.client import EventsClient, ListenClient
from streaming.errors import ConnectionFailedError, UnknownSessionError
from streaming.events import Event

NATIVE: Final = "native"
PROTOCOLS: Final = (NATIVE, *MESSAGES)
SPEECH: Final = AudioFormat(Encoding.PCM16, SAMPLE_RATE_HZ, 1)
TELEPHONE: Final = AudioFormat(Encoding.MULAW, 8000, 1)
_ASK_EVERY_S: Final = 0.05
"""A session is known a moment after its provider has begun it."""
_ASK_FOR_S: Final = 10.0


def as_telephone(data: bytes) -> bytes:
    """Mono PCM16 at 16 kHz, as `TELEPHONE` carries it."""
    heard = soxr.resample(decode(data, SPEECH.encoding), SPEECH.rate_hz, TELEPHONE.rate_hz)
    return encode(np.asarray(heard, dtype=np.float32), TELEPHONE.encoding)


class Line(Protocol):
    """One session's connection, entered with `async with`; iterate it for its events."""

    chunk_s: float
    """Audio in one message."""

    async def __aenter__(self) -> Self:
        """Connects."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnects."""
        ...

    async def send(self, data: bytes) -> None:
        """Sends one message of audio."""
        ...

    async def finish(self) -> None:
        """Says that no audio will follow."""
        ...

    def __aiter__(self) -> AsyncIterator[Event]:
        """The session's events, to its end."""
        ...


class ListenLine(ListenClient):
    """Our own client at `/v1/listen`."""

    def __init__(self, url: str, audio: AudioFormat, language: str | None, chunk_s: float) -> None:
        super().__init__(url, audio, language=language)
        self.chunk_s = chunk_s


class ProviderLine:
    """A provider's stream, and a subscriber to the events of its session."""

    def __init__(self, url: str, provider: Provider) -> None:
        """Connects to nothing yet.

        Args:
            url: of the server, without a path.
            provider: of the messages.
        """
        self.chunk_s = provider.chunk_s
        self._url: Final = url
        self._provider: Final = provider
        self._socket: ClientConnection | None = None
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._socket = await connect(f"{self._url}{self._provider.path}", compression=None)
        for message in self._provider.begin():
            await self._socket.send(message)
        if self._provider.is_answered:
            with suppress(ConnectionClosed):
                self._provider.told(await self._socket.recv())
        self._listening = asyncio.create_task(self._listen(self._socket))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            await self._socket.close()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def send(self, data: bytes) -> None:
        """See `Line.send`."""
        await self._say(self._provider.audio(data))

    async def finish(self) -> None:
        """See `Line.finish`."""
        await self._say(self._provider.end())

    async def __aiter__(self) -> AsyncIterator[Event]:
        deadline_s = asyncio.get_running_loop().time() + _ASK_FOR_S
        while True:
            try:
                async with EventsClient(self._url, session=self._provider.session, after=0) as events:
                    async for event in events:
                        yield event
            except UnknownSessionError:
                if asyncio.get_running_loop().time() > deadline_s:
                    raise
                await asyncio.sleep(_ASK_EVERY_S)
            else:
                return

    async def _say(self, message: str | bytes) -> None:
        if self._socket is None:
            raise ConnectionFailedError("the provider's stream is not connected")
        try:
            await self._socket.send(message)
        except ConnectionClosed as closed:
            raise ConnectionFailedError(f"the provider's stream was closed: {closed}") from None

    async def _listen(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                self._provider.told(await socket.recv())


def line_of(job: ClientsJob) -> Line:
    """The line that a job asks for."""
    audio = TELEPHONE if job.telephone else SPEECH
    if job.protocol == NATIVE:
        return ListenLine(job.url, audio, job.language, job.chunk_s)
    return ProviderLine(job.url, MESSAGES[job.protocol](job.language))


def audio_of(job: ClientsJob, data: bytes) -> tuple[bytes, AudioFormat]:
    """Mono PCM16 at 16 kHz as the job's line carries it."""
    return (as_telephone(data), TELEPHONE) if job.telephone else (data, SPEECH)
