"""Endpoints where the server speaks first, to peers that show their token in the handshake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.websockets import WebSocket

from streaming.auth import Gate
from streaming.errors import AuthorisationError
from streaming.protocols import conversation as ws
from streaming.protocols.denial import denial
from streaming.protocols.dialect import GreetingDialect, Handshake
from streaming.protocols.introduced import Introductions, handshake
from streaming.service import LiveService, new_session_id
from streaming.tokens import Scope


class GreetedEndpoint:
    """For peers that wait to be greeted; who may not listen is told so by HTTP, before there is a WebSocket."""

    def __init__(self, service: LiveService, gate: Gate, dialect: Callable[[Handshake], GreetingDialect]) -> None:
        """Prepares the endpoint.

        Args:
            service: where sessions are opened.
            gate: judges the token of the handshake.
            dialect: made for each connection.
        """
        self._service: Final = service
        self._gate: Final = gate
        self._dialect: Final = dialect
        self._introductions: Final = Introductions(service, gate)
        self._within_s: Final = service.settings.server.idle_timeout_s
        """Whoever was let in may be silent for as long as a session may."""

    async def serve(self, websocket: WebSocket) -> None:
        """Serves one connection from handshake to close."""
        dialect, session_id = self._dialect(handshake(websocket)), new_session_id()
        try:
            ws.check_access(websocket, self._gate, Scope.LISTEN, token=dialect.token)
        except AuthorisationError as error:
            self._service.metrics.refused.labels(error.code).inc()
            await websocket.send_denial_response(denial(error))
            return
        await websocket.accept(dialect.subprotocol)
        await self._introductions.serve(websocket, dialect, session_id, self._within_s, said=dialect.greet(session_id))
