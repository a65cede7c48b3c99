"""The endpoint `/v1/listen`: one connection, one session."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from starlette.types import Message as AsgiMessage
from starlette.websockets import WebSocket

from streaming.auth import Gate
from streaming.errors import AuthorisationError, ProtocolError, SlowConsumerError, StreamingError
from streaming.events import Event, SessionStarted
from streaming.faults import where
from streaming.live_sessions import DISCONNECTED, SHUTDOWN, EndedSession, LiveSession
from streaming.protocols import conversation as ws
from streaming.protocols.native import Audio, Close, Flush, KeepAlive, ResumeRequest, read_message, read_query
from streaming.runner import SessionRunner
from streaming.service import LiveService, new_session_id
from streaming.subscription import Subscription
from streaming.tokens import Scope

_LOG: Final = logging.getLogger(__name__)
_LEFT: Final = (1000, 1001, 1005)
"""Close codes of a client that means to go: done, leaving the page, and none given."""


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
    resumable: bool = False
    """Whether the session waits for its client to come back."""


class ListenEndpoint:
    """Takes audio and answers with events on the same socket."""

    def __init__(self, service: LiveService, gate: Gate) -> None:
        self._service = service
        self._gate = gate
        server = service.settings.server
        self._idle_timeout_s = server.idle_timeout_s
        self._max_message_bytes = server.max_message_bytes
        usual_s, shutdown_s = service.patience.usual_s, service.patience.shutdown_s
        gone = ws.Goodbye(ws.DONE, "disconnected")
        self._done = _Ending("client_close", ws.Goodbye(ws.DONE, "done"), None)
        self._idle = _Ending("idle_timeout", ws.Goodbye(ws.DONE, "idle for too long"), None)
        self._refused = _Ending("protocol_error", ws.Goodbye(ws.REFUSED, "protocol: see the error event"), None)
        self._gone = _Ending(DISCONNECTED, gone, usual_s)
        self._lost = _Ending(DISCONNECTED, gone, usual_s, resumable=True)
        self._superseded = _Ending(
            DISCONNECTED, ws.Goodbye(ws.DONE, "the session goes on in another connection"), usual_s, resumable=True
        )
        self._too_large = _Ending("message_too_large", ws.Goodbye(ws.TOO_LARGE, "message too large"), usual_s)
        self._too_slow = _Ending("slow_consumer", ws.Goodbye(ws.TRY_LATER, "too slow"), usual_s, resumable=True)
        self._broken = _Ending("internal_error", ws.Goodbye(ws.BROKEN, "internal error"), usual_s)
        self._fault = replace(self._broken, patience_s=0)
        self._stopping = _Ending(SHUTDOWN, ws.Goodbye(ws.GOING_AWAY, "the server is stopping"), shutdown_s)

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
            goodbye = self._broken.goodbye
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
        return self._done.goodbye

    async def _converse(self, websocket: WebSocket, live: LiveSession, after: int) -> ws.Goodbye:
        runner, ending = live.runner, self._fault
        try:
            with self._service.hub.subscribe(runner.session_id, after=after) as events:
                if after:
                    await ws.send_event(websocket, runner.resumed_after(after))
                ending, goodbye = await self._follow(websocket, live, events)
                return goodbye
        finally:
            # Last of all: from here on the session may be another connection's.
            if not (ending.resumable and self._service.sessions.park(live)):
                await runner.close(ending.reason, patience_s=ending.patience_s)
                self._service.sessions.leave(live, told=ending is not self._done)

    async def _follow(
        self, websocket: WebSocket, live: LiveSession, events: Subscription
    ) -> tuple[_Ending, ws.Goodbye]:
        """Serves the session's connection for as long as there is one, and says how it went."""
        runner = live.runner
        writing = asyncio.create_task(ws.forward(websocket, events, own=partial(_with_token, live)))
        stopping = asyncio.create_task(self._service.stopping.wait())
        superseded = asyncio.create_task(live.superseded.wait())
        writing.add_done_callback(partial(_after_writing, runner))
        for task in (stopping, superseded):  # neither waits for a recogniser that is behind
            task.add_done_callback(lambda _task: runner.stop_hearing())
        try:
            ending = await self._hear(websocket, runner, writing, stopping, superseded)
            if not (ending.resumable and self._service.sessions.waits_for(live)):
                await runner.close(ending.reason, patience_s=ending.patience_s)
                await asyncio.wait({writing}, timeout=ws.SEND_PATIENCE_S)
            return ending, self._goodbye(ending, runner, events)
        finally:
            await ws.cancel(writing, stopping, superseded)

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
        superseded: asyncio.Task[bool],
    ) -> _Ending:
        """Hands audio and controls to the session until there is a reason to stop."""
        waited: set[asyncio.Task[Any]] = {writing, stopping, superseded}
        while True:
            receiving = asyncio.create_task(websocket.receive())
            try:
                while not receiving.done():
                    done, _ = await asyncio.wait(
                        {receiving, *waited}, timeout=self._idle_timeout_s, return_when=asyncio.FIRST_COMPLETED
                    )
                    if stopping.done():
                        return self._stopping
                    if superseded.done():
                        return self._superseded
                    if not done:
                        return self._idle
                    if writing in done:
                        waited.remove(writing)
                        ending = self._why_writing_ended(runner, writing)
                        if ending is not None:
                            return ending
                ending = await self._take(receiving.result(), runner)
            finally:
                if not receiving.done():
                    await ws.cancel(receiving)
            if ending is not None:
                return ending

    def _why_writing_ended(self, runner: SessionRunner, writing: asyncio.Task[None]) -> _Ending | None:
        """None where the peer is gone: what it sent before is still to be read, and at its end how it went."""
        error = writing.exception()
        if isinstance(error, SlowConsumerError):
            return self._too_slow
        if error is not None or runner.broken:
            return self._broken
        return self._gone if runner.finished else None

    async def _take(self, message: AsgiMessage, runner: SessionRunner) -> _Ending | None:
        if message["type"] == "websocket.disconnect":
            if message.get("code") in _LEFT:
                return self._gone
            if message.get("code") != ws.TOO_LARGE:
                return self._lost
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


async def _until_gone(websocket: WebSocket) -> None:
    """Reads what nobody needs any more."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


def _after_writing(runner: SessionRunner, writing: asyncio.Task[None]) -> None:
    """Hears no more, unless all that happened is that the peer went: what it sent before still counts."""
    if runner.finished or writing.cancelled() or writing.exception() is not None:
        runner.stop_hearing()


def _with_token(live: LiveSession, event: Event) -> Event:
    """Whoever sends the audio is told how to take the session up again, and nobody else."""
    if isinstance(event, SessionStarted) and live.resume is not None:
        return event.model_copy(update={"resume": live.resume})
    return event
