"""Clients of a MEDUSA live server: one that sends audio, one that only follows events.

::

    async with ListenClient("ws://127.0.0.1:8765", AudioFormat(Encoding.PCM16, 16_000, 1)) as client:
        await client.send(samples)
        await client.finish()
        async for event in client:
            print(event.to_json())
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from types import MappingProxyType, TracebackType
from typing import Final, Self
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from streaming.audio.sources import AudioFormat
from streaming.auth import is_loopback
from streaming.errors import (
    AudioFormatError,
    AuthorisationError,
    CapacityError,
    ConnectionFailedError,
    ProtocolError,
    SlowConsumerError,
    StreamingError,
    TooManyAttemptsError,
    UnknownSessionError,
)
from streaming.events import ErrorEvent, Event, ResumeInfo, SessionStarted, parse_event

LISTEN_PATH: Final = "/v1/listen"
EVENTS_PATH: Final = "/v1/events"
CHUNK_S: Final = 0.1
"""Audio in one message when it is sent at the pace of speech."""
_OPEN_TIMEOUT_S: Final = 10.0
_ORDERLY: Final = (1000, 1001)
_TOO_LARGE: Final = 1009
_CROWDED: Final = 503
_ERRORS: Final = MappingProxyType(
    {
        error.code: error
        for error in (
            AudioFormatError,
            AuthorisationError,
            CapacityError,
            ProtocolError,
            SlowConsumerError,
            TooManyAttemptsError,
            UnknownSessionError,
        )
    }
)
"""What the `code` of an `error` event, and the word before the colon in a close reason, stand for."""


class _Connection(AsyncIterator[Event]):
    """A WebSocket that yields events and says in words why it failed."""

    def __init__(self, url: str, path: str, query: dict[str, str], token: str | None) -> None:
        self._url = _with_path(url, path)
        self._address = f"{self._url}?{urlencode(query)}" if query else self._url
        self._token = token
        self._opened: ClientConnection | None = None

    async def __aenter__(self) -> Self:
        host = urlsplit(self._url).hostname or ""
        try:
            self._opened = await connect(
                self._address,
                additional_headers={"Authorization": f"Bearer {self._token}"} if self._token else None,
                compression=None,
                max_size=None,
                open_timeout=_OPEN_TIMEOUT_S,
                proxy=None if is_loopback(host) else True,
            )
        except InvalidURI:
            raise ConnectionFailedError(f"{self._url!r} is no address: it looks like ws://127.0.0.1:8765") from None
        except InvalidStatus as error:
            status = error.response.status_code
            if status == _CROWDED:
                raise CapacityError(f"{self._url} has too many connections open: try again later") from None
            raise ConnectionFailedError(
                f"{self._url} answered with HTTP {status}: is it a MEDUSA live server, and of this version?"
            ) from None
        except (InvalidHandshake, TimeoutError):
            raise ConnectionFailedError(f"{self._url} does not speak WebSocket: check host, port and ws/wss") from None
        except OSError as error:
            raise ConnectionFailedError(
                f"no server answers at {self._url} ({error.strerror or error}): start one with 'medusa serve', "
                "or check the address"
            ) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _close(self._socket)

    @property
    def _socket(self) -> ClientConnection:
        if self._opened is None:
            raise ConnectionFailedError("not connected yet: use the client in an 'async with' statement")
        return self._opened

    async def __anext__(self) -> Event:
        try:
            return parse_event(await self._socket.recv())
        except ConnectionClosed as closed:
            error = self._explain(closed)
        if error is None:
            raise StopAsyncIteration
        raise error

    def _explain(self, closed: ConnectionClosed) -> StreamingError | None:
        code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (None, "")
        if code in _ORDERLY:
            return None
        kind, _, message = reason.partition(": ")
        if kind in _ERRORS:
            return _ERRORS[kind](message)
        if code == _TOO_LARGE:
            return ProtocolError("a message was larger than the server takes: send the audio in smaller pieces")
        return ConnectionFailedError(f"the connection to {self._url} was lost: {reason or 'no reason was given'}")

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed as closed:
            error = self._explain(closed)
            raise error or ConnectionFailedError(f"{self._url} has ended the session: no audio is taken") from None


class ListenClient(_Connection):
    """Sends audio and yields the session's events; used in an `async with` statement.

    Entering connects and waits for `session.started`, which is also the first event yielded. Iteration ends when the
    server has closed in order.

    Raises:
        ConnectionFailedError: nobody answers, or the connection is lost.
        AuthorisationError: a token is needed, or this one does not do.
        CapacityError: the server has no place free; later it may.
        AudioFormatError: the server does not take this format.
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
    ) -> None:
        """Connects to nothing yet.

        Args:
            url: such as `ws://127.0.0.1:8765`; the path may be left out.
            audio: what will be sent.
            roles: one for each channel; `customer` for those left out.
            language: ISO 639-1 code; None to detect it.
            interim: whether interim events are wanted.
            token: sent in the `Authorization` header.
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
        super().__init__(url, LISTEN_PATH, query, token)
        self._audio = audio
        self._started: SessionStarted | None = None
        self._resume: ResumeInfo | None = None
        self._started_told = False

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            first = await super().__anext__()
            if isinstance(first, ErrorEvent):
                raise _ERRORS.get(first.code, StreamingError)(first.message)
            if not isinstance(first, SessionStarted):
                raise ProtocolError(f"the server began with '{first.type}' and not with 'session.started'")
        except StopAsyncIteration:
            await _close(self._socket)
            raise ConnectionFailedError(f"{self._url} closed before the session began: try again") from None
        except StreamingError:
            await _close(self._socket)
            raise
        self._started = first.model_copy(update={"resume": None})
        self._resume = first.resume
        return self

    @property
    def started(self) -> SessionStarted:
        """What the server said about the session, less the token that is for the client alone.

        Raises:
            ConnectionFailedError: the client is not connected.
        """
        if self._started is None:
            raise ConnectionFailedError("not connected yet: use the client in an 'async with' statement")
        return self._started

    async def __anext__(self) -> Event:
        if not self._started_told:
            self._started_told = True
            return self.started
        return await super().__anext__()

    async def send(self, data: bytes) -> None:
        """Sends audio bytes, cut to what the server takes in one message."""
        size = self.started.limits.max_message_bytes
        for start in range(0, len(data), size):
            await self._send(data[start : start + size])

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
        size = max(1, round(chunk_s * self._audio.rate_hz)) * (self._audio.bytes_per_s // self._audio.rate_hz)
        start_s = now()
        for start in range(0, len(data), size):
            spoken_s = (start + size) / self._audio.bytes_per_s
            await sleep(max(0.0, start_s + spoken_s - now()))
            await self.send(data[start : start + size])

    async def flush(self) -> None:
        """Asks for finals of what was said so far."""
        await self._control("flush")

    async def keep_alive(self) -> None:
        """Says that audio will still follow."""
        await self._control("keepalive")

    async def finish(self) -> None:
        """Says that no audio will follow; the remaining events come, then iteration ends."""
        await self._control("close")

    async def _control(self, kind: str) -> None:
        await self._send(json.dumps({"type": kind}))


class EventsClient(_Connection):
    """Yields the events of one session or of all; used in an `async with` statement.

    Iteration ends when the session has ended or the server stops; `SlowConsumerError` is raised when events were not
    taken fast enough, after which `after` picks up where it broke off.
    """

    def __init__(self, url: str, *, session: str = "*", after: int | None = None, token: str | None = None) -> None:
        """Connects to nothing yet.

        Args:
            url: such as `ws://127.0.0.1:8765`; the path may be left out.
            session: its name, or `*` for all.
            after: replay what the server still holds behind this `seq`; None for live events only.
            token: sent in the `Authorization` header.
        """
        query = {"session": session}
        if after is not None:
            query["after"] = str(after)
        super().__init__(url, EVENTS_PATH, query, token)


async def _close(socket: ClientConnection) -> None:
    """Closes in order, and throws away what nobody will read: full of it, it would not hear the goodbye."""
    closing = asyncio.create_task(socket.close())
    with contextlib.suppress(ConnectionClosed):
        while True:
            await socket.recv()
    await closing


def _with_path(url: str, path: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or path, "", ""))
