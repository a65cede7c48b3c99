"""The batcher's work on a virtual clock: its own scheduler, one worker, service times from a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from benchmarks.agenda import Agenda
from benchmarks.errors import BenchmarkError
from benchmarks.service_table import ServiceTable
from models.windows import FINAL_WINDOWS, INTERIM_WINDOWS
from streaming.config import BatcherSettings
from streaming.recognition.degradation import Degradation
from streaming.recognition.request import RecognitionRequest, RequestKind
from streaming.recognition.scheduler import Scheduler


class Outcome(Enum):
    """How a request ended."""

    ANSWERED = "answered"
    REPLACED = "replaced"
    DISCARDED = "discarded"
    OVERLOAD = "overload"
    WITHHELD = "withheld"
    """Shed as it came, because nobody gets interims at that step of degradation."""


@dataclass(slots=True)
class ServerTally:
    """What went through a simulated server."""

    asked: Counter[RequestKind] = field(default_factory=Counter)
    ended: Counter[tuple[RequestKind, Outcome]] = field(default_factory=Counter)
    batches: Counter[int] = field(default_factory=Counter)
    """By their size."""
    longest_queue: int = 0
    busy: list[tuple[float, float]] = field(default_factory=list)
    """When the worker began and was done, batch by batch."""
    steps: list[tuple[float, Degradation]] = field(default_factory=list)
    """When each step of degradation began."""


@dataclass(frozen=True, slots=True)
class _Ticket:
    request: RecognitionRequest
    deliver: Callable[[Outcome], None]


def window_s(request: RecognitionRequest) -> float:
    """The length bucket of a request, as the recogniser has it."""
    windows = INTERIM_WINDOWS if request.kind is RequestKind.INTERIM else FINAL_WINDOWS
    return windows.bucket_s(len(request.samples))


class SimulatedServer:
    """Calls the scheduler as `Batcher` does, and computes nothing.

    Every request is answered exactly once, or it raises: that is what a simulation is for.
    """

    def __init__(self, agenda: Agenda, table: ServiceTable, settings: BatcherSettings, *, interim_s: float) -> None:
        """Nothing waits.

        Args:
            agenda: the clock.
            table: what batches take.
            settings: the `[batcher]` section.
            interim_s: new speech between two interims of a segment.
        """
        self.tally = ServerTally()
        self._agenda = agenda
        self._table = table
        self._max_wait_s = settings.max_wait_ms / 1000
        self._scheduler = Scheduler(settings, interim_s=interim_s)
        self._tickets: dict[tuple[str, int], _Ticket] = {}
        self._busy = False
        self._waits_for_company = False

    @property
    def step(self) -> Degradation:
        """What is given up at present."""
        return self._scheduler.step

    @property
    def unanswered(self) -> int:
        """Requests whose outcome was not told yet."""
        return len(self._tickets)

    def session_count(self, sessions: int) -> None:
        """See `Batcher.session_count`."""
        self._scheduler.session_count(sessions, self._agenda.now_s)

    def check_room(self, sessions: int) -> None:
        """See `Batcher.check_room`.

        Raises:
            CapacityError: there is no room.
        """
        self._scheduler.check_room(sessions, self._agenda.now_s)

    def submit(self, request: RecognitionRequest, deliver: Callable[[Outcome], None]) -> None:
        """See `Batcher.submit`.

        Raises:
            BenchmarkError: the session has an unanswered request of this number.
        """
        key = (request.session, request.request_id)
        if key in self._tickets:
            raise BenchmarkError(f"request {key} was asked twice")
        self._tickets[key] = _Ticket(request, deliver)
        self.tally.asked[request.kind] += 1
        shed = self._scheduler.add(request, window_s(request), self._agenda.now_s)
        self.tally.longest_queue = max(self.tally.longest_queue, len(self._scheduler))
        self._note_step()
        self._begin_soon()
        for one in shed:
            withheld = one.request is request and self.step is Degradation.FINALS_ONLY
            self._answer(one.request, Outcome.WITHHELD if withheld else Outcome(one.reason))

    def promote(self, session: str, request_id: int) -> None:
        """See `Batcher.promote`."""
        self._scheduler.promote(session, request_id)

    def discard(self, session: str, request_id: int) -> None:
        """See `Batcher.discard`."""
        self._scheduler.discard(session, request_id)
        ticket = self._tickets.get((session, request_id))
        if ticket is not None:
            self._answer(ticket.request, Outcome.DISCARDED)

    def _begin_soon(self) -> None:
        if self._busy:
            return
        alone = len(self._scheduler) == 1 and self._max_wait_s > 0
        if alone and not self._waits_for_company:
            self._waits_for_company = True
            self._agenda.at(self._agenda.now_s + self._max_wait_s, self._begin)
        elif not alone:
            # What else happens at this moment is still company.
            self._agenda.at(self._agenda.now_s, self._begin)

    def _begin(self) -> None:
        if self._busy or not len(self._scheduler):
            return
        self._waits_for_company = False
        batch = self._scheduler.take()
        started_s = self._agenda.now_s
        size, window = len(batch), window_s(batch[0])
        ended_s = started_s + self._table.batch_s(window, size, words=any(request.transcribe for request in batch))
        self._busy = True
        self.tally.batches[size] += 1
        self.tally.busy.append((started_s, ended_s))
        self._agenda.at(ended_s, lambda: self._computed(batch, window, started_s))

    def _computed(self, batch: list[RecognitionRequest], window: float, started_s: float) -> None:
        self._busy = False
        self._scheduler.computed(batch, window, started_s, self._agenda.now_s)
        self._note_step()
        for request in batch:
            ticket = self._tickets.get((request.session, request.request_id))
            if ticket is not None and ticket.request is request:
                self._answer(request, Outcome.ANSWERED)
        if len(self._scheduler):
            self._begin_soon()

    def _answer(self, request: RecognitionRequest, outcome: Outcome) -> None:
        ticket = self._tickets.pop((request.session, request.request_id), None)
        if ticket is None:
            raise BenchmarkError(f"request {request.request_id} of session {request.session} was answered twice")
        self.tally.ended[request.kind, outcome] += 1
        ticket.deliver(outcome)

    def _note_step(self) -> None:
        step = self._scheduler.step
        if step is not (self.tally.steps[-1][1] if self.tally.steps else Degradation.NONE):
            self.tally.steps.append((self._agenda.now_s, step))
