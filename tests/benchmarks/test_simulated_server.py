"""The simulated server does with requests what the batcher does with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.agenda import Agenda
from benchmarks.errors import BenchmarkError
from benchmarks.service_table import ASSUMED_GPU, load_service_table
from benchmarks.simulated_server import Outcome, SimulatedServer, window_s
from streaming.config import BatcherSettings
from streaming.recognition.batcher import Batcher
from streaming.recognition.request import (
    RecognitionOutcome,
    RecognitionRequest,
    RecognitionResult,
    RecognitionShed,
    RequestKind,
)
from tests.fakes.recognizer import PATIENCE_S, FakeRecognizer

FINAL, SPECULATIVE, INTERIM = RequestKind
TABLE = load_service_table(ASSUMED_GPU)
SETTINGS = BatcherSettings(max_batch=4, deadline_ms=200, max_queue=40)


def ask(number: int, kind: RequestKind, session: str = "a", seconds: float = 2.0) -> RecognitionRequest:
    return RecognitionRequest(number, session, 0, number, kind, np.zeros(round(seconds * 16_000), np.float32), 0.0)


def a_crowd(seed: int) -> list[RecognitionRequest]:
    rng = np.random.default_rng(seed)
    kinds, sessions = rng.choice(3, 120, p=[0.3, 0.2, 0.5]), rng.integers(0, 9, 120)
    seconds = rng.uniform(0.5, 20.0, 120)
    return [
        ask(number, RequestKind(kind), f"s{session}", length)
        for number, (kind, session, length) in enumerate(zip(kinds, sessions, seconds, strict=True))
    ]


class TimedRecognizer(FakeRecognizer):
    """Takes as long as the table says, on a clock of its own."""

    now_s = 0.0

    def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
        self.now_s += TABLE.batch_s(self.window_s(batch[0]), len(batch), words=True)
        return super().recognize(batch)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_same_requests_make_the_same_batches_and_have_the_same_outcomes(seed: int) -> None:
    requests = a_crowd(seed)
    discarded, promoted = requests[-1], [r for r in requests[:-1] if r.kind is SPECULATIVE][-1]
    recognizer = TimedRecognizer()
    batcher = Batcher(recognizer, SETTINGS, clock=lambda: recognizer.now_s)
    everything = asyncio.Event()
    told: list[tuple[int, str]] = []

    def tell(outcome: RecognitionOutcome) -> None:
        reason = outcome.reason if isinstance(outcome, RecognitionShed) else "answered"
        told.append((outcome.request.request_id, reason))
        if len(told) == len(requests):
            everything.set()

    agenda = Agenda()
    simulated: list[tuple[int, str]] = []
    server = SimulatedServer(agenda, TABLE, SETTINGS, interim_s=1.0)
    for request in requests:
        batcher.submit(request, tell)
        server.submit(request, lambda outcome, number=request.request_id: simulated.append((number, outcome.value)))
    for one in (batcher, server):
        one.promote(promoted.session, promoted.request_id)
        one.discard(discarded.session, discarded.request_id)
    await batcher.start()
    async with asyncio.timeout(PATIENCE_S):
        await everything.wait()
    await batcher.aclose()
    agenda.run()

    assert told == simulated
    assert {reason for _, reason in told} == {"answered", "overload", "discarded"}
    assert max(len(batch) for batch in recognizer.batches) > 1


def test_what_is_asked_together_shares_a_batch_and_takes_what_the_table_says() -> None:
    agenda = Agenda()
    told: list[tuple[float, Outcome]] = []
    server = SimulatedServer(agenda, TABLE, BatcherSettings(), interim_s=1.0)
    for number in range(3):
        server.submit(ask(number, FINAL, f"s{number}"), lambda outcome: told.append((agenda.now_s, outcome)))
    agenda.run()

    assert told == [(TABLE.batch_s(10.0, 3, words=True), Outcome.ANSWERED)] * 3
    assert dict(server.tally.batches) == {3: 1}


def test_a_request_discarded_while_it_is_computed_is_answered_at_once_and_only_then() -> None:
    agenda = Agenda()
    told: list[tuple[float, Outcome]] = []
    server = SimulatedServer(agenda, TABLE, BatcherSettings(), interim_s=1.0)
    server.submit(ask(1, SPECULATIVE), lambda outcome: told.append((agenda.now_s, outcome)))
    agenda.at(0.001, lambda: server.discard("a", 1))
    agenda.run()

    assert told == [(0.001, Outcome.DISCARDED)]
    assert server.unanswered == 0


def test_a_lone_request_waits_for_company_as_configured() -> None:
    agenda = Agenda()
    told: list[float] = []
    server = SimulatedServer(agenda, TABLE, BatcherSettings(max_wait_ms=50), interim_s=1.0)
    server.submit(ask(1, FINAL), lambda _: told.append(agenda.now_s))
    agenda.at(1.0, lambda: server.submit(ask(2, FINAL), lambda _: told.append(agenda.now_s)))
    agenda.at(1.02, lambda: server.submit(ask(3, FINAL, "b"), lambda _: told.append(agenda.now_s)))
    agenda.run()

    two_s = 1.02 + TABLE.batch_s(10.0, 2, words=True)
    assert told == pytest.approx([0.05 + TABLE.batch_s(10.0, 1, words=True), two_s, two_s])


def test_a_number_that_is_not_answered_yet_is_refused() -> None:
    server = SimulatedServer(Agenda(), TABLE, BatcherSettings(), interim_s=1.0)
    server.submit(ask(1, FINAL), lambda _: None)

    with pytest.raises(BenchmarkError, match="asked twice"):
        server.submit(ask(1, FINAL), lambda _: None)


def test_interims_and_finals_have_windows_of_their_own() -> None:
    assert (window_s(ask(1, INTERIM)), window_s(ask(1, FINAL))) == (6.0, 10.0)
