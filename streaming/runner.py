"""Runs one pure `Session` on the event loop: audio in, requests to the batcher, events to the hub."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from streaming.actions import Action, Discard, Emit, Promote, Submit
from streaming.audio.sources import AudioFormat
from streaming.errors import StreamingError, TooFastError
from streaming.events import SessionResumed
from streaming.faults import where
from streaming.hub import EventHub
from streaming.metrics import Metrics
from streaming.pace import UNLIMITED, AudioPace
from streaming.recognition.batcher import Batcher
from streaming.recognition.degradation import Degradation
from streaming.recognition.request import RecognitionOutcome, RecognitionShed, RequestKind
from streaming.session import Session

_LOG: Final = logging.getLogger(__name__)
PIECE_S: Final = 0.5
"""Audio heard in one go before other sessions get their turn on the loop."""
MAX_OUTSTANDING: Final = 16
"""Unanswered finals of one session above which it is given no more audio: a file sent faster than it can be recognised
waits in its own socket."""
LAG_NOTICE_S: Final = 2.0
"""Age of the oldest unanswered final from which the client is told that results lag; told again after it halved."""
OVERLOAD_NOTICE_S: Final = 1.0
"""Least time between two notices that interims were shed."""
_MS_PER_S: Final = 1000.0


class SessionRunner:
    """Carries out what a session asks for. All methods belong to the event loop's thread.

    Events are stamped and published in the session's order, whatever the order in which outcomes come back. A session
    that raises unexpectedly is ended with an `error` event and touches nobody else.
    """

    def __init__(
        self,
        session: Session,
        batcher: Batcher,
        hub: EventHub,
        *,
        audio: AudioFormat,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_outstanding: int = MAX_OUTSTANDING,
        pace: AudioPace = UNLIMITED,
        refuses_haste: bool = False,
    ) -> None:
        """Connects the three; nothing happens before `start`.

        Args:
            session: new, not yet opened.
            batcher: started.
            hub: where events are published.
            audio: the format of what `receive` is given.
            metrics: instruments to keep, if any.
            clock: seconds, never going back.
            utc_now: for `emitted_at`.
            max_outstanding: unanswered finals above which `receive` waits.
            pace: how fast audio may come.
            refuses_haste: whether faster audio is an error instead of waiting.
        """
        self._session = session
        self._batcher = batcher
        self._hub = hub
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._utc_now = utc_now
        self._max_outstanding = max_outstanding
        self._pace = pace
        self._refuses_haste = refuses_haste
        self._bytes_per_s = audio.bytes_per_s
        self._rate_hz = audio.rate_hz
        self._steps: deque[Callable[[], Sequence[Action]]] = deque()
        self._stepping = False
        self._finals: dict[int, float] = {}
        self._lagging = False
        self._shed = 0
        self._overload_told_s = float("-inf")
        self._degradation = Degradation.NONE
        self._deaf = False
        self._answered = asyncio.Event()
        self._finished = asyncio.Event()
        self.broken = False
        """Whether the session raised unexpectedly."""

    @property
    def session_id(self) -> str:
        """Names the session in events."""
        return self._session.session_id

    @property
    def last_seq(self) -> int:
        """`seq` of the last event that was published."""
        return self._session.last_seq

    @property
    def finished(self) -> bool:
        """Whether `session.ended` was published, or the session broke; nothing will follow."""
        return self._finished.is_set()

    @property
    def bytes_per_s(self) -> int:
        """Of the audio that `receive` is given."""
        return self._bytes_per_s

    @property
    def now_s(self) -> float:
        """Its clock."""
        return self._clock()

    def start(self) -> None:
        """Publishes `session.started`."""
        self._step(self._session.open)

    async def receive(self, data: bytes, arrived_s: float | None = None) -> None:
        """Hears audio of any length; waits, in between, for the recogniser to keep up.

        May be cancelled: what was heard until then counts. Audio after the end is ignored.

        Args:
            data: the next audio.
            arrived_s: when the first of it came, on the runner's clock; by default now.

        Raises:
            TooFastError: it comes too fast, and such audio is not to wait.
        """
        arrived_s = self._clock() if arrived_s is None else arrived_s
        for piece in self._pieces(data):
            while self._session.outstanding >= self._max_outstanding and not self._deaf:
                self._answered.clear()
                await self._answered.wait()
            if self._deaf:
                return
            piece_s = len(piece) / self._bytes_per_s
            self._metrics.audio_s.inc(piece_s)
            self._step(partial(self._session.receive, piece, arrived_s))
            self._watch()
            await self._await_turn(self._pace.ahead_s(piece_s, self._clock()))

    async def _await_turn(self, ahead_s: float) -> None:
        """Lets others have the loop, and audio that came too soon wait until it is due."""
        if not ahead_s or self._deaf:
            await asyncio.sleep(0)
            return
        if self._refuses_haste:
            raise TooFastError(
                "the audio comes faster than [server] max_speed and burst_s allow: send it at the pace of speech"
            )
        self._metrics.held_s.inc(ahead_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ahead_s):
                while not self._deaf:
                    self._answered.clear()
                    await self._answered.wait()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        size = max(1, int(PIECE_S * self._bytes_per_s))
        for start in range(0, len(data), size):
            yield data[start : start + size]

    def stop_hearing(self) -> None:
        """Ignores audio from now on; a `receive` that waits for the recogniser returns."""
        self._deaf = True
        self._answered.set()

    def hear_again(self) -> None:
        """Takes audio again, after `interrupt` or `stop_hearing`, unless the session is over."""
        self._deaf = self.finished

    def interrupt(self) -> None:
        """The connection broke: half a sample at its end is forgotten, and no audio is taken before `hear_again`."""
        self.stop_hearing()
        self._session.interrupt()

    def resumed_after(self, seq: int) -> SessionResumed:
        """What a connection is told that takes the session up again.

        Args:
            seq: of the last event it has.
        """
        return SessionResumed(
            session=self.session_id,
            seq=seq,
            time_s=self._session.received_samples / self._rate_hz,
            received_samples=self._session.received_samples,
        ).stamped(self._utc_now())

    def flush(self) -> None:
        """Ends open speech now; its finals follow."""
        self._step(lambda: self._session.flush(self._clock()))

    def report(self, error: StreamingError) -> None:
        """Publishes an `error` event; the session goes on."""
        self._step(lambda: self._session.report(error))

    async def close(self, reason: str, *, patience_s: float | None = None) -> None:
        """Takes no more audio, and returns once every final was published and `session.ended` after them.

        Args:
            reason: for `session.ended`.
            patience_s: how long to wait for finals; those still missing then become `error` events. None to wait for
                all of them.
        """
        self._step(lambda: self._session.close(reason, self._clock()))
        try:
            async with asyncio.timeout(patience_s):
                await self._finished.wait()
        except TimeoutError:
            message = f"not recognised within {patience_s:g} s after the session was closed ({reason})"
            self._step(lambda: self._session.abandon(message, self._clock()))
            await self._finished.wait()

    def _step(self, act: Callable[[], Sequence[Action]]) -> None:
        # An outcome may come back while its request is being submitted: what it causes waits for its turn here.
        self._steps.append(act)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._steps and not self.finished:
                self._take_step(self._steps.popleft())
        finally:
            self._stepping = False
            self._steps.clear()

    def _take_step(self, act: Callable[[], Sequence[Action]]) -> None:
        try:
            self._perform(act())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this session's alone
            self._break(error)
        if self._session.ended:
            self._finish()

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self._perform_one(action)

    def _perform_one(self, action: Action) -> None:
        match action:
            case Emit():
                stamped = action.handed_on(self._clock()).stamped(self._utc_now())
                self._metrics.observe(stamped)
                self._hub.publish(stamped)
            case Submit(request=request):
                if request.kind is RequestKind.FINAL:
                    self._finals[request.request_id] = self._clock()
                self._batcher.submit(request, self._deliver)
            case Promote(request_id=request_id):
                self._finals[request_id] = self._clock()
                self._batcher.promote(self.session_id, request_id)
            case Discard(request_id=request_id):
                self._batcher.discard(self.session_id, request_id)

    def _deliver(self, outcome: RecognitionOutcome) -> None:
        self._finals.pop(outcome.request.request_id, None)
        if isinstance(outcome, RecognitionShed) and outcome.reason == "overload":
            self._shed += 1
            self._metrics.shed_interims.inc()
        self._step(lambda: self._session.resolve(outcome, self._clock()))
        self._watch()
        self._answered.set()

    def _watch(self) -> None:
        """Tells the client when interims were shed or finals lag behind."""
        now_s = self._clock()
        lag_s = now_s - next(iter(self._finals.values()), now_s)
        self._metrics.lag_s.observe(lag_s)
        if self._batcher.step is not self._degradation:
            self._degradation = self._batcher.step
            self._step(partial(self._session.pace, self._degradation, lag_s * _MS_PER_S))
        if self._shed and now_s - self._overload_told_s >= OVERLOAD_NOTICE_S:
            dropped, self._shed, self._overload_told_s = self._shed, 0, now_s
            self._step(lambda: self._session.degrade("overload", dropped, lag_s * _MS_PER_S))
        if lag_s >= LAG_NOTICE_S and not self._lagging:
            self._lagging = True
            self._step(lambda: self._session.degrade("lag", 0, lag_s * _MS_PER_S))
        elif lag_s < LAG_NOTICE_S / 2:
            self._lagging = False

    def _break(self, error: Exception) -> None:
        self.broken = True
        _LOG.error("session %s broke: %s", self.session_id, where(error))
        message = "the session broke by a fault of the server"
        for act in (
            partial(self._session.report, StreamingError(message)),
            partial(self._session.close, "internal_error", self._clock()),
            partial(self._session.abandon, message, self._clock()),
        ):
            try:
                self._perform(act())
            except Exception as again:  # noqa: BLE001 - it is broken all right; the next may still work
                _LOG.warning("session %s is too broken to end in order: %s", self.session_id, where(again))
        if not self._session.ended:
            self._metrics.sessions.dec()
        self._finish()

    def _finish(self) -> None:
        self._hub.drop(self.session_id)
        self._finals.clear()
        self._finished.set()
        self.stop_hearing()
