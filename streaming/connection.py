"""A client's WebSocket: opened, closed and opened again, and what it failed of said in words."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from types import MappingProxyType, TracebackType
from typing import Final, Self
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from streaming.auth import is_loopback
from streaming.errors import (
    AudioFormatError,
    AuthorisationError,
    CapacityError,
    ConnectionFailedError,
    ProtocolError,
    SlowConsumerError,
    StreamingError,
    TooFastError,
    TooManyAttemptsError,
    UnknownSessionError,
)
from streaming.events import ErrorEvent, Event, parse_event
from streaming.outage import Outage, Pauses

_LOG: Final = logging.getLogger(__name__)
RECONNECT_S: Final = 30.0
"""How long a client tries to connect again, unless told otherwise."""
_OPEN_TIMEOUT_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 5.0
_LEAST_ATTEMPT_S: Final = 1.0
"""What an attempt may take, however little time is left."""
DONE: Final = 1000
GOING_AWAY: Final = 1001
_TOO_LARGE: Final = 1009
_CROWDED: Final = 503
_FINAL: Final = (DONE, 1002, 1003, 1007, 1008, _TOO_LARGE, 1010)
"""Close codes of RFC 6455, section 7.4.1, after which the same again would end the same."""
_ERRORS: Final = MappingProxyType(
    {
        error.code: error
        for error in (
            AudioFormatError,
            AuthorisationError,
            CapacityError,
            ProtocolError,
            SlowConsumerError,
            TooFastError,
            TooManyAttemptsError,
            UnknownSessionError,
        )
    }
)
"""What the `code` of an `error` event, and the word before the colon in a close reason, stand for."""


class NotConnectedError(ConnectionFailedError):
    """A client is used before it was entered."""

    def __init__(self) -> None:
        super().__init__("not connected yet: use the client in an 'async with' statement")


class Connection:
    """What clients have in common: an address, a token, and the socket of the moment.

    Args:
        url: such as `ws://127.0.0.1:8765`; the path may be left out.
        path: taken where the address has none.
        query: of the first connection.
        token: sent in the `Authorization` header.
        reconnect_s: how long a broken connection is tried again; 0 for not at all.
        pauses: between attempts.
    """

    def __init__(
        self, url: str, path: str, query: dict[str, str], token: str | None, *, reconnect_s: float, pauses: Pauses
    ) -> None:
        self._url = _with_path(url, path)
        self._address = self._with_query(query)
        self._token = token
        self._outage: Final = Outage(reconnect_s, pauses)
        self._opened: ClientConnection | None = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await _close(self._opened)

    async def __aenter__(self) -> Self:
        self._opened = await self._connect(self._address)
        return self

    @property
    def _socket(self) -> ClientConnection:
        if self._opened is None:
            raise NotConnectedError
        return self._opened

    def _with_query(self, query: dict[str, str]) -> str:
        return f"{self._url}?{urlencode(query)}"

    async def _connect(self, address: str) -> ClientConnection:
        host = urlsplit(self._url).hostname or ""
        try:
            return await connect(
                address,
                additional_headers={"Authorization": f"Bearer {self._token}"} if self._token else None,
                compression=None,
                max_size=None,
                open_timeout=_OPEN_TIMEOUT_S,
                close_timeout=_CLOSE_TIMEOUT_S,
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

    async def _greet(self, address: str) -> tuple[ClientConnection, Event]:
        """Connects and waits for the first event.

        Raises:
            StreamingError: there is none, or it is an error.
        """
        socket = await self._connect(address)
        try:
            first = await self._first(socket)
        except StreamingError:
            await _close(socket)
            raise
        except BaseException:
            socket.transport.abort()
            raise
        return socket, first

    async def _first(self, socket: ClientConnection) -> Event:
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                event = understood(await socket.recv())
        except TimeoutError:
            raise ConnectionFailedError(f"{self._url} says nothing: is it a MEDUSA live server?") from None
        except ConnectionClosed as closed:
            error = self._explain(closed)
            raise error or ConnectionFailedError(f"{self._url} closed before the session began: try again") from None
        if isinstance(event, ErrorEvent):
            error = _ERRORS.get(event.code, StreamingError)(event.message)
            if isinstance(error, CapacityError):
                error.retry_after_s = event.retry_after_s
            raise error
        return event

    def _explain(self, closed: ConnectionClosed) -> StreamingError | None:
        """What a close means; None for one in order."""
        code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (None, "")
        if code in (DONE, GOING_AWAY):
            return None
        kind, _, message = reason.partition(": ")
        if kind in _ERRORS:
            return _ERRORS[kind](message)
        if code == _TOO_LARGE:
            return ProtocolError("a message was larger than the server takes: send the audio in smaller pieces")
        return ConnectionFailedError(f"the connection to {self._url} was lost: {reason or 'no reason was given'}")

    async def _come_back(self, loss: StreamingError, attempt: Callable[[], Awaitable[str]]) -> None:
        """Tries again and again.

        Args:
            loss: of the connection.
            attempt: connects, and says how things go on.

        Raises:
            StreamingError: the time is up, or trying is of no use; at once `loss` where nothing is to be tried.
        """
        now_s = asyncio.get_running_loop().time
        outage, patience_s = self._outage, self._outage.patience_s
        if not patience_s:
            raise loss
        outage.begin(now_s())
        _LOG.warning("%s; trying to connect again for %.3g s", loss, outage.left_s(now_s()))
        why = loss
        while (pause_s := outage.pause_s(now_s(), at_least_s=_asked_for_s(why))) is not None:
            await asyncio.sleep(pause_s)
            try:
                async with asyncio.timeout(max(_LEAST_ATTEMPT_S, outage.left_s(now_s()))):
                    how = await attempt()
            except (ConnectionFailedError, CapacityError) as error:
                why = error
            except TimeoutError:
                why = ConnectionFailedError(f"{self._url} does not answer in time")
            else:
                _LOG.warning("connected again after %.1f s: %s", outage.connected(now_s()), how)
                return
        raise ConnectionFailedError(f"{loss}; connecting again has failed for {patience_s:g} s: {why}")


def _asked_for_s(refusal: StreamingError) -> float:
    """How long the server wants to be left alone."""
    return refusal.retry_after_s or 0.0 if isinstance(refusal, CapacityError) else 0.0


def may_recover(closed: ConnectionClosed) -> bool:
    """Whether a conversation that ended so may go on in another connection."""
    return closed.rcvd is None or closed.rcvd.code not in _FINAL


def understood(message: str | bytes) -> Event:
    """The event that a message is.

    Raises:
        ProtocolError: it is none.
    """
    try:
        return parse_event(message)
    except ValueError:
        raise ProtocolError(
            "the server sent something that is no event of version 1: is it a MEDUSA live server, and of this version?"
        ) from None


async def _close(socket: ClientConnection) -> None:
    """Closes in order, and throws away what nobody will read: full of it, it would not hear the goodbye."""
    closing = asyncio.create_task(socket.close())
    try:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
        await closing
    finally:
        if not closing.done():
            closing.cancel()
            socket.transport.abort()
            await asyncio.gather(closing, return_exceptions=True)


def _with_path(url: str, path: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or path, "", ""))
