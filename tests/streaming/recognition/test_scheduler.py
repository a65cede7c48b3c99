"""The scheduler on a clock of its own: nothing lost, nothing twice, nothing without a bound, whatever happens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from streaming.config import BatcherSettings
from streaming.recognition.degradation import Degradation
from streaming.recognition.request import RecognitionRequest, RequestKind
from streaming.recognition.scheduler import Scheduler

FINAL, SPECULATIVE, INTERIM = RequestKind
WINDOW_S = 10.0


def ask(
    number: int, kind: RequestKind, *, session: str = "a", segment: int = 1, channel: int = 0
) -> RecognitionRequest:
    return RecognitionRequest(number, session, channel, segment, kind, np.zeros(16_000, np.float32), 0.0)


def a_scheduler(**settings: float) -> Scheduler:
    return Scheduler(BatcherSettings.model_validate(settings), interim_s=1.0)


def taught(scheduler: Scheduler, each_s: float) -> Scheduler:
    """It knows that every request takes so long, whatever its company."""
    for _ in range(30):
        for size in (1, 2, 4):
            batch = [ask(10_000 + place, SPECULATIVE) for place in range(size)]
            scheduler.computed(batch, WINDOW_S, 0.0, each_s * size)
    return scheduler


def fill(scheduler: Scheduler, kind: RequestKind, count: int = 8) -> None:
    for number in range(count):
        scheduler.add(ask(number, kind, session=f"s{number}"), WINDOW_S, 100.0)


def test_batches_are_full_while_nobody_knows_what_they_take() -> None:
    scheduler = a_scheduler()
    fill(scheduler, INTERIM)

    assert len(scheduler.take()) == 8


def test_a_batch_takes_no_longer_than_its_urgency_allows() -> None:
    sizes = {}
    for kind in RequestKind:
        scheduler = taught(a_scheduler(deadline_ms=400), 0.048)
        fill(scheduler, kind)
        sizes[kind] = len(scheduler.take())

    assert sizes == {FINAL: 8, SPECULATIVE: 4, INTERIM: 2}


def test_one_request_goes_however_long_it_takes() -> None:
    scheduler = taught(a_scheduler(deadline_ms=100), 3.0)
    fill(scheduler, INTERIM)

    assert len(scheduler.take()) == 1


def busy_with_finals(scheduler: Scheduler) -> Scheduler:
    for tenth in range(100):
        scheduler.computed([ask(tenth, FINAL)], WINDOW_S, 90.0 + tenth / 10, 90.1 + tenth / 10)
    return scheduler


def test_when_finals_take_all_the_time_interims_are_shed_as_they_come_and_finals_are_not() -> None:
    scheduler = busy_with_finals(a_scheduler())

    assert scheduler.step is Degradation.FINALS_ONLY
    (shed,) = scheduler.add(ask(1, INTERIM), WINDOW_S, 100.0)
    assert (shed.request.request_id, shed.reason) == (1, "overload")
    assert scheduler.add(ask(2, FINAL), WINDOW_S, 100.0) == []
    assert scheduler.add(ask(3, SPECULATIVE), WINDOW_S, 100.0) == []


def test_interims_come_back_when_there_is_time_again() -> None:
    scheduler = busy_with_finals(a_scheduler())
    for second in range(100, 200):
        scheduler.add(ask(second, FINAL), WINDOW_S, float(second))

    assert scheduler.step is Degradation.NONE


def test_a_request_counts_as_its_part_of_a_full_batch_not_as_the_batch_that_it_had_to_itself() -> None:
    """Else a machine that pays most of a batch once looks full as soon as it is never idle."""
    scheduler = a_scheduler()
    for tenth in range(0, 200, 2):
        moment_s = tenth / 10
        eight = [ask(tenth, FINAL, session=f"s{place}") for place in range(8)]
        scheduler.computed(eight, WINDOW_S, moment_s, moment_s + 0.1)
        scheduler.computed([ask(tenth, FINAL)], WINDOW_S, moment_s + 0.1, moment_s + 0.193)

    assert scheduler.load(20.0).finals == pytest.approx((0.1 + 0.1 / 8) / 0.2, abs=0.02)
    assert scheduler.step is Degradation.NONE


class SchedulerMachine(RuleBasedStateMachine):
    """Any order of events on any clock; service times of any length."""

    added = Bundle("added")

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = a_scheduler(max_queue=8, max_batch=4)
        self.now_s = 0.0
        self.inside: dict[tuple[str, int], tuple[RecognitionRequest, RequestKind]] = {}
        self.left: set[tuple[str, int]] = set()
        self.count = 0

    def leave(self, request: RecognitionRequest) -> RequestKind:
        key = (request.session, request.request_id)
        known, urgency = self.inside.pop(key)
        assert known is request
        assert key not in self.left
        self.left.add(key)
        return urgency

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(
        target=added,
        kind=st.sampled_from(RequestKind),
        session=st.sampled_from("abc"),
        segment=st.integers(1, 3),
        window_s=st.sampled_from([6.0, 10.0]),
    )
    def add(self, kind: RequestKind, session: str, segment: int, window_s: float) -> tuple[str, int]:
        self.count += 1
        request = ask(self.count, kind, session=session, segment=segment)
        self.inside[session, self.count] = (request, kind)
        for shed in self.scheduler.add(request, window_s, self.now_s):
            assert self.leave(shed.request) is not FINAL
        return session, self.count

    @rule(key=added)
    def promote(self, key: tuple[str, int]) -> None:
        self.scheduler.promote(*key)
        if key in self.inside:
            self.inside[key] = (self.inside[key][0], FINAL)

    @rule(key=added)
    def discard(self, key: tuple[str, int]) -> None:
        discarded = self.scheduler.discard(*key)
        assert (discarded is not None) == (key in self.inside)
        if discarded is not None:
            self.leave(discarded)

    @rule(service_s=st.floats(0, 5))
    def compute(self, service_s: float) -> None:
        batch = self.scheduler.take()
        assert bool(batch) == bool(self.inside)
        if not batch:
            return
        most_urgent = min(urgency for _, urgency in self.inside.values())
        assert {self.leave(request) for request in batch} == {most_urgent}
        self.scheduler.computed(batch, WINDOW_S, self.now_s, self.now_s + service_s)
        self.now_s += service_s

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert len(self.scheduler) == len(self.inside)

    @invariant()
    def what_may_be_shed_is_bounded(self) -> None:
        assert sum(urgency is not FINAL for _, urgency in self.inside.values()) <= 8

    @invariant()
    def within_a_segment_interims_go_before_what_ends_it(self) -> None:
        ended = {(r.session, r.segment): r.request_id for r, kind in self.inside.values() if kind is not INTERIM}
        for request, kind in self.inside.values():
            if kind is INTERIM and (request.session, request.segment) in ended:
                assert request.request_id > ended[request.session, request.segment]

    def teardown(self) -> None:
        while self.inside:
            self.compute(0.1)


TestSchedulerMachine = SchedulerMachine.TestCase
