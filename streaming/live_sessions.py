"""The sessions that are open, and which connection holds each: a session outlives a connection that broke.

A session whose connection is lost keeps its place for `[server] resume_s`. Whoever shows its token within that time
goes on where the audio broke off; after it the session ends as if the client had left. A server that is full gives the
place of the session that has waited longest to a new one. The last words of a session that its client closed can be
asked for during the same time after its end, since the connection may have broken just then.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from streaming.errors import CapacityError, UnknownSessionError
from streaming.events import ResumeInfo, SessionResumed
from streaming.runner import SessionRunner

_TOKEN_BYTES: Final = 24
_LET_GO_S: Final = 5.0
"""How long a connection may take to notice that another has taken its session."""
DISCONNECTED: Final = "disconnected"
SHUTDOWN: Final = "shutdown"


class _Hold(Enum):
    CONNECTED = auto()
    PARKED = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long finals may take once a session's connection is gone, in seconds."""

    usual_s: float
    shutdown_s: float
    """While the server stops."""


class LiveSession:
    """A session in its place, with a connection or waiting for one."""

    def __init__(self, runner: SessionRunner, resume: ResumeInfo | None) -> None:
        """Use `LiveSessions.enter`."""
        self.runner: Final = runner
        self.resume: Final = resume
        """What takes it up again; for its owner's eyes alone. None where sessions end with their connection."""
        self.superseded: Final = asyncio.Event()
        """Set once another connection asks for the session: the one that holds it lets go."""
        self.hold = _Hold.CONNECTED
        self.let_go: Final = asyncio.Event()
        self.waiting: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class EndedSession:
    """What is left of a session that its client closed."""

    session_id: str
    resumed: SessionResumed
    """As it would have been taken up, from its first event on."""


class LiveSessions:
    """All sessions that are open. Its methods belong to the event loop's thread.

    Every session that entered is in the end either parked or left by the connection that holds it.
    """

    def __init__(
        self,
        *,
        limit: int,
        resume_s: float,
        patience: Patience,
        stopping: asyncio.Event,
        on_change: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """Nobody is in yet.

        Args:
            limit: sessions at once, parked ones included.
            resume_s: how long a parked session waits; 0 where none does.
            patience: with the finals of a parked session that ends.
            stopping: once set, parked sessions end and none is parked any more.
            on_change: told how many places are taken, whenever that changes.
        """
        self._limit = limit
        self._resume_s = resume_s
        self._patience = patience
        self._stopping = stopping
        self._on_change = on_change
        self._by_token: dict[str, LiveSession] = {}
        self._parked: OrderedDict[str, LiveSession] = OrderedDict()
        self._last_words: OrderedDict[str, EndedSession] = OrderedDict()
        self._inside: set[LiveSession] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        """Places that are taken."""
        return len(self._inside)

    @property
    def parked(self) -> int:
        """Sessions that wait for a connection."""
        return len(self._parked)

    def check_room(self) -> None:
        """Returns if there is a place, or one that a parked session would give up.

        Raises:
            CapacityError: all are taken by sessions with a connection.
        """
        if len(self._inside) >= self._limit and not self._parked:
            raise CapacityError(
                f"all {self._limit} sessions are taken: try again later, or raise [server] max_sessions"
            )

    def enter(self, runner: SessionRunner) -> LiveSession:
        """Takes a place for a session whose connection is there.

        Raises:
            CapacityError: see `check_room`.
        """
        self.check_room()
        if len(self._inside) >= self._limit:
            self._end_soon(next(iter(self._parked.values())), DISCONNECTED, self._patience.usual_s)
        resume = None
        if self._resume_s:
            resume = ResumeInfo(token=secrets.token_urlsafe(_TOKEN_BYTES), within_s=self._resume_s)
        live = LiveSession(runner, resume)
        if resume is not None:
            self._by_token[_digest(resume.token)] = live
        self._inside.add(live)
        self._on_change(len(self._inside))
        self._empty.clear()
        return live

    async def take_over(self, token: str) -> LiveSession | EndedSession:
        """Gives a session to a new connection, parked or still held by an old one, which is told to let go.

        Returns:
            Of one that its client closed and that has ended since, what is left.

        Raises:
            UnknownSessionError: no session can be taken up with this token, or not any more.
            CapacityError: the connection that holds it does not let go.
        """
        live = self._by_token.get(_digest(token))
        if live is not None and live.hold is _Hold.CONNECTED:
            live.superseded.set()
            try:
                async with asyncio.timeout(_LET_GO_S):
                    await live.let_go.wait()
            except TimeoutError:
                raise CapacityError("the session's other connection does not let go: try again in a moment") from None
        ended = self._last_words.get(_digest(token))
        if ended is not None:
            return ended
        # Of several that ask for it at once, the first has it, and the others find it held again.
        if live is None or live.hold is not _Hold.PARKED or live.runner.finished:
            raise UnknownSessionError(
                "there is no session to take up again: its time is over, it has ended, or it is somebody else's by now"
            )
        self._unpark(live)
        live.hold = _Hold.CONNECTED
        live.superseded.clear()
        live.let_go.clear()
        live.runner.hear_again()
        return live

    def waits_for(self, live: LiveSession) -> bool:
        """Whether a session without a connection would be kept for another."""
        return live.resume is not None and not live.runner.finished and not self._stopping.is_set()

    def park(self, live: LiveSession) -> bool:
        """The connection is gone, the session waits for another.

        Returns:
            False where it cannot, so that the caller has to end it and to `leave`.
        """
        if not self.waits_for(live):
            return False
        live.runner.interrupt()
        live.hold = _Hold.PARKED
        live.waiting = asyncio.create_task(self._wait(live))
        self._parked[live.runner.session_id] = live
        live.let_go.set()
        return True

    def leave(self, live: LiveSession, *, told: bool = True) -> None:
        """The session is over, its place is free.

        Args:
            live: the session.
            told: False where its client waits for its end, and may not have got it.
        """
        live.hold = _Hold.OVER
        live.let_go.set()
        if live.resume is not None:
            digest = _digest(live.resume.token)
            self._by_token.pop(digest, None)
            if not told:
                self._keep_end(digest, EndedSession(live.runner.session_id, live.runner.resumed_after(1)))
        self._inside.discard(live)
        self._on_change(len(self._inside))
        if not self._inside and not self._ending:
            self._empty.set()

    async def wait_empty(self) -> None:
        """Returns once no session is open."""
        await self._empty.wait()

    async def aclose(self) -> None:
        """Stops waiting for sessions that end; their finals are lost."""
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _keep_end(self, digest: str, ended: EndedSession) -> None:
        self._last_words[digest] = ended
        if len(self._last_words) > self._limit:
            self._last_words.popitem(last=False)
        asyncio.get_running_loop().call_later(self._resume_s, self._last_words.pop, digest, None)

    async def _wait(self, live: LiveSession) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait({stopping}, timeout=self._resume_s)
        finally:
            stopping.cancel()
        if done:
            self._end_soon(live, SHUTDOWN, self._patience.shutdown_s)
        else:
            self._end_soon(live, DISCONNECTED, self._patience.usual_s)

    def _end_soon(self, live: LiveSession, reason: str, patience_s: float) -> None:
        self._unpark(live)
        task = asyncio.create_task(live.runner.close(reason, patience_s=patience_s))
        self._ending.add(task)
        task.add_done_callback(self._ended)
        self.leave(live)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not self._inside and not self._ending:
            self._empty.set()

    def _unpark(self, live: LiveSession) -> None:
        del self._parked[live.runner.session_id]
        if live.waiting is not None and live.waiting is not asyncio.current_task():
            live.waiting.cancel()
        live.waiting = None


def _digest(token: str) -> str:
    """What tokens are looked up by, so that the time it takes tells nothing of those that are known."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
