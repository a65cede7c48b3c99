"""The endpoint `/v1/events`: events of one session or of all, without sending audio."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.websockets import WebSocket

from streaming.auth import Gate
from streaming.errors import ProtocolError, StreamingError
from streaming.events import IDENTIFIER_PATTERN
from streaming.faults import where
from streaming.protocols import conversation as ws
from streaming.protocols.dialect import KeepAlive
from streaming.protocols.native import read_message
from streaming.service import LiveService
from streaming.subscription import Subscription
from streaming.tokens import Scope

_LOG: Final = logging.getLogger(__name__)
ALL_SESSIONS: Final = "*"
_PARAMETERS: Final = ("session", "after", "last_s", "token")
_SEQ_PATTERN: Final = r"[0-9]{1,15}"
_SECONDS_PATTERN: Final = r"[0-9]{1,6}"


@dataclass(frozen=True, slots=True)
class EventsRequest:
    """What a subscriber asks for."""

    session: str | None
    """None for all."""
    after: int | None
    """Replay what is held behind this `seq`; None for live events only."""
    last_s: int | None = None
    """Replay what is held of so many seconds, and at least the newest event of every live session."""

    @classmethod
    def from_query(cls, parameters: list[tuple[str, str]]) -> EventsRequest:
        """Reads the decoded query of `/v1/events`.

        Raises:
            ProtocolError: a parameter is unknown, repeated, or its value cannot be read.
        """
        given: dict[str, str] = {}
        for name, value in parameters:
            if name not in _PARAMETERS:
                raise ProtocolError(f"unknown parameter {name[:64]!r}: known ones are {', '.join(_PARAMETERS)}")
            if name in given:
                raise ProtocolError(f"parameter '{name}' is given twice: give it once")
            given[name] = value
        session, after = given.get("session", ALL_SESSIONS), given.get("after")
        if session != ALL_SESSIONS and not re.fullmatch(IDENTIFIER_PATTERN, session):
            raise ProtocolError(f"session must be * or a session's name, got {session[:64]!r}")
        if after is not None and not re.fullmatch(_SEQ_PATTERN, after):
            raise ProtocolError(f"after must be the seq of an event, or 0 for all that is held, got {after[:64]!r}")
        last_s = given.get("last_s")
        if last_s is not None and not re.fullmatch(_SECONDS_PATTERN, last_s):
            raise ProtocolError(f"last_s must be a whole number of seconds, got {last_s[:64]!r}")
        if after is not None and last_s is not None:
            raise ProtocolError("after and last_s both say what to replay: give one of them")
        return cls(
            None if session == ALL_SESSIONS else session,
            None if after is None else int(after),
            None if last_s is None else int(last_s),
        )

    @property
    def since(self) -> datetime | None:
        """The moment from which events are replayed; None where no time was given."""
        return None if self.last_s is None else datetime.now(UTC) - timedelta(seconds=self.last_s)


class EventsEndpoint:
    """Sends events to one subscriber for as long as it takes them."""

    def __init__(self, service: LiveService, gate: Gate) -> None:
        self._service = service
        self._gate = gate

    async def serve(self, websocket: WebSocket) -> None:
        """Serves one subscriber from handshake to close."""
        await websocket.accept()
        try:
            ws.check_access(websocket, self._gate, Scope.EVENTS)
            request = EventsRequest.from_query(websocket.query_params.multi_items())
            with self._service.hub.subscribe(request.session, after=request.after, since=request.since) as events:
                goodbye = await self._serve(websocket, events)
        except StreamingError as error:
            self._service.metrics.refused.labels(error.code).inc()
            goodbye = ws.Goodbye.because(error)
        except Exception as error:  # noqa: BLE001 - one subscriber's fault must not reach the server
            _LOG.error("a subscriber failed: %s", where(error))
            goodbye = ws.Goodbye(ws.BROKEN, "internal error")
        await ws.say_goodbye(websocket, goodbye)

    async def _serve(self, websocket: WebSocket, events: Subscription) -> ws.Goodbye:
        writing = asyncio.create_task(ws.forward(websocket, events))
        reading = asyncio.create_task(_read_keepalives(websocket))
        try:
            await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
            for task in (writing, reading):
                if task.done():
                    task.result()
            if not writing.done():
                return ws.Goodbye(ws.DONE, "disconnected")
        finally:
            await ws.cancel(writing, reading)
        if self._service.stopping.is_set():
            return ws.Goodbye(ws.GOING_AWAY, "the server is stopping")
        return ws.Goodbye(ws.DONE, "the session has ended")


async def _read_keepalives(websocket: WebSocket) -> None:
    """Returns when the peer is gone.

    Raises:
        ProtocolError: it sent something else than `keepalive`.
    """
    while (message := await websocket.receive())["type"] != "websocket.disconnect":
        data = message.get("bytes")
        if not isinstance(read_message(message["text"] if data is None else data), KeepAlive):
            raise ProtocolError("subscribers only listen: connect to /v1/listen to send audio or controls")
