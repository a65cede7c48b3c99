"""The endpoint `/v1/listen`: one connection, one session."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final

from starlette.websockets import WebSocket

from streaming.auth import Gate
from streaming.errors import AuthorisationError, StreamingError
from streaming.events import Event, SessionStarted
from streaming.faults import where
from streaming.live_sessions import EndedSession, LiveSession
from streaming.protocols import conversation as ws
from streaming.protocols.hearing import Hearing
from streaming.protocols.native import NativeDialect, ResumeRequest, read_query
from streaming.service import LiveService, new_session_id
from streaming.tokens import Scope

_LOG: Final = logging.getLogger(__name__)


class ListenEndpoint:
    """Takes audio and answers with events on the same socket."""

    def __init__(self, service: LiveService, gate: Gate) -> None:
        self._service = service
        self._gate = gate
        self._hearing = Hearing(service)

    async def serve(self, websocket: WebSocket) -> None:
        """Serves one connection from handshake to close."""
        await websocket.accept()
        session_id = new_session_id()
        try:
            ws.check_access(websocket, self._gate, Scope.LISTEN)
            request = read_query(
                websocket.query_params.multi_items(), max_channels=self._service.settings.server.max_channels
            )
            if isinstance(request, ResumeRequest):
                goodbye = await self._resume(websocket, request)
            else:
                goodbye = await self._converse(websocket, self._service.open_session(request, session_id), after=0)
        except StreamingError as error:
            goodbye = await self._refuse(websocket, session_id, error)
        except Exception as error:  # noqa: BLE001 - one session's fault must not reach the server
            _LOG.error("session %s failed: %s", session_id, where(error))
            goodbye = self._hearing.broken
        await ws.say_goodbye(websocket, goodbye)

    async def _refuse(self, websocket: WebSocket, session_id: str, error: StreamingError) -> ws.Goodbye:
        self._service.metrics.refused.labels(error.code).inc()
        if not isinstance(error, AuthorisationError):
            await ws.send_error(websocket, session_id, error)
        return ws.Goodbye.because(error)

    async def _resume(self, websocket: WebSocket, request: ResumeRequest) -> ws.Goodbye:
        resumed = await self._service.resume_session(request.resume)
        if isinstance(resumed, EndedSession):
            return await self._tell_end(websocket, resumed, request.after)
        return await self._converse(websocket, resumed, request.after)

    async def _tell_end(self, websocket: WebSocket, ended: EndedSession, after: int) -> ws.Goodbye:
        """Says again what a session said last, to a client that may have missed it."""
        with self._service.hub.subscribe(ended.session_id, after=after) as events:
            await ws.send_event(websocket, ended.resumed.model_copy(update={"seq": after}))
            writing = asyncio.create_task(ws.forward(websocket, events))
            reading = asyncio.create_task(_until_gone(websocket))
            try:
                waits_s = self._service.patience.usual_s
                await asyncio.wait({writing, reading}, timeout=waits_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await ws.cancel(writing, reading)
        return self._hearing.done

    async def _converse(self, websocket: WebSocket, live: LiveSession, after: int) -> ws.Goodbye:
        dialect = NativeDialect(partial(_with_token, live))
        return await self._hearing.converse(websocket, live, dialect, after=after, resumable=True)


async def _until_gone(websocket: WebSocket) -> None:
    """Reads what nobody needs any more."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


def _with_token(live: LiveSession, event: Event) -> Event:
    """Whoever sends the audio is told how to take the session up again, and nobody else."""
    if isinstance(event, SessionStarted) and live.resume is not None:
        return event.model_copy(update={"resume": live.resume})
    return event
