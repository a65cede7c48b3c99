"""The endpoint `/v1/listen`: one connection, one session."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from starlette.types import Message as AsgiMessage
from starlette.websockets import WebSocket

from streaming.auth import Gate
from streaming.errors import AuthorisationError, ProtocolError, SlowConsumerError, StreamingError
from streaming.faults import where
from streaming.protocols import conversation as ws
from streaming.protocols.native import Audio, Close, Flush, KeepAlive, ListenRequest, read_message
from streaming.runner import SessionRunner
from streaming.service import LiveService, new_session_id
from streaming.subscription import Subscription
from streaming.tokens import Scope

_LOG: Final = logging.getLogger(__name__)
_GRACE_SHARE: Final = 0.8
"""Of the time a stopping server has, what finals may take; the rest is for sending them."""


class MessageTooLargeError(ProtocolError):
    """A client sent more in one message than `[server] max_message_bytes`."""

    code = "message_too_large"


@dataclass(frozen=True, slots=True)
class _Ending:
    """Why the server hears no more, and what that means for the session."""

    reason: str
    """For `session.ended`."""
    goodbye: ws.Goodbye
    patience_s: float | None
    """How long finals may take; None for as long as they need."""


class ListenEndpoint:
    """Takes audio and answers with events on the same socket."""

    def __init__(self, service: LiveService, gate: Gate) -> None:
        self._service = service
        self._gate = gate
        server = service.settings.server
        self._idle_timeout_s = server.idle_timeout_s
        self._max_message_bytes = server.max_message_bytes
        patience_s = server.idle_timeout_s  # where nobody waits on the socket; subscribers may, but not for ever
        self._done = _Ending("client_close", ws.Goodbye(ws.DONE, "done"), None)
        self._idle = _Ending("idle_timeout", ws.Goodbye(ws.DONE, "idle for too long"), None)
        self._refused = _Ending("protocol_error", ws.Goodbye(ws.REFUSED, "protocol: see the error event"), None)
        self._gone = _Ending("disconnected", ws.Goodbye(ws.DONE, "disconnected"), patience_s)
        self._too_large = _Ending("message_too_large", ws.Goodbye(ws.TOO_LARGE, "message too large"), patience_s)
        self._too_slow = _Ending("slow_consumer", ws.Goodbye(ws.TRY_LATER, "too slow"), patience_s)
        self._broken = _Ending("internal_error", ws.Goodbye(ws.BROKEN, "internal error"), patience_s)
        self._stopping = _Ending(
            "shutdown", ws.Goodbye(ws.GOING_AWAY, "the server is stopping"), _GRACE_SHARE * server.shutdown_grace_s
        )

    async def serve(self, websocket: WebSocket) -> None:
        """Serves one connection from handshake to close."""
        await websocket.accept()
        session_id = new_session_id()
        try:
            ws.check_access(websocket, self._gate, Scope.LISTEN)
            request = ListenRequest.from_query(
                websocket.query_params.multi_items(), max_channels=self._service.settings.server.max_channels
            )
            with self._service.session(request, session_id) as runner:
                goodbye = await self._converse(websocket, runner)
        except StreamingError as error:
            goodbye = await self._refuse(websocket, session_id, error)
        except Exception as error:  # noqa: BLE001 - one session's fault must not reach the server
            _LOG.error("session %s failed: %s", session_id, where(error))
            goodbye = self._broken.goodbye
        await ws.say_goodbye(websocket, goodbye)

    async def _refuse(self, websocket: WebSocket, session_id: str, error: StreamingError) -> ws.Goodbye:
        self._service.metrics.refused.labels(error.code).inc()
        if not isinstance(error, AuthorisationError):
            await ws.send_error(websocket, session_id, error)
        return ws.Goodbye.because(error)

    async def _converse(self, websocket: WebSocket, runner: SessionRunner) -> ws.Goodbye:
        with self._service.hub.subscribe(runner.session_id, after=0) as events:
            writing = asyncio.create_task(ws.forward(websocket, events))
            stopping = asyncio.create_task(self._service.stopping.wait())
            for task in (writing, stopping):  # neither waits for a recogniser that is behind
                task.add_done_callback(lambda _task: runner.stop_hearing())
            try:
                ending = await self._hear(websocket, runner, writing, stopping)
                await runner.close(ending.reason, patience_s=ending.patience_s)
                await asyncio.wait({writing}, timeout=ws.SEND_PATIENCE_S)
                return self._goodbye(ending, runner, events)
            finally:
                await ws.cancel(writing, stopping)
                if not runner.finished:
                    await runner.close("internal_error", patience_s=0)

    def _goodbye(self, ending: _Ending, runner: SessionRunner, events: Subscription) -> ws.Goodbye:
        if events.overflowed:
            return ws.Goodbye.because(events.too_slow)
        return self._broken.goodbye if runner.broken else ending.goodbye

    async def _hear(
        self,
        websocket: WebSocket,
        runner: SessionRunner,
        writing: asyncio.Task[None],
        stopping: asyncio.Task[bool],
    ) -> _Ending:
        """Hands audio and controls to the session until there is a reason to stop."""
        while True:
            receiving = asyncio.create_task(websocket.receive())
            try:
                await asyncio.wait(
                    {receiving, writing, stopping},
                    timeout=self._idle_timeout_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if writing.done():
                    return self._why_writing_ended(runner, writing)
                if stopping.done():
                    return self._stopping
                if not receiving.done():
                    return self._idle
                ending = await self._take(receiving.result(), runner)
            finally:
                if not receiving.done():
                    await ws.cancel(receiving)
            if ending is not None:
                return ending

    def _why_writing_ended(self, runner: SessionRunner, writing: asyncio.Task[None]) -> _Ending:
        error = writing.exception()
        if isinstance(error, SlowConsumerError):
            return self._too_slow
        return self._gone if error is None and not runner.broken else self._broken

    async def _take(self, message: AsgiMessage, runner: SessionRunner) -> _Ending | None:
        if message["type"] == "websocket.disconnect":
            if message.get("code") != ws.TOO_LARGE:
                return self._gone
            runner.report(
                MessageTooLargeError(f"a message is larger than {self._max_message_bytes} bytes: send it in pieces")
            )
            return self._too_large
        data = message.get("bytes")
        try:
            match read_message(message["text"] if data is None else data):
                case Audio(data=audio):
                    await runner.receive(audio)
                case Flush():
                    runner.flush()
                case KeepAlive():
                    pass
                case Close():
                    return self._done
        except ProtocolError as error:
            runner.report(error)
            return self._refused
        return None
