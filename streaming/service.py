"""The live runtime without a socket: recogniser, batcher, hub, sinks and the sessions on them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from streaming.audio.vad import VoiceActivityDetector, make_vad
from streaming.config import Settings, VadSettings
from streaming.errors import CapacityError, ServerError, StreamingError
from streaming.faults import where
from streaming.hub import EventHub
from streaming.live_sessions import EndedSession, LiveSession, LiveSessions, Patience
from streaming.metrics import MeasuredRecognizer, Metrics
from streaming.pace import AudioPace
from streaming.protocols.dialect import ListenRequest
from streaming.recognition.batcher import Batcher
from streaming.runner import SessionRunner
from streaming.session import Session
from streaming.sinks.base import Sink

if TYPE_CHECKING:
    from streaming.recognition.recognizer import Recognizer

_LOG: Final = logging.getLogger(__name__)
_SESSION_ID_BYTES: Final = 8
_GRACE_SHARE: Final = 0.8
"""Of the time a stopping server has, what finals may take; the rest is for sending them."""
_STOPPING: Final = "the server is stopping: connect to another, or try again later"


def new_session_id() -> str:
    """A name no other session has, and that nobody can guess."""
    return secrets.token_hex(_SESSION_ID_BYTES)


class LiveService:
    """Owns everything sessions share, and decides whether there is room for one more."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Recognizer],
        *,
        sinks: Sequence[Sink] = (),
        clock: Callable[[], float] = time.monotonic,
        vad: Callable[[VadSettings], VoiceActivityDetector] = make_vad,
    ) -> None:
        """Starts nothing yet.

        Args:
            settings: all of them.
            load: makes the recogniser; called once, on a worker thread, because it takes its time.
            sinks: take all events for as long as the service runs.
            clock: seconds, never going back.
            vad: makes a session's voice activity detectors.
        """
        self.settings: Final = settings
        self.metrics: Final = Metrics()
        self.hub: Final = EventHub(
            event_buffer=settings.server.event_buffer,
            subscriber_queue=settings.server.subscriber_queue,
            ended_sessions=settings.server.max_sessions,
            on_drop=self.metrics.observe_dropped,
        )
        self.stopping: Final = asyncio.Event()
        """Set once no session is taken any more."""
        grace_s = settings.server.shutdown_grace_s
        self.patience: Final = Patience(usual_s=settings.server.idle_timeout_s, shutdown_s=_GRACE_SHARE * grace_s)
        """With finals that nobody waits for on a socket; subscribers may, but not for ever."""
        self.sessions: Final = LiveSessions(
            limit=settings.server.max_sessions,
            resume_s=settings.server.resume_s,
            patience=self.patience,
            stopping=self.stopping,
            on_change=self._count_sessions,
        )
        self._load = load
        self._clock = clock
        self._vad = vad
        self._sinks = sinks
        self._sink_tasks: list[asyncio.Task[None]] = []
        self._loading: asyncio.Task[None] | None = None
        self._recognizer: Recognizer | None = None
        self._batcher: Batcher | None = None

    @property
    def ready(self) -> bool:
        """Whether sessions can be served at full speed."""
        return self._batcher is not None and not self.stopping.is_set()

    @property
    def idle(self) -> bool:
        """Whether nothing is to be recognised at the moment."""
        return self._batcher is None or self._batcher.idle

    def start(self) -> None:
        """Starts the sinks, and begins to load and warm up the recogniser."""
        for sink in self._sinks:
            sink.attach(self.hub)
            self._sink_tasks.append(asyncio.create_task(self._run_sink(sink)))
        self._loading = asyncio.create_task(self._warm_up())

    async def warm(self) -> None:
        """Waits until the service is ready.

        Raises:
            StreamingError: the recogniser could not be loaded; so does whatever else `load` raises.
            ServerError: `start` was not called.
        """
        if self._loading is None:
            raise ServerError("the service was not started: call start() first")
        await asyncio.shield(self._loading)

    async def _warm_up(self) -> None:
        recognizer = MeasuredRecognizer(await asyncio.to_thread(self._load), self.metrics)
        await asyncio.to_thread(recognizer.warm_up)
        batcher = Batcher(recognizer, self.settings.batcher, clock=self._clock, interim_s=self.settings.asr.interim_s)
        await batcher.start()
        self._recognizer, self._batcher = recognizer, batcher
        loop = asyncio.get_running_loop()
        self.metrics.watch(
            queue_depth=lambda: batcher.depth,
            subscribers=lambda: self.hub.subscribers,
            parked=lambda: self.sessions.parked,
            tasks=lambda: len(asyncio.all_tasks(loop)),
            step=lambda: batcher.step,
            finals_load=lambda: batcher.load.finals,
            interims_load=lambda: batcher.load.interims,
        )

    async def _run_sink(self, sink: Sink) -> None:
        try:
            await sink.run()
        except StreamingError as error:
            _LOG.error("%s stopped: %s", type(sink).__name__, error)
        except Exception as error:  # noqa: BLE001 - a sink's trouble is its own
            _LOG.error("%s stopped by a fault: %s", type(sink).__name__, where(error))

    def open_session(self, request: ListenRequest, session_id: str) -> LiveSession:
        """A started session in a place of its own.

        Whoever opened it hands it back in the end, to `sessions.park` or `sessions.leave`.

        Raises:
            CapacityError: all places are taken, one more would make the finals of all others late, or the service is
                warming up or stopping.
            StreamingError: the session cannot be as requested.
        """
        if self.stopping.is_set():
            raise CapacityError(_STOPPING)
        if self._recognizer is None or self._batcher is None:
            raise CapacityError("the server is warming up: try again in a few seconds")
        self.sessions.check_room()
        self._batcher.check_room(len(self.sessions))
        session = Session(
            session_id,
            self.settings,
            request.audio,
            request.roles,
            language=request.language,
            interim=request.interim,
            model=self._recognizer.model,
            vad=self._vad,
        )
        server = self.settings.server
        runner = SessionRunner(
            session,
            self._batcher,
            self.hub,
            audio=request.audio,
            metrics=self.metrics,
            clock=self._clock,
            pace=AudioPace(server.max_speed, server.burst_s),
            refuses_haste=server.too_fast == "refuse",
        )
        live = self.sessions.enter(runner)
        runner.start()
        return live

    def _count_sessions(self, sessions: int) -> None:
        if self._batcher is not None:
            self._batcher.session_count(sessions)

    async def resume_session(self, token: str) -> LiveSession | EndedSession:
        """A session whose connection broke, handed to another; to be handed back like one that was opened.

        Returns:
            Of one that its client closed and that has ended since, what is left; nothing is handed back.

        Raises:
            CapacityError: the service is stopping, or the session's old connection does not let go.
            UnknownSessionError: there is none with this token, or not any more.
        """
        if self.stopping.is_set():
            raise CapacityError(_STOPPING)
        live = await self.sessions.take_over(token)
        self.metrics.sessions_resumed.inc()
        return live

    async def drain(self) -> None:
        """Takes no more sessions, lets the open ones finish within `[server] shutdown_grace_s`, then ends all else.

        Whoever holds a session watches `stopping` and closes it.
        """
        self.stopping.set()
        grace_s = self.settings.server.shutdown_grace_s
        deadline_s = self._clock() + grace_s
        try:
            async with asyncio.timeout(grace_s):
                await self.sessions.wait_empty()
        except TimeoutError:
            _LOG.warning("not every session finished within %g s: %d still hold a place", grace_s, len(self.sessions))
            await self.sessions.aclose()
        self.hub.close()
        if self._sink_tasks:
            _, late = await asyncio.wait(self._sink_tasks, timeout=max(0.0, deadline_s - self._clock()))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        if self._batcher is not None:
            await self._batcher.aclose(timeout_s=max(0.0, deadline_s - self._clock()))
