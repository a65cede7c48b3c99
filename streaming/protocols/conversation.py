"""What every endpoint does: close in time, let errors out as events, and never wait on a dead peer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from streaming.auth import Gate, presented_token
from streaming.errors import StreamingError
from streaming.events import ErrorEvent, Event
from streaming.protocols.wire import Wire
from streaming.subscription import Subscription
from streaming.tokens import Scope

DONE: Final = 1000
GOING_AWAY: Final = 1001
REFUSED: Final = 1008
TOO_LARGE: Final = 1009
BROKEN: Final = 1011
TRY_LATER: Final = 1013
SEND_PATIENCE_S: Final = 5.0
"""How long a peer may take to let us say goodbye."""
_MAX_REASON_BYTES: Final = 123
"""RFC 6455, section 5.5.1: a control frame holds 125 bytes, two of them the code."""
_GONE: Final = (WebSocketDisconnect, RuntimeError, ConnectionError)
"""How Starlette, and a TCP connection, say that the peer is gone."""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """How a connection ends."""

    code: int
    reason: str
    """For people; where an error is the cause, its code and a colon come first."""

    @classmethod
    def because(cls, error: StreamingError) -> Goodbye:
        """The end that an error leads to."""
        return cls(TRY_LATER if error.retryable else REFUSED, f"{error.code}: {error}")


def check_access(websocket: WebSocket, gate: Gate, scope: Scope, *, token: str | None = None) -> None:
    """Returns if this client may do what `scope` stands for.

    Args:
        websocket: its connection.
        gate: judges it.
        scope: what it asks.
        token: shown in a message; by default that of the headers or the query.

    Raises:
        AuthorisationError: it may not; a `TooManyAttemptsError` if it has to wait.
    """
    if token is None:
        token = presented_token(websocket.headers.get("authorization"), websocket.query_params.get("token"))
    peer = websocket.client.host if websocket.client else ""
    gate.check(scope, token=token, origin=websocket.headers.get("origin"), peer=peer)


def as_json(event: Event) -> Sequence[str]:
    """What a peer is told that takes events as they are."""
    return (event.to_json(),)


async def forward(wire: Wire, events: Subscription, tell: Callable[[Event], Sequence[str | bytes]] = as_json) -> None:
    """Sends events until there will be no more, or the peer is gone.

    Args:
        wire: to the peer.
        events: what it gets.
        tell: makes of an event the messages for this peer.

    Raises:
        SlowConsumerError: the peer takes them too slowly; noticed also while it takes nothing at all.
    """
    sending = asyncio.create_task(_send_all(wire, events, tell))
    overflowing = asyncio.create_task(events.wait_overflow())
    try:
        await asyncio.wait({sending, overflowing}, return_when=asyncio.FIRST_COMPLETED)
        if events.overflowed:
            raise events.too_slow
        sending.result()
    finally:
        await cancel(sending, overflowing)


async def _send_all(wire: Wire, events: Subscription, tell: Callable[[Event], Sequence[str | bytes]]) -> None:
    with contextlib.suppress(*_GONE):
        async for event in events:
            for message in tell(event):
                await send(wire, message)


async def send(wire: Wire, message: str | bytes) -> None:
    """Sends one message: text or binary, as it is."""
    if isinstance(message, str):
        await wire.send_text(message)
    else:
        await wire.send_bytes(message)


async def send_error(websocket: WebSocket, session_id: str, error: StreamingError) -> None:
    """Sends an `error` event on a connection that never became a session."""
    event = ErrorEvent(
        session=session_id,
        channel=None,
        role=None,
        seq=1,
        time_s=0,
        code=error.code,
        message=str(error),
        retryable=error.retryable,
        retry_after_s=getattr(error, "retry_after_s", None),
    ).stamped(datetime.now(UTC))
    await send_event(websocket, event)


async def send_event(wire: Wire, event: Event) -> None:
    """Sends an event of the connection's own, if the peer takes it in time."""
    await send_in_time(wire, event.to_json())


async def send_in_time(wire: Wire, message: str | bytes) -> None:
    """Sends one message, if the peer is there and takes it in time."""
    with contextlib.suppress(*_GONE, TimeoutError):
        async with asyncio.timeout(SEND_PATIENCE_S):
            await send(wire, message)


async def say_goodbye(websocket: WebSocket, goodbye: Goodbye) -> None:
    """Closes the connection if it still is one."""
    if websocket.client_state is WebSocketState.DISCONNECTED:
        return
    reason = goodbye.reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
        async with asyncio.timeout(SEND_PATIENCE_S):
            await websocket.close(goodbye.code, reason)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks and waits until they are gone; what they raise is of no interest any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
