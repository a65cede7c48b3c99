"""A session's conversation over a connection, in any dialect: audio in, events out, and an end for every reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from starlette.types import Message as AsgiMessage

from streaming.errors import ProtocolError, SlowConsumerError
from streaming.live_sessions import DISCONNECTED, SHUTDOWN, LiveSession
from streaming.protocols import conversation as ws
from streaming.protocols.dialect import Audio, Begin, Close, Dialect, Flush, KeepAlive, Mark, Notice, Reply, Step
from streaming.protocols.gathering import Gathering
from streaming.protocols.reading import read_later
from streaming.protocols.waiting import Interruptible
from streaming.protocols.wire import Wire
from streaming.runner import SessionRunner
from streaming.service import LiveService
from streaming.subscription import Subscription

_LEFT: Final = (1000, 1001, 1005)
"""Close codes of a client that means to go: done, leaving the page, and none given."""
_MESSAGES_A_TURN: Final = 8
"""Messages that are read one after another, where they are there already, before others get their turn on the loop."""


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


@dataclass(frozen=True, slots=True)
class _Line:
    """A connection, who listens at its end, and audio on its way from one to the other."""

    wire: Wire
    dialect: Dialect
    runner: SessionRunner
    gathering: Gathering

    async def hand_on(self) -> None:
        """Hears what was gathered; where it came in short pieces, the next are left to gather on the line.

        Raises:
            TooFastError: it comes too fast.
        """
        audio, came_s, rest_s = self.gathering.take(self.runner.now_s)
        if audio:
            read_later(self.wire, rest_s)
            await self.runner.receive(audio, came_s)


class Hearing:
    """Serves sessions on connections that were let in."""

    def __init__(self, service: LiveService) -> None:
        """Prepares every way a conversation may end.

        Args:
            service: whose sessions they are.
        """
        self._service = service
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

    @property
    def broken(self) -> ws.Goodbye:
        """How a connection ends that a fault of the server has ended."""
        return self._broken.goodbye

    @property
    def done(self) -> ws.Goodbye:
        """How it ends in order."""
        return self._done.goodbye

    async def converse(
        self,
        wire: Wire,
        live: LiveSession,
        dialect: Dialect,
        *,
        after: int = 0,
        resumable: bool = False,
        said: Sequence[Step] = (),
    ) -> ws.Goodbye:
        """Serves a session from here to the end of the connection, and hands it back.

        Args:
            wire: accepted.
            live: held by this connection.
            dialect: of the peer.
            after: `seq` of the last event it has; 0 for a new session.
            resumable: whether the session waits for its client when the connection breaks.
            said: what the peer has said already, beside what the session was opened for.
        """
        runner, ending = live.runner, self._fault
        try:
            with self._service.hub.subscribe(runner.session_id, after=after) as events:
                if after:
                    await ws.send_event(wire, runner.resumed_after(after))
                ending, goodbye = await self._follow(wire, live, dialect, events, said, resumable=resumable)
                return goodbye
        finally:
            # Last of all: from here on the session may be another connection's.
            if not (resumable and ending.resumable and self._service.sessions.park(live)):
                await runner.close(ending.reason, patience_s=ending.patience_s)
                self._service.sessions.leave(live, told=ending is not self._done)

    async def _follow(
        self,
        wire: Wire,
        live: LiveSession,
        dialect: Dialect,
        events: Subscription,
        said: Sequence[Step],
        *,
        resumable: bool,
    ) -> tuple[_Ending, ws.Goodbye]:
        """Serves the session's connection for as long as there is one, and says how it went."""
        runner = live.runner
        writing = asyncio.create_task(ws.forward(wire, events, dialect.tell))
        stopping = asyncio.create_task(self._service.stopping.wait())
        superseded = asyncio.create_task(live.superseded.wait())
        writing.add_done_callback(partial(_after_writing, runner))
        for task in (stopping, superseded):  # neither waits for a recogniser that is behind
            task.add_done_callback(lambda _task: runner.stop_hearing())
        try:
            line = _Line(wire, dialect, runner, Gathering(runner.bytes_per_s))
            ending = await self._refusing(line, self._act(line, said))
            ending = ending or await self._hear(line, writing, stopping, superseded)
            if not (resumable and ending.resumable and self._service.sessions.waits_for(live)):
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
        line: _Line,
        writing: asyncio.Task[None],
        stopping: asyncio.Task[bool],
        superseded: asyncio.Task[bool],
    ) -> _Ending:
        """Hands audio and controls to the session until there is a reason to stop."""
        waiting = Interruptible((writing, stopping, superseded))
        written, messages = False, 0
        while True:
            if stopping.done():
                return self._stopping
            if superseded.done():
                return self._superseded
            if writing.done() and not written:
                written = True
                ending = self._why_writing_ended(line.runner, writing)
                if ending is not None:
                    return ending
            ending = await self._refusing(line, self._hear_next(line, waiting))
            if ending is not None:
                return ending
            messages += 1
            if messages % _MESSAGES_A_TURN == 0:
                await asyncio.sleep(0)

    async def _refusing(self, line: _Line, hearing: Awaitable[_Ending | None]) -> _Ending | None:
        """What comes of something that was heard; an end where the protocol forbids it."""
        try:
            return await hearing
        except ProtocolError as error:
            line.runner.report(error)
            return self._refused

    async def _hear_next(self, line: _Line, waiting: Interruptible) -> _Ending | None:
        """Takes one message, or hands on what has waited for one; neither where something happens meanwhile."""
        left_s = line.gathering.left_s(line.runner.now_s)
        try:
            message = await waiting.wait(line.wire.receive, self._idle_timeout_s if left_s is None else left_s)
        except TimeoutError:
            if left_s is None:
                return self._idle
            await line.hand_on()
            return None
        return None if message is None else await self._take(line, message)

    def _why_writing_ended(self, runner: SessionRunner, writing: asyncio.Task[None]) -> _Ending | None:
        """None where the peer is gone: what it sent before is still to be read, and at its end how it went."""
        error = writing.exception()
        if isinstance(error, SlowConsumerError):
            return self._too_slow
        if error is not None or runner.broken:
            return self._broken
        return self._gone if runner.finished else None

    async def _take(self, line: _Line, message: AsgiMessage) -> _Ending | None:
        if message["type"] == "websocket.disconnect":
            await line.hand_on()
            return self._why_left(line.runner, message.get("code"))
        data = message.get("bytes")
        try:
            steps = line.dialect.read(message["text"] if data is None else data)
        except ProtocolError:
            await line.hand_on()  # what was said before it counts
            raise
        return await self._act(line, steps)

    def _why_left(self, runner: SessionRunner, code: int | None) -> _Ending:
        if code in _LEFT:
            return self._gone
        if code != ws.TOO_LARGE:
            return self._lost
        runner.report(
            MessageTooLargeError(f"a message is larger than {self._max_message_bytes} bytes: send it in pieces")
        )
        return self._too_large

    async def _act(self, line: _Line, steps: Sequence[Step]) -> _Ending | None:
        for step in steps:
            if isinstance(step, Audio):
                if line.gathering.add(step.data, line.runner.now_s):
                    await line.hand_on()
                continue
            await line.hand_on()
            match step:
                case Flush():
                    line.runner.flush()
                case Notice(error=error):
                    line.runner.report(error)
                case Reply(message=message):
                    await ws.send_in_time(line.wire, message)
                case Mark(answer=answer):
                    for message in answer(line.runner.last_seq):
                        await ws.send_in_time(line.wire, message)
                case KeepAlive():
                    pass
                case Begin():
                    raise ProtocolError("the session has begun already: open another connection for another")
                case Close():
                    return self._done
        return None


def _after_writing(runner: SessionRunner, writing: asyncio.Task[None]) -> None:
    """Hears no more, unless all that happened is that the peer went: what it sent before still counts."""
    if runner.finished or writing.cancelled() or writing.exception() is not None:
        runner.stop_hearing()
