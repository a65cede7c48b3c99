"""Endpoints whose peers say in their first messages, not in the address, who they are and what they will send."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from streaming.auth import Gate
from streaming.errors import ProtocolError, StreamingError
from streaming.events import IDENTIFIER_PATTERN
from streaming.faults import where
from streaming.protocols import conversation as ws
from streaming.protocols.dialect import Begin, Close, Dialect, Handshake, KeepAlive, Notice, Reply, Step
from streaming.protocols.hearing import Hearing
from streaming.service import LiveService, new_session_id
from streaming.tokens import Scope

_LOG: Final = logging.getLogger(__name__)


class Introductions:
    """Waits for a peer's introduction, lets it in, and serves its session.

    Such peers open a connection for every call and do not come back: where it breaks, the session ends.
    """

    def __init__(self, service: LiveService, gate: Gate) -> None:
        """Prepares every way a conversation may end.

        Args:
            service: where sessions are opened.
            gate: judges the token, from the introduction or the headers.
        """
        self._service = service
        self._gate = gate
        self._hearing = Hearing(service)

    async def serve(
        self, websocket: WebSocket, dialect: Dialect, session_id: str, within_s: float, *, said: Sequence[Step] = ()
    ) -> None:
        """Serves one connection from here to its close.

        Args:
            websocket: accepted.
            dialect: of the peer.
            session_id: what the session is called, unless the peer has a name for it.
            within_s: by when the peer must have said what it will send.
            said: what it has said in the handshake.
        """
        try:
            introduced = await self._introduction(websocket, dialect, within_s, said)
            if introduced is None:
                await ws.say_goodbye(websocket, self._hearing.done)
                return
            begin, said = introduced
            session_id = self._name(begin) or session_id
            ws.check_access(websocket, self._gate, Scope.LISTEN, token=begin.token)
            live = self._service.open_session(begin.request, session_id)
            goodbye = await self._hearing.converse(websocket, live, dialect, said=said)
        except StreamingError as error:
            self._service.metrics.refused.labels(error.code).inc()
            goodbye = ws.Goodbye.because(error)
            for message in dialect.refuse(error):
                await ws.send_in_time(websocket, message)
        except Exception as error:  # noqa: BLE001 - one session's fault must not reach the server
            _LOG.error("session %s failed: %s", session_id, where(error))
            goodbye = self._hearing.broken
        await ws.say_goodbye(websocket, goodbye)

    async def _introduction(
        self, websocket: WebSocket, dialect: Dialect, within_s: float, said: Sequence[Step]
    ) -> tuple[Begin, Sequence[Step]] | None:
        """The beginning, and what was said with it; None where the peer leaves, or says that this was all.

        Raises:
            ProtocolError: it does not come in time, or something else does.
        """
        try:
            async with asyncio.timeout(within_s):
                while True:
                    for place, step in enumerate(said, start=1):
                        match step:
                            case Begin():
                                return step, said[place:]
                            case Reply(message=reply):
                                await ws.send(websocket, reply)
                            case Close():
                                return None
                            case Notice() | KeepAlive():
                                pass
                            case _:
                                raise ProtocolError("the peer sends something before it has said what")
                    message = await websocket.receive()
                    if message["type"] == "websocket.disconnect":
                        return None
                    data = message.get("bytes")
                    said = dialect.read(message["text"] if data is None else data)
        except WebSocketDisconnect:
            return None
        except TimeoutError:
            raise ProtocolError(f"the peer has not said within {within_s:g} s what it will send") from None

    def _name(self, begin: Begin) -> str | None:
        """The peer's own name for the session, if it is a proper one and no session of that name is known."""
        if begin.name is None or not re.fullmatch(IDENTIFIER_PATTERN, begin.name):
            return None
        return None if self._service.hub.knows(begin.name) else begin.name


class IntroducedEndpoint:
    """For peers that speak first."""

    def __init__(self, service: LiveService, gate: Gate, dialect: Callable[[Handshake], Dialect]) -> None:
        """Prepares the endpoint.

        Args:
            service: where sessions are opened.
            gate: judges the token, from the introduction or the headers.
            dialect: made for each connection; it may refuse the handshake with an `AuthorisationError` when it first
                reads.
        """
        self._introductions = Introductions(service, gate)
        self._dialect = dialect
        self._within_s = service.settings.server.handshake_timeout_s

    async def serve(self, websocket: WebSocket) -> None:
        """Serves one connection from handshake to close."""
        await websocket.accept()
        dialect = self._dialect(handshake(websocket))
        await self._introductions.serve(websocket, dialect, new_session_id(), self._within_s)


def handshake(websocket: WebSocket) -> Handshake:
    """How a connection was asked for."""
    path = websocket.scope.get("raw_path") or websocket.url.path.encode()
    query = websocket.scope.get("query_string", b"")
    target = path + (b"?" + query if query else b"")
    return Handshake(target.decode("ascii", "replace"), dict(websocket.headers.items()))
