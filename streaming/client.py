"""A client of a MEDUSA live server that sends audio, and goes on where it was when its connection breaks.

::

    async with ListenClient("ws://127.0.0.1:8765", AudioFormat(Encoding.PCM16, 16_000, 1)) as client:
        await client.send(samples)
        await client.finish()
        async for event in client:
            print(event.to_json())
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Self

from streaming.audio.sources import AudioFormat
from streaming.connection import RECONNECT_S
from streaming.events import Event, SessionStarted
from streaming.follower import EventsClient
from streaming.line import Line, LineSession
from streaming.outage import Pauses
from streaming.outgoing import CLOSE, FLUSH

__all__ = ["EventsClient", "ListenClient"]

CHUNK_S: Final = 0.1
"""Audio in one message when it is sent at the pace of speech."""


class ListenClient(Line, AsyncIterator[Event]):
    """Sends audio and yields the session's events; used in an `async with` statement.

    Entering connects and waits for `session.started`, which is also the first event yielded. Iteration ends when the
    server has ended the session in order. Take the events while audio is sent: at most `WAITING_EVENTS` of them wait.

    A connection that breaks is tried again, with growing pauses, for `reconnect_s` seconds without a connection. The
    session then goes on without a gap. Where the server does not know it any more, a new one begins, with an event
    `session.started` of its own, and is sent all audio that no final had answered, so that something said may be
    answered twice but not never; `offset_s` says where on the stream its clock begins. A server that is stopped
    ends the iteration, after the finals of all that it heard; only where audio was left unheard, a server in its place
    is waited for. What fails for good is raised from sending and from iteration alike.

    Raises:
        ConnectionFailedError: nobody answers, or the connection is lost for good.
        AuthorisationError: a token is needed, or this one does not do.
        CapacityError: the server has no place free; later it may.
        AudioFormatError: the server does not take this format.
        AudioLostError: audio is needed again that is too old to be kept.
        ProtocolError: the server does not take something else.
    """

    def __init__(
        self,
        url: str,
        audio: AudioFormat,
        *,
        roles: tuple[str, ...] = (),
        language: str | None = None,
        interim: bool = True,
        token: str | None = None,
        reconnect_s: float = RECONNECT_S,
        pauses: Pauses | None = None,
    ) -> None:
        """Connects to nothing yet.

        Args:
            url: such as `ws://127.0.0.1:8765`; the path may be left out.
            audio: what will be sent.
            roles: one for each channel; `customer` for those left out.
            language: ISO 639-1 code; None to detect it.
            interim: whether interim events are wanted.
            token: sent in the `Authorization` header.
            reconnect_s: how long a broken connection is tried again; 0 to raise at once.
            pauses: between attempts.
        """
        query = {
            "encoding": audio.encoding.value,
            "rate_hz": str(audio.rate_hz),
            "channels": str(audio.channels),
            "interim": "true" if interim else "false",
        }
        if roles:
            query["roles"] = ",".join(roles)
        if language:
            query["language"] = language
        super().__init__(url, audio, query, token, reconnect_s=reconnect_s, pauses=pauses or Pauses())
        self._shown: LineSession | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._shown = self._session
        return self

    @property
    def started(self) -> SessionStarted:
        """What the server said about the session whose events are being yielded.

        Raises:
            ConnectionFailedError: the client is not connected.
        """
        return (self._shown or self._session).started

    @property
    def offset_s(self) -> float:
        """Where in all that was sent the clock of that session begins, in seconds.

        Raises:
            ConnectionFailedError: the client is not connected.
        """
        return (self._shown or self._session).begins / self._audio.bytes_per_s

    async def __anext__(self) -> Event:
        self._require_entered()
        event, self._shown = await self._inbox.get()
        return event

    async def send(self, data: bytes) -> None:
        """Sends audio, cut to what the server takes in one message; returns once all of it was handed to the socket."""
        size = self._message_bytes
        for start in range(0, len(data), size):
            self._require_open()
            await self._until_handed(self._outgoing.push(data[start : start + size]))

    async def send_paced(
        self,
        data: bytes,
        *,
        chunk_s: float = CHUNK_S,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Sends audio as fast as it would be spoken, without drift.

        Args:
            data: audio bytes.
            chunk_s: audio in one message.
            clock: seconds; the event loop's by default.
            sleep: waits.
        """
        now = clock or asyncio.get_running_loop().time
        size = max(1, round(chunk_s * self._audio.rate_hz)) * self._frame_bytes
        start_s = now()
        for start in range(0, len(data), size):
            spoken_s = (start + size) / self._audio.bytes_per_s
            await sleep(max(0.0, start_s + spoken_s - now()))
            await self.send(data[start : start + size])

    async def flush(self) -> None:
        """Asks for finals of what was said so far."""
        self._require_open()
        await self._until_handed(self._outgoing.mark(FLUSH))

    async def finish(self) -> None:
        """Says that no audio will follow; the remaining events come, then iteration ends."""
        self._require_open()
        await self._until_handed(self._outgoing.mark(CLOSE))

    async def keep_alive(self) -> None:
        """Says that audio will still follow."""
        self._require_open()
        self._wants_keepalive = True
        self._work.set()
        await self._until(lambda: not self._wants_keepalive)
