"""One stream of audio and its session, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from streaming.audio.sources import AudioFormat
from streaming.connection import Connection, NotConnectedError, may_recover, understood
from streaming.errors import ConnectionFailedError, ProtocolError, StreamingError, UnknownSessionError
from streaming.events import Event, SessionEnded, SessionResumed, SessionStarted
from streaming.inbox import Inbox
from streaming.outage import Pauses
from streaming.outgoing import Outgoing, Place
from streaming.unanswered import Unanswered

LISTEN_PATH: Final = "/v1/listen"
MESSAGE_S: Final = 1.0
"""Audio in one message at most, so that little of it waits unheard in the server."""
WAITING_EVENTS: Final = 1000
"""Events that wait for whoever iterates; with more of them, the server waits."""
ASK_EVERY_S: Final = 5.0
"""Audio between two questions whether it has arrived."""
_ROUNDING_S: Final = 0.001
"""Times in events are rounded to it."""
_SHUTDOWN: Final = "shutdown"


@dataclass(slots=True)
class LineSession:
    """What is known of a session."""

    started: SessionStarted
    """Less the token, which is for the client alone."""
    token: str | None
    begins: int
    """Where its clock begins, as a position in the stream."""
    unanswered: Unanswered
    further: bool
    """Whether it has got further than any session before; what a repeated one says again is no progress."""
    seq: int = 1
    announced: bool = False
    ended: SessionEnded | None = None


class Line(Connection):
    """Sends what is outgoing and receives into an inbox; its task is the only one that touches the socket.

    Args:
        url: such as `ws://127.0.0.1:8765`; the path may be left out.
        audio: what will be sent.
        query: of a new session.
        token: sent in the `Authorization` header.
        reconnect_s: how long a broken connection is tried again; 0 for not at all.
        pauses: between attempts.
    """

    def __init__(
        self,
        url: str,
        audio: AudioFormat,
        query: dict[str, str],
        token: str | None,
        *,
        reconnect_s: float,
        pauses: Pauses,
    ) -> None:
        super().__init__(url, LISTEN_PATH, query, token, reconnect_s=reconnect_s, pauses=pauses)
        self._audio: Final = audio
        self._frame_bytes: Final = audio.bytes_per_s // audio.rate_hz
        self._outgoing: Final = Outgoing(audio)
        self._inbox: Final = Inbox[tuple[Event, LineSession]](WAITING_EVENTS)
        self._current: LineSession | None = None
        self._handed = self._outgoing.place
        self._furthest = 0
        """Position of the last audio that any session is known to have heard."""
        self._wants_keepalive = False
        self._work: Final = asyncio.Event()
        self._moved: Final = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._over = False
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        self._opened, self._current = await self._new_session(begins=0)
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await super().__aexit__(kind, error, trace)

    @property
    def _session(self) -> LineSession:
        if self._current is None:
            raise NotConnectedError
        return self._current

    @property
    def _message_bytes(self) -> int:
        """Audio in one message, at most."""
        return min(self._session.started.limits.max_message_bytes, self._bytes(MESSAGE_S))

    def _require_entered(self) -> None:
        if self._current is None:
            raise NotConnectedError

    def _require_open(self) -> None:
        self._require_entered()
        if self._over:
            raise self._failure or ConnectionFailedError(f"{self._url} has ended the session: no audio is taken")

    async def _until_handed(self, place: Place) -> None:
        self._work.set()
        await self._until(lambda: self._handed.covers(place))

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            self._require_open()
            self._moved.clear()
            await self._moved.wait()

    async def _run(self) -> None:
        """Serves connection after connection until it is over."""
        try:
            while (loss := await self._serve(self._socket, self._session)) is not None:
                await self._come_back(loss, self._connect_again)
        except Exception as error:  # noqa: BLE001 - raised from sending and from iteration
            self._failure = error
        finally:
            self._over = True
            self._inbox.close(self._failure)
            self._moved.set()

    async def _serve(self, socket: ClientConnection, session: LineSession) -> StreamingError | None:
        """Serves one connection.

        Returns:
            What it broke of, if the conversation is to go on in another.
        """
        reading = asyncio.create_task(self._read(socket, session))
        writing = asyncio.create_task(self._write(socket))
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
            closed = await reading  # it knows best why, and has what came before
        finally:
            for task in (reading, writing):
                task.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)
        return self._judge(closed, session)

    async def _read(self, socket: ClientConnection, session: LineSession) -> ConnectionClosed:
        if not session.announced:
            session.announced = True
            await self._inbox.put((session.started, session))
        while True:
            try:
                event = understood(await socket.recv())
            except ConnectionClosed as closed:
                return closed
            self._note(event, session)
            await self._inbox.put((event, session))

    def _note(self, event: Event, session: LineSession) -> None:
        session.seq = max(session.seq, event.seq)
        session.unanswered.take(event)
        if isinstance(event, SessionEnded):
            session.ended = event
        heard = session.begins + self._bytes(session.unanswered.clock_s)
        session.further = session.further or heard > self._furthest
        self._furthest = max(self._furthest, heard)
        if session.further:
            self._outage.over()
        self._outgoing.forget(self._restart(session))

    async def _write(self, socket: ClientConnection) -> None:
        asked = self._handed.position
        try:
            while True:
                if self._wants_keepalive:
                    await socket.send(_control("keepalive"))
                    self._wants_keepalive = False
                elif (piece := self._outgoing.take(self._message_bytes)) is not None:
                    await socket.send(piece if isinstance(piece, bytes) else _control(piece))
                    self._handed = self._outgoing.place
                else:
                    self._work.clear()
                    await self._work.wait()
                    continue
                self._moved.set()
                position = self._handed.position
                if position - asked >= self._bytes(ASK_EVERY_S):
                    asked = position
                    pong = asyncio.ensure_future(await socket.ping())
                    pong.add_done_callback(partial(self._arrived, socket, position))
        except ConnectionClosed:
            return

    def _arrived(self, socket: ClientConnection, position: int, pong: asyncio.Future[float]) -> None:
        if socket is self._opened and not pong.cancelled() and pong.exception() is None:
            self._outgoing.heard(position)
            self._work.set()

    def _judge(self, closed: ConnectionClosed, session: LineSession) -> StreamingError | None:
        """What to make of a close: None for an end in order, an error to recover from; else it is raised."""
        error, tries = self._explain(closed), bool(self._outage.patience_s)
        if session.ended is not None:
            unheard_s = self._unheard_s(session, session.ended)
            if session.ended.reason == _SHUTDOWN and unheard_s > _ROUNDING_S and tries:
                return ConnectionFailedError(f"{self._url} was stopped and left {unheard_s:.1f} s of audio unheard")
            if error is None or closed.rcvd is None:
                return None
            raise error
        if may_recover(closed) and tries:
            return error or ConnectionFailedError(f"the connection to {self._url} was lost: the server goes away")
        if error is None:
            return None
        raise error

    def _unheard_s(self, session: LineSession, ended: SessionEnded) -> float:
        return (self._outgoing.end - session.begins) / self._audio.bytes_per_s - ended.totals.audio_s

    async def _connect_again(self) -> str:
        """Takes the session up, or begins a new one; says which."""
        session = self._session
        if session.token is not None and session.ended is None:
            try:
                await self._resume(session, session.token)
            except UnknownSessionError:
                session.token = None
            else:
                return "the session goes on"
        begins = self._new_beginning(session)
        self._opened, self._current = await self._new_session(begins)
        self._outgoing.rewind(begins)
        self._handed = self._outgoing.place
        return f"a new session begins at {begins / self._audio.bytes_per_s:.1f} s of the audio"

    async def _resume(self, session: LineSession, token: str) -> None:
        socket, first = await self._greet(self._with_query({"resume": token, "after": str(session.seq)}))
        try:
            if not isinstance(first, SessionResumed):
                raise ProtocolError(f"the server went on with '{first.type}' and not with 'session.resumed'")
            self._outgoing.rewind(session.begins + first.received_samples * self._frame_bytes)
        except StreamingError:
            socket.transport.abort()
            raise
        self._opened = socket
        self._handed = self._outgoing.place
        if self._handed.position > self._furthest:
            self._furthest = self._handed.position
            self._outage.over()

    async def _new_session(self, begins: int) -> tuple[ClientConnection, LineSession]:
        socket, first = await self._greet(self._address)
        if not isinstance(first, SessionStarted):
            socket.transport.abort()
            raise ProtocolError(f"the server began with '{first.type}' and not with 'session.started'")
        token = first.resume.token if first.resume else None
        started = first.model_copy(update={"resume": None})
        unanswered = Unanswered(self._audio.channels)
        return socket, LineSession(started, token, begins, unanswered, further=self._current is None)

    def _restart(self, session: LineSession) -> int:
        return session.begins + self._bytes(session.unanswered.restart_s - _ROUNDING_S)

    def _new_beginning(self, session: LineSession) -> int:
        """Where a new session has to begin.

        Raises:
            AudioLostError: something was being said there, and the audio is not kept any more.
        """
        announced_s = session.unanswered.announced_s
        if announced_s is not None:
            needed = session.begins + self._bytes(announced_s - _ROUNDING_S)
            if needed < self._outgoing.start:
                self._outgoing.rewind(needed)
        return max(self._restart(session), self._outgoing.start)

    def _bytes(self, seconds: float) -> int:
        """Whole samples of every channel within so much time."""
        return max(0, int(seconds * self._audio.rate_hz)) * self._frame_bytes


def _control(kind: str) -> str:
    return json.dumps({"type": kind})
