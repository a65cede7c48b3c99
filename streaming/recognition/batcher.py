"""Requests of all sessions on their way to the one recogniser, and its answers on their way back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from models.errors import ModelsError
from streaming.config import BatcherSettings
from streaming.errors import RecognitionError, StreamingError
from streaming.faults import where
from streaming.recognition.degradation import Degradation
from streaming.recognition.load import Load
from streaming.recognition.recognizer import Recognizer
from streaming.recognition.request import (
    RecognitionFailure,
    RecognitionOutcome,
    RecognitionRequest,
    RecognitionResult,
    RecognitionShed,
    RequestKind,
)
from streaming.recognition.scheduler import Scheduler

Deliver = Callable[[RecognitionOutcome], None]

_LOG: Final = logging.getLogger(__name__)
_MS_PER_S: Final = 1000.0
_INTERIM_S: Final = 1.0
"""As in `[asr] interim_s`."""
_STOPPED: Final = "the recogniser has stopped: connect again later"


@dataclass(frozen=True, slots=True)
class _Ticket:
    request: RecognitionRequest
    deliver: Deliver
    submitted_s: float


@dataclass(frozen=True, slots=True)
class _Timed:
    results: list[RecognitionResult]
    started_s: float
    ended_s: float


class Batcher:
    """Runs the recogniser on a worker thread of its own, one batch at a time.

    All methods belong to the event loop's thread. Whatever is submitted is answered there exactly once: with a result,
    as failed, or as shed; some answers come from within `submit` and `discard`. A batch that fails is split until the
    bad request stands alone, so that it fails nobody else's. A `deliver` that raises is logged and harms nobody.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        settings: BatcherSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        interim_s: float = _INTERIM_S,
        deadline_s: float | None = None,
    ) -> None:
        """Starts nothing yet; what is submitted before `start` waits.

        Args:
            recognizer: answers; only the worker thread calls `recognize`.
            settings: the `[batcher]` section.
            clock: seconds, never going back; called from both threads.
            interim_s: new speech between two interims of a segment.
            deadline_s: within which finals are to be answered; None for the setting's.
        """
        self._recognizer = recognizer
        self._settings = settings
        self._clock = clock
        self._queue = Scheduler(settings, interim_s=interim_s, deadline_s=deadline_s)
        self._tickets: dict[tuple[str, int], _Ticket] = {}
        self._arrival = asyncio.Event()
        self._closing = False
        self._executor: ThreadPoolExecutor | None = None
        self._consumer: asyncio.Task[None] | None = None
        self._computing = False

    @property
    def depth(self) -> int:
        """Requests that wait; those being computed are not counted."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether nothing waits, nothing is computed, and every answer was handed over."""
        return not self._queue and not self._computing

    @property
    def step(self) -> Degradation:
        """What is given up at present, for want of time."""
        return self._queue.step

    @property
    def load(self) -> Load:
        """What is asked of the recogniser."""
        return self._queue.load(self._clock())

    def session_count(self, sessions: int) -> None:
        """So many sessions are open from now on."""
        self._queue.session_count(sessions, self._clock())

    def check_room(self, sessions: int) -> None:
        """Returns if there is room for one session more than are open.

        Raises:
            CapacityError: their finals would be late; it says when to try again.
        """
        self._queue.check_room(sessions, self._clock())

    async def start(self) -> None:
        """Begins to answer.

        Raises:
            RecognitionError: it was started before.
        """
        if self._consumer is not None or self._closing:
            raise RecognitionError("a batcher starts once: make a new one")
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="recognizer")
        self._consumer = asyncio.create_task(self._consume(self._executor), name="batcher")

    def submit(self, request: RecognitionRequest, deliver: Deliver) -> None:
        """Asks for an answer.

        Args:
            request: its number unique among those of its session that were not answered yet.
            deliver: called with the outcome, exactly once, on the event loop.

        Raises:
            RecognitionError: the session has an unanswered request of this number.
        """
        key = (request.session, request.request_id)
        if key in self._tickets:
            raise RecognitionError(f"request {request.request_id} of session {request.session} is not answered yet")
        self._tickets[key] = _Ticket(request, deliver, self._clock())
        if self._closing:
            self._answer(RecognitionFailure(request, _STOPPED))
            return
        try:
            window_s = self._recognizer.window_s(request)
        except Exception as error:  # noqa: BLE001 - one request's trouble is its own
            self._fail(request, error)
            return
        shed = self._queue.add(request, window_s, self._clock())
        self._arrival.set()
        for outcome in shed:
            self._answer(outcome)

    def promote(self, session: str, request_id: int) -> None:
        """A speculative final became the final: it is computed as urgently as one."""
        self._queue.promote(session, request_id)

    def discard(self, session: str, request_id: int) -> None:
        """Nobody wants the answer any more: the request is shed at once, even if it is being computed."""
        self._queue.discard(session, request_id)
        ticket = self._tickets.get((session, request_id))
        if ticket is not None:
            self._answer(RecognitionShed(ticket.request, "discarded"))

    async def aclose(self, timeout_s: float | None = None) -> None:
        """Takes no more requests, sheds what is not final, and returns once all finals are answered.

        Args:
            timeout_s: how long to wait for them; those still missing then fail. None to wait for all.
        """
        self._closing = True
        for shed in self._queue.shed_unwanted("discarded"):
            self._answer(shed)
        self._arrival.set()
        try:
            if self._consumer is not None:
                await asyncio.wait([self._consumer], timeout=timeout_s)
        finally:
            # Also when this was cancelled: nobody is left waiting for an answer that will not come.
            self._abandon()
            if self._consumer is not None:
                self._consumer.cancel()
                await asyncio.gather(self._consumer, return_exceptions=True)
            if self._executor is not None:
                self._executor.shutdown(wait=False, cancel_futures=True)

    async def _consume(self, executor: ThreadPoolExecutor) -> None:
        try:
            while await self._requests_wait():
                self._computing = True
                await self._recognize(self._queue.take(), executor)
                self._computing = False
        except Exception as error:
            _LOG.critical("the batcher stopped by a fault: %s", where(error))
            raise
        finally:
            self._closing = True
            self._abandon()

    async def _requests_wait(self) -> bool:
        """Waits until there is something to compute; False once there is not and never will be."""
        while True:
            if self._queue:
                await self._await_company()
            if self._queue:
                return True
            if self._closing:
                return False
            self._arrival.clear()
            await self._arrival.wait()

    async def _await_company(self) -> None:
        if len(self._queue) > 1 or not self._settings.max_wait_ms or self._closing:
            return
        self._arrival.clear()
        try:
            async with asyncio.timeout(self._settings.max_wait_ms / _MS_PER_S):
                await self._arrival.wait()
        except TimeoutError:
            return

    async def _recognize(self, batch: Sequence[RecognitionRequest], executor: ThreadPoolExecutor) -> None:
        wanted = [request for request in batch if self._is_wanted(request)]
        if not wanted:
            return
        loop = asyncio.get_running_loop()
        try:
            timed = await loop.run_in_executor(executor, self._compute, wanted)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the consumer
            if len(wanted) == 1:
                self._fail(wanted[0], error)
                return
            _LOG.warning("a batch of %d failed (%s); it is tried in halves", len(wanted), where(error))
            middle = len(wanted) // 2
            await self._recognize(wanted[:middle], executor)
            await self._recognize(wanted[middle:], executor)
            return
        self._queue.computed(wanted, self._recognizer.window_s(wanted[0]), timed.started_s, timed.ended_s)
        for result in timed.results:
            ticket = self._ticket(result.request)
            if ticket is not None:
                queue_ms = max(0.0, timed.started_s - ticket.submitted_s) * _MS_PER_S
                compute_ms = (timed.ended_s - timed.started_s) * _MS_PER_S
                self._answer(replace(result, queue_ms=queue_ms, compute_ms=compute_ms, answered_s=timed.ended_s))

    def _compute(self, batch: list[RecognitionRequest]) -> _Timed:
        """On the worker thread."""
        started_s = self._clock()
        results = self._recognizer.recognize(batch)
        ended_s = self._clock()
        if len(results) != len(batch) or any(
            result.request is not request for result, request in zip(results, batch, strict=False)
        ):
            raise RecognitionError("the recogniser did not answer what it was asked")
        return _Timed(results, started_s, ended_s)

    def _ticket(self, request: RecognitionRequest) -> _Ticket | None:
        ticket = self._tickets.get((request.session, request.request_id))
        return ticket if ticket is not None and ticket.request is request else None

    def _is_wanted(self, request: RecognitionRequest) -> bool:
        return self._ticket(request) is not None

    def _fail(self, request: RecognitionRequest, error: Exception) -> None:
        _LOG.error("request %d of session %s failed: %s", request.request_id, request.session, where(error))
        match error:
            case StreamingError():
                failure = RecognitionFailure(request, str(error), error.retryable)
            case ModelsError():
                failure = RecognitionFailure(request, str(error), retryable=False)
            case _:
                failure = RecognitionFailure(request, f"the recogniser failed ({type(error).__name__})")
        self._answer(failure)

    def _answer(self, outcome: RecognitionOutcome) -> None:
        ticket = self._ticket(outcome.request)
        if ticket is None:
            return
        del self._tickets[outcome.request.session, outcome.request.request_id]
        try:
            ticket.deliver(outcome)
        except Exception as error:  # noqa: BLE001 - a session's trouble is its own
            _LOG.error("session %s could not take an answer: %s", outcome.request.session, where(error))

    def _abandon(self) -> None:
        """Fails everything that is not answered yet."""
        for ticket in list(self._tickets.values()):
            self._queue.discard(ticket.request.session, ticket.request.request_id)
            if ticket.request.kind is RequestKind.INTERIM:
                self._answer(RecognitionShed(ticket.request, "discarded"))
            else:
                self._answer(RecognitionFailure(ticket.request, _STOPPED))
