"""Connections as bytes: what a peer may send, how slowly, and how many there may be, before anything is understood.

uvicorn speaks HTTP and WebSocket; the classes here hold its peers to bounds that it leaves open. WebSocket compression
is off, so that a small message cannot become a large one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Self

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState
from websockets.frames import Frame

from streaming.config import ServerSettings
from streaming.protocols.conversation import REFUSED
from streaming.protocols.reading import PatientWebSocket
from streaming.rate import RateLimit

_LOST: Final = 1006
LINGER_S: Final = 5.0
"""How long a connection that is over may take to notice; then it is cut."""
MAX_HEAD_BYTES: Final = 16_384
"""Of a request's address and headers together."""
MAX_TARGET_BYTES: Final = 4096
"""Of a request's path and query."""
MAX_LINE_BYTES: Final = 8000
"""Of one header; the WebSocket library reads no longer ones."""
MAX_HEADERS: Final = 100
MAX_FRAMES: Final = 1024
"""Pieces that one WebSocket message may come in: each takes memory, also an empty one, which no limit in bytes sees."""
_QUIET_S: Final = 0.5
"""A peer that was cut short and has sent nothing for so long has stopped sending."""
_SPARE_CONNECTIONS: Final = 64
"""Beyond the limit, how many are told that there are too many; still more are cut without a word."""


_SPOKEN_PER_S: Final = 2000
"""Text messages that are audio, in a second: twenty times what a call of two voices has, for lines that bunch them."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What `[server]` says of connections."""

    connections: int
    """Open at once."""
    handshake_s: float
    """For a request to be complete and answered."""
    controls_per_s: int
    """Text messages and pings on a WebSocket."""
    spoken: frozenset[str] = frozenset()
    """Paths where text messages are audio: many, and held to the pace of speech where they are heard."""
    elsewhere: Callable[[], int] = lambda: 0
    """Connections of other protocols, which count with these."""

    @classmethod
    def of(
        cls,
        settings: ServerSettings,
        *,
        spoken: frozenset[str] = frozenset(),
        elsewhere: Callable[[], int] = lambda: 0,
    ) -> Self:
        """Those of the settings."""
        return cls(
            settings.max_connections, settings.handshake_timeout_s, settings.max_controls_per_s, spoken, elsewhere
        )


class GuardedConfig(uvicorn.Config):
    """uvicorn's configuration, with our limits on the way to its protocols."""

    def __init__(self, app: Callable[..., Any], limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(app, **options)
        self.limits: Final = limits


class _BoundedRequests(h11.Connection):
    """h11, which bounds a request only while it is incomplete, held to a bound in any case."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self.refusal = HTTPStatus.BAD_REQUEST
        """What to answer to the request that was not taken."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """As h11 does; a request that is too large is a `RemoteProtocolError` like any other wrong one."""
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                _check_size(event)
        except h11.RemoteProtocolError as error:
            self.refusal = HTTPStatus(error.error_status_hint)
            raise
        return event


def _check_size(request: h11.Request) -> None:
    if len(request.target) > MAX_TARGET_BYTES:
        raise h11.RemoteProtocolError("the address is too long", HTTPStatus.REQUEST_URI_TOO_LONG)
    lines = [len(name) + len(value) for name, value in request.headers]
    if len(lines) > MAX_HEADERS or max(lines, default=0) > MAX_LINE_BYTES or sum(lines) > MAX_HEAD_BYTES:
        raise h11.RemoteProtocolError("too many headers", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)


class GuardedHttp(H11Protocol):
    """uvicorn's HTTP, where a request has to be small and soon complete, and connections have to be few.

    From its start, or the last answer, a connection has `handshake_s` until the next answer, or until it becomes a
    WebSocket. A peer that dribbles its request, its body or its reading of the answer is cut.
    """

    def __init__(
        self,
        config: GuardedConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config.limits
        self._requests = self.conn = _BoundedRequests()
        self._deadline: asyncio.TimerHandle | None = None
        self._is_over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Counts the connection, and turns it away where there are too many."""
        super().connection_made(transport)
        excess = len(self.connections) + self._limits.elsewhere() - self._limits.connections
        if excess > _SPARE_CONNECTIONS:
            transport.abort()
        elif excess > 0:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections are open: try again later")
        else:
            self._give_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the deadline."""
        self._end_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer; none count after a refusal."""
        if not self._is_over:
            super().data_received(data)

    def on_response_complete(self) -> None:
        """Gives time for the next request."""
        self._give_time()
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leaves the rest to `GuardedWebSocket`."""
        self._end_time()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Says what was wrong with a request."""
        if self._requests.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(self._requests.refusal, msg)
        else:  # in the middle of an answer to an earlier request
            self.transport.abort()

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answers, and closes once the peer had time to read it: closing while it sends would reset the connection."""
        body = f"{message}\n".encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\ncontent-type: text/plain\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        self._is_over = True
        self._end_time()
        self._deadline = self.loop.call_later(_QUIET_S, self.transport.abort)

    def _give_time(self) -> None:
        self._end_time()
        self._deadline = self.loop.call_later(self._limits.handshake_s, self.transport.abort)

    def _end_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class GuardedWebSocket(PatientWebSocket):
    """uvicorn's WebSocket, more patient with a peer that is still sending and less with one that never reads or floods.

    Closing a socket while the peer sends resets the connection, and the peer may never see why. So after a protocol
    error, a message too large above all, what still comes is thrown away until the peer has read our close frame.
    """

    def __init__(
        self,
        config: GuardedConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._controls_per_s = config.limits.controls_per_s
        self._controls = RateLimit(self._controls_per_s)
        self._spoken_paths = config.limits.spoken
        self._spoken = RateLimit(_SPOKEN_PER_S)
        self._cut_short = False
        self._heard_since_ping = False

    def send_keepalive_ping(self) -> None:
        """Asks whether the peer is there."""
        self._heard_since_ping = False
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """The peer has not answered: it is gone, unless its answer waits behind audio that was not read yet."""
        if self._heard_since_ping or self.read_paused:
            self.pong_timer = None
            self.pending_ping_payload = None
            self.schedule_ping()
        else:
            super().keepalive_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone without a goodbye, which is another thing than one without a code.

        RFC 6455, section 7.1.5: uvicorn's 1005 stands for a close frame without a code.
        """
        if self.handshake_complete and not self.disconnected:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": _LOST})
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer; none count once it was cut short."""
        self._heard_since_ping = True
        if self._cut_short:
            self._close_when_quiet()
        else:
            super().data_received(data)

    def handle_text(self, event: Frame) -> None:
        """Text messages are controls, and counted; where they are audio, there may be more of them."""
        spoken = self.scope["path"] in self._spoken_paths
        if self._takes(self._spoken, _SPOKEN_PER_S) if spoken else self._takes_control():
            super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """Audio is taken until the connection was cut short."""
        if not self._cut_short:
            super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """Counts the pieces of a message."""
        if self._cut_short:
            return
        if len(self.frames) >= MAX_FRAMES:
            self._refuse(f"a message comes in more than {MAX_FRAMES} pieces")
        else:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """Pings are counted too, since each is answered."""
        if self._takes_control():
            super().handle_ping()

    def _takes_control(self) -> bool:
        return self._takes(self._controls, self._controls_per_s)

    def _takes(self, limit: RateLimit, per_s: int) -> bool:
        if not self._cut_short and not limit.allows(self.loop.time()):
            self._refuse(f"more than {per_s} text messages and pings in a second")
        return not self._cut_short

    def _refuse(self, reason: str) -> None:
        self.conn.fail(REFUSED, f"protocol: {reason}")
        self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Tells the peer why, and waits until it is quiet."""
        self._cut_short = True
        close = self.conn.close_sent
        code, reason = (close.code, close.reason) if close else (1002, "")
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._close_when_quiet()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def _close_when_quiet(self) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(_QUIET_S, self.transport.close)

    async def run_asgi(self) -> None:
        """Sees that a connection that is over ends."""
        await super().run_asgi()
        self.loop.call_later(LINGER_S, self.transport.abort)
