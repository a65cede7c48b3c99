"""Endpoints whose peers say in their first messages, not in the address, who they are and what they will send."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Final

from starlette.websockets import WebSocket

from streaming.auth import Gate
from streaming.errors import ProtocolError, StreamingError
from streaming.events import IDENTIFIER_PATTERN
from streaming.faults import where
from streaming.protocols import conversation as ws
from streaming.protocols.dialect import Begin, Close, Dialect, Handshake, KeepAlive, Notice, Reply
from streaming.protocols.hearing import Hearing
from streaming.service import LiveService, new_session_id
from streaming.tokens import Scope

_LOG: Final = logging.getLogger(__name__)


class IntroducedEndpoint:
    """Waits for a peer's introduction, lets it in, and serves its session.

    Such peers open a connection for every call and do not come back: where it breaks, the session ends.
    """

    def __init__(self, service: LiveService, gate: Gate, dialect: Callable[[Handshake], Dialect]) -> None:
        """Prepares the endpoint.

        Args:
            service: where sessions are opened.
            gate: judges the token, from the introduction or the headers.
            dialect: made for each connection; it may refuse the handshake with an `AuthorisationError` when it first
                reads.
        """
        self._service = service
        self._gate = gate
        self._dialect = dialect
        self._hearing = Hearing(service)
        self._introduction_s = service.settings.server.handshake_timeout_s

    async def serve(self, websocket: WebSocket) -> None:
        """Serves one connection from handshake to close."""
        await websocket.accept()
        dialect, session_id = self._dialect(_handshake(websocket)), new_session_id()
        try:
            begin = await self._introduction(websocket, dialect)
            if begin is None:
                await ws.say_goodbye(websocket, self._hearing.done)
                return
            session_id = self._name(begin) or session_id
            ws.check_access(websocket, self._gate, Scope.LISTEN, token=begin.token)
            live = self._service.open_session(begin.request, session_id)
            goodbye = await self._hearing.converse(websocket, live, dialect)
        except StreamingError as error:
            self._service.metrics.refused.labels(error.code).inc()
            goodbye = ws.Goodbye.because(error)
            for message in dialect.refuse(error):
                await ws.send_in_time(websocket, message)
        except Exception as error:  # noqa: BLE001 - one session's fault must not reach the server
            _LOG.error("session %s failed: %s", session_id, where(error))
            goodbye = self._hearing.broken
        await ws.say_goodbye(websocket, goodbye)

    async def _introduction(self, websocket: WebSocket, dialect: Dialect) -> Begin | None:
        """None where the peer leaves, or says that this was all.

        Raises:
            ProtocolError: it does not come in time, or something else does.
        """
        try:
            async with asyncio.timeout(self._introduction_s):
                while True:
                    message = await websocket.receive()
                    if message["type"] == "websocket.disconnect":
                        return None
                    data = message.get("bytes")
                    for step in dialect.read(message["text"] if data is None else data):
                        match step:
                            case Begin():
                                return step
                            case Reply(message=reply):
                                await ws.send(websocket, reply)
                            case Close():
                                return None
                            case Notice() | KeepAlive():
                                pass
                            case _:
                                raise ProtocolError("the peer sends something before it has said what")
        except TimeoutError:
            raise ProtocolError(f"the peer has not said within {self._introduction_s:g} s what it will send") from None

    def _name(self, begin: Begin) -> str | None:
        """The peer's own name for the session, if it is a proper one and no session of that name is known."""
        if begin.name is None or not re.fullmatch(IDENTIFIER_PATTERN, begin.name):
            return None
        return None if self._service.hub.knows(begin.name) else begin.name


def _handshake(websocket: WebSocket) -> Handshake:
    path = websocket.scope.get("raw_path") or websocket.url.path.encode()
    query = websocket.scope.get("query_string", b"")
    target = path + (b"?" + query if query else b"")
    return Handshake(target.decode("ascii", "replace"), dict(websocket.headers.items()))
