"""Which request is next, with which company, and what is shed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from streaming.errors import RecognitionError
from streaming.recognition.request import RecognitionRequest, RecognitionShed, RequestKind
from streaming.recognition.request_queue import RequestQueue

FINAL, SPECULATIVE, INTERIM = RequestKind
AUDIO = np.zeros(1600, dtype=np.float32)
PLENTY = 1000.0


def ask(
    number: int, kind: RequestKind = FINAL, session: str = "a", segment: int = 1, channel: int = 0
) -> RecognitionRequest:
    return RecognitionRequest(number, session, channel, segment, kind, AUDIO, 0.0)


def queue_of(*requests: RecognitionRequest, max_queue: int = 100, window_s: float = 10.0) -> RequestQueue:
    queue = RequestQueue(max_queue)
    for request in requests:
        queue.add(request, window_s)
    return queue


def numbers(batch: list[RecognitionRequest]) -> list[int]:
    return [request.request_id for request in batch]


def drained(queue: RequestQueue, max_batch: int = 1) -> list[int]:
    order: list[int] = []
    while queue:
        order += numbers(queue.take(lambda *_: max_batch, PLENTY))
    return order


def test_nothing_is_taken_from_an_empty_queue() -> None:
    assert RequestQueue(8).take(8, PLENTY) == []


def test_finals_go_before_speculative_finals_before_interims() -> None:
    queue = queue_of(ask(1, INTERIM, segment=3), ask(2, SPECULATIVE, segment=2), ask(3, FINAL))

    assert drained(queue, max_batch=8) == [3, 2, 1]


def test_within_a_session_first_come_is_first_served() -> None:
    assert drained(queue_of(ask(2), ask(1), ask(3)), max_batch=2) == [2, 1, 3]


def test_sessions_take_turns() -> None:
    queue = queue_of(*(ask(n, session="talker") for n in range(5)), ask(10, session="shy"), ask(11, session="shy"))

    assert drained(queue) == [0, 10, 1, 11, 2, 3, 4]


def test_turns_are_measured_in_audio() -> None:
    queue = RequestQueue(8)
    for n in range(3):
        queue.add(ask(n, session="long"), 30.0)
    for n in range(10, 16):
        queue.add(ask(n, session="short"), 10.0)

    assert drained(queue) == [0, 10, 11, 12, 1, 13, 14, 15, 2]


def test_a_session_that_was_away_gets_no_credit_for_it() -> None:
    queue = queue_of(*(ask(n, session="steady") for n in range(10)))
    for _ in range(5):
        queue.take(lambda *_: 1, PLENTY)
    for n in range(20, 23):
        queue.add(ask(n, session="late"), 10.0)

    order = drained(queue)

    assert order[:4] in ([20, 5, 21, 6], [5, 20, 6, 21])


def test_a_batch_is_of_one_bucket() -> None:
    queue = RequestQueue(8)
    for n, window_s in enumerate([10.0, 12.0, 10.0]):
        queue.add(ask(n), window_s)

    assert [numbers(queue.take(lambda *_: 8, PLENTY)) for _ in range(2)] == [[0, 2], [1]]


def test_a_batch_holds_so_many_requests_and_so_much_audio() -> None:
    queue = queue_of(*(ask(n) for n in range(10)))

    assert [
        len(queue.take(lambda *_: 3, PLENTY)),
        len(queue.take(lambda *_: 8, 45.0)),
        len(queue.take(lambda *_: 8, 5.0)),
    ] == [3, 4, 1]


def test_a_newer_interim_takes_the_older_ones_place() -> None:
    queue = queue_of(ask(1, INTERIM), ask(2, INTERIM, segment=9, channel=1))

    assert queue.add(ask(3, INTERIM), 10.0) == [RecognitionShed(ask(1, INTERIM), "replaced")]
    assert drained(queue) == [3, 2]


@pytest.mark.parametrize("other", [{"segment": 2}, {"channel": 1}, {"session": "b"}])
def test_interims_of_others_are_left_alone(other: dict[str, object]) -> None:
    queue = queue_of(ask(1, INTERIM))

    assert queue.add(ask(2, INTERIM, **other), 10.0) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [FINAL, SPECULATIVE])
def test_a_final_makes_the_waiting_interim_of_its_segment_pointless(kind: RequestKind) -> None:
    queue = queue_of(ask(1, INTERIM), ask(2, INTERIM, segment=2))

    assert queue.add(ask(3, kind), 10.0) == [RecognitionShed(ask(1, INTERIM), "replaced")]
    assert drained(queue) == [3, 2]


def test_a_promoted_request_is_as_urgent_as_a_final() -> None:
    queue = queue_of(ask(1, SPECULATIVE), ask(2, SPECULATIVE, session="b"))

    queue.promote("b", 2)

    assert [numbers(queue.take(lambda *_: 8, PLENTY)) for _ in range(2)] == [[2], [1]]


def test_promoting_or_discarding_what_does_not_wait_does_nothing() -> None:
    queue = queue_of(ask(1))

    queue.promote("a", 7)

    assert queue.discard("b", 1) is None
    assert len(queue) == 1


def test_a_discarded_request_is_not_computed() -> None:
    queue = queue_of(ask(1), ask(2))

    assert queue.discard("a", 1) == ask(1)
    assert drained(queue) == [2]


def test_over_the_bound_the_oldest_interims_go() -> None:
    queue = queue_of(ask(1, INTERIM), ask(2, INTERIM, segment=2), max_queue=2)

    assert queue.add(ask(3, INTERIM, segment=3), 10.0) == [RecognitionShed(ask(1, INTERIM), "overload")]


def test_interims_go_before_speculative_finals() -> None:
    queue = queue_of(ask(1, SPECULATIVE), ask(2, INTERIM, segment=2), max_queue=2)

    assert [shed.request.request_id for shed in queue.add(ask(3, SPECULATIVE, segment=3), 10.0)] == [2]
    assert [shed.request.request_id for shed in queue.add(ask(4, SPECULATIVE, segment=4), 10.0)] == [1]


def test_finals_are_never_shed() -> None:
    assert len(queue_of(*(ask(n) for n in range(500)), max_queue=8)) == 500


def test_what_is_not_final_can_be_shed_at_once() -> None:
    queue = queue_of(ask(1), ask(2, SPECULATIVE, segment=2), ask(3, INTERIM, segment=3), ask(4, SPECULATIVE, segment=4))
    queue.promote("a", 4)

    assert {shed.request.request_id for shed in queue.shed_unwanted("discarded")} == {2, 3}
    assert drained(queue) == [1, 4]


def test_a_number_that_waits_already_is_refused() -> None:
    with pytest.raises(RecognitionError, match="request 1 of session a waits already"):
        queue_of(ask(1), ask(1, INTERIM))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=80),
    st.integers(1, 4),
)
def test_two_that_wait_for_one_bucket_are_never_served_more_than_two_windows_apart(
    steps: list[tuple[str, bool]], max_batch: int
) -> None:
    """Whenever both had something waiting from one batch to the next, whatever the third session does."""
    queue = RequestQueue(1000)
    waiting: Counter[str] = Counter()
    lead = 0.0
    for number, (session, take) in enumerate(steps):
        queue.add(ask(number, session=session), 10.0)
        waiting[session] += 1
        if not take:
            continue
        batch = queue.take(lambda *_: max_batch, PLENTY)
        waiting.subtract(request.session for request in batch)
        served = Counter(request.session for request in batch)
        lead += 10.0 * (served["a"] - served["b"])
        if not (waiting["a"] and waiting["b"]):
            lead = 0.0
        # One window for the turn that is due, one for the turn that was due when both began to wait.
        assert abs(lead) <= 20.0


@given(st.integers(2, 40), st.integers(1, 8))
def test_ten_times_the_speech_gets_no_more_than_its_turns(rounds: int, max_batch: int) -> None:
    queue = RequestQueue(1000)
    for number in range(10 * rounds):
        queue.add(ask(number, session="talker"), 10.0)
    for number in range(rounds):
        queue.add(ask(number, session="shy"), 10.0)

    order: list[str] = []
    while "shy" not in order or order.count("shy") < rounds:
        order += [request.session for request in queue.take(lambda *_: max_batch, PLENTY)]

    assert len(order) <= 2 * rounds + max_batch


def test_finals_of_audio_in_a_hurry_take_what_live_speech_leaves() -> None:
    queue = RequestQueue(8)
    queue.add(replace(ask(1, FINAL, "fast", 1), hasty=True), 10.0)
    queue.add(replace(ask(2, SPECULATIVE, "fast", 2), hasty=True), 10.0)
    queue.add(ask(3, INTERIM, "live", 1), 10.0)
    queue.add(ask(4, SPECULATIVE, "live", 2), 10.0)
    queue.add(ask(5, FINAL, "live", 3), 10.0)
    queue.promote("fast", 2)

    assert [numbers(queue.take(lambda *_: 8, PLENTY)) for _ in range(4)] == [[5], [4], [1, 2], [3]]


class QueueMachine(RuleBasedStateMachine):
    """Anything may happen in any order; what must always hold is said in the invariants."""

    added = Bundle("added")

    def __init__(self) -> None:
        super().__init__()
        self.max_queue = 6
        self.queue = RequestQueue(self.max_queue)
        self.inside: dict[tuple[str, int], tuple[RecognitionRequest, RequestKind, float]] = {}
        self.count = 0

    def leave(self, request: RecognitionRequest) -> tuple[RequestKind, float]:
        known, urgency, window_s = self.inside.pop((request.session, request.request_id))
        assert known is request
        return urgency, window_s

    @rule(
        target=added,
        kind=st.sampled_from(RequestKind),
        session=st.sampled_from("ab"),
        channel=st.integers(0, 1),
        segment=st.integers(1, 3),
        window_s=st.sampled_from([10.0, 12.0]),
    )
    def add(self, kind: RequestKind, session: str, channel: int, segment: int, window_s: float) -> tuple[str, int]:
        self.count += 1
        request = ask(self.count, kind, session, segment, channel)
        self.inside[session, self.count] = (request, kind, window_s)
        for shed in self.queue.add(request, window_s):
            urgency, _ = self.leave(shed.request)
            assert urgency is not FINAL
            if shed.reason == "replaced":
                assert urgency is INTERIM
                assert (shed.request.session, shed.request.channel, shed.request.segment) == (session, channel, segment)
            else:
                assert shed.reason == "overload"
        return session, self.count

    @rule(key=added)
    def promote(self, key: tuple[str, int]) -> None:
        self.queue.promote(*key)
        if key in self.inside:
            request, _, window_s = self.inside[key]
            self.inside[key] = (request, FINAL, window_s)

    @rule(key=added)
    def discard(self, key: tuple[str, int]) -> None:
        discarded = self.queue.discard(*key)
        assert (discarded is not None) == (key in self.inside)
        if discarded is not None:
            self.leave(discarded)

    @rule(max_batch=st.integers(1, 4), max_padded_s=st.sampled_from([5.0, 25.0, 100.0]))
    def take(self, max_batch: int, max_padded_s: float) -> None:
        most_urgent = min((urgency for _, urgency, _ in self.inside.values()), default=None)
        batch = [self.leave(request) for request in self.queue.take(lambda *_: max_batch, max_padded_s)]
        assert bool(batch) == (most_urgent is not None)
        assert {urgency for urgency, _ in batch} <= {most_urgent}
        assert len({window_s for _, window_s in batch}) <= 1
        assert len(batch) <= max_batch
        assert len(batch) <= 1 or sum(window_s for _, window_s in batch) <= max_padded_s

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert len(self.queue) == len(self.inside)

    @invariant()
    def what_may_be_shed_is_bounded(self) -> None:
        assert sum(urgency is not FINAL for _, urgency, _ in self.inside.values()) <= self.max_queue

    @invariant()
    def one_interim_a_segment(self) -> None:
        interims = Counter(
            (request.session, request.channel, request.segment)
            for request, urgency, _ in self.inside.values()
            if urgency is INTERIM
        )
        assert max(interims.values(), default=0) <= 1

    def teardown(self) -> None:
        while self.queue:
            self.take(4, 100.0)
        assert not self.inside


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
