"""The batcher: every request answered exactly once, whatever goes wrong."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from models.errors import FeatureError
from streaming.config import BatcherSettings
from streaming.errors import RecognitionError
from streaming.recognition.batcher import Batcher
from streaming.recognition.request import (
    RecognitionFailure,
    RecognitionOutcome,
    RecognitionRequest,
    RecognitionResult,
    RecognitionShed,
    RequestKind,
)
from tests.fakes.recognizer import FakeRecognizer

FINAL, SPECULATIVE, INTERIM = RequestKind
PATIENCE_S = 10.0
SPOKEN = "my secret is"


def ask(
    number: int, kind: RequestKind = FINAL, *, session: str = "a", segment: int | None = None, seconds: float = 1.0
) -> RecognitionRequest:
    samples = np.ones(round(seconds * 16_000), dtype=np.float32)
    return RecognitionRequest(number, session, 0, segment or number, kind, samples, 0.0)


class Inbox:
    """Collects outcomes, and checks that they come on the event loop."""

    def __init__(self) -> None:
        self.outcomes: list[RecognitionOutcome] = []
        self._thread = threading.get_ident()
        self._arrived = asyncio.Event()

    def __call__(self, outcome: RecognitionOutcome) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError("delivered on another thread")
        self.outcomes.append(outcome)
        self._arrived.set()

    async def wait_for(self, count: int) -> list[RecognitionOutcome]:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.outcomes) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.outcomes

    def of(self, number: int) -> RecognitionOutcome:
        (outcome,) = [outcome for outcome in self.outcomes if outcome.request.request_id == number]
        return outcome

    @property
    def numbers(self) -> list[int]:
        return [outcome.request.request_id for outcome in self.outcomes]


@asynccontextmanager
async def running(
    recognizer: FakeRecognizer, *, clock: Callable[[], float] | None = None, **settings: float
) -> AsyncIterator[Batcher]:
    chosen = BatcherSettings.model_validate(settings)
    batcher = Batcher(recognizer, chosen, clock=clock) if clock else Batcher(recognizer, chosen)
    await batcher.start()
    try:
        yield batcher
    finally:
        await batcher.aclose()


@asynccontextmanager
async def busy(recognizer: FakeRecognizer, batcher: Batcher, inbox: Inbox) -> AsyncIterator[None]:
    """Inside the block the worker computes request 0, so that others wait."""
    with recognizer.held():
        batcher.submit(ask(0), inbox)
        await asyncio.to_thread(recognizer.await_batch)
        yield


async def test_a_request_is_answered_on_the_event_loop() -> None:
    inbox = Inbox()
    async with running(FakeRecognizer()) as batcher:
        batcher.submit(ask(1), inbox)
        (outcome,) = await inbox.wait_for(1)

    assert isinstance(outcome, RecognitionResult)
    assert outcome.transcript.text == "word1 word2 word3 word4"


async def test_requests_submitted_before_the_start_wait_for_it() -> None:
    inbox = Inbox()
    batcher = Batcher(FakeRecognizer(), BatcherSettings())
    batcher.submit(ask(1), inbox)
    assert batcher.depth == 1
    assert not batcher.idle

    await batcher.start()
    await inbox.wait_for(1)
    await batcher.aclose()


async def test_what_waits_together_is_computed_together() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    async with running(recognizer, max_batch=3) as batcher:
        async with busy(recognizer, batcher, inbox):
            for number in range(1, 5):
                batcher.submit(ask(number), inbox)
            assert batcher.depth == 4
        await inbox.wait_for(5)

    assert [len(batch) for batch in recognizer.batches] == [1, 3, 1]


async def test_finals_overtake_interims() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    async with running(recognizer) as batcher:
        async with busy(recognizer, batcher, inbox):
            batcher.submit(ask(1, INTERIM), inbox)
            batcher.submit(ask(2, FINAL), inbox)
        await inbox.wait_for(3)

    assert inbox.numbers == [0, 2, 1]


async def test_a_promoted_request_overtakes_speculative_ones() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    async with running(recognizer) as batcher:
        async with busy(recognizer, batcher, inbox):
            batcher.submit(ask(1, SPECULATIVE), inbox)
            batcher.submit(ask(2, SPECULATIVE), inbox)
            batcher.promote("a", 2)
        await inbox.wait_for(3)

    assert inbox.numbers == [0, 2, 1]


async def test_a_replaced_interim_is_told_at_once() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    async with running(recognizer) as batcher, busy(recognizer, batcher, inbox):
        batcher.submit(ask(1, INTERIM, segment=7), inbox)
        batcher.submit(ask(2, INTERIM, segment=7), inbox)

        (shed,) = inbox.outcomes
    assert isinstance(shed, RecognitionShed)
    assert (shed.request.request_id, shed.reason) == (1, "replaced")


async def test_over_the_bound_interims_are_shed_and_finals_are_not() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    async with running(recognizer, max_queue=8) as batcher:
        async with busy(recognizer, batcher, inbox):
            for number in range(1, 21):
                batcher.submit(ask(number, INTERIM), inbox)
                batcher.submit(ask(100 + number, FINAL), inbox)
            assert batcher.depth == 28
        await inbox.wait_for(41)

    shed = [outcome for outcome in inbox.outcomes if isinstance(outcome, RecognitionShed)]
    assert [outcome.request.request_id for outcome in shed] == list(range(1, 13))
    assert {outcome.reason for outcome in shed} == {"overload"}


async def test_a_discarded_request_is_told_at_once_and_not_computed() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    async with running(recognizer) as batcher:
        async with busy(recognizer, batcher, inbox):
            batcher.submit(ask(1), inbox)
            batcher.discard("a", 1)
            assert isinstance(inbox.of(1), RecognitionShed)
        await inbox.wait_for(2)

    assert recognizer.batches == [[inbox.of(0).request]]


async def test_a_request_discarded_while_it_is_computed_is_answered_once() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    async with running(recognizer) as batcher:
        async with busy(recognizer, batcher, inbox):
            batcher.discard("a", 0)
        batcher.submit(ask(1), inbox)
        await inbox.wait_for(2)

    assert inbox.numbers == [0, 1]
    assert isinstance(inbox.of(0), RecognitionShed)


async def test_discarding_and_promoting_what_nobody_asked_for_does_nothing() -> None:
    inbox = Inbox()
    async with running(FakeRecognizer()) as batcher:
        batcher.discard("a", 99)
        batcher.promote("a", 99)
        batcher.submit(ask(1), inbox)

        assert isinstance((await inbox.wait_for(1))[0], RecognitionResult)


async def test_queue_and_compute_time_are_told_apart() -> None:
    now_s = 100.0
    recognizer, inbox = FakeRecognizer(lambda _request: "well"), Inbox()
    async with running(recognizer, clock=lambda: now_s) as batcher:
        with recognizer.held():
            batcher.submit(ask(1), inbox)
            await asyncio.to_thread(recognizer.await_batch)
            now_s = 100.25
            batcher.submit(ask(2), inbox)
            now_s = 100.5
        first, second = await inbox.wait_for(2)

    assert isinstance(first, RecognitionResult)
    assert isinstance(second, RecognitionResult)
    assert (first.queue_ms, first.compute_ms) == (0.0, 500.0)
    assert (second.queue_ms, second.compute_ms) == (250.0, 0.0)
    assert (first.answered_s, second.answered_s) == (100.5, 100.5)


async def test_a_bad_request_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    recognizer, inbox = FakeRecognizer(breaks_on=lambda request: request.request_id == 5), Inbox()
    with caplog.at_level(logging.CRITICAL):
        async with running(recognizer) as batcher:
            async with busy(recognizer, batcher, inbox):
                for number in range(1, 9):
                    batcher.submit(ask(number), inbox)
            await inbox.wait_for(9)

    failed = [outcome for outcome in inbox.outcomes if isinstance(outcome, RecognitionFailure)]
    assert [outcome.request.request_id for outcome in failed] == [5]
    assert failed[0].message == "the recogniser failed (BrokenRequestError)"
    assert sorted(inbox.numbers) == list(range(9))


async def test_what_is_discarded_while_a_failing_batch_is_split_is_not_tried_again() -> None:
    inbox = Inbox()
    batcher: Batcher

    class Discarding(FakeRecognizer):
        def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
            if len(batch) > 1:
                loop.call_soon_threadsafe(batcher.discard, "a", 2)
            return super().recognize(batch)

    loop = asyncio.get_running_loop()
    recognizer = Discarding(breaks_on=lambda request: request.request_id == 2)
    async with running(recognizer) as batcher:
        async with busy(recognizer, batcher, inbox):
            batcher.submit(ask(1), inbox)
            batcher.submit(ask(2), inbox)
        await inbox.wait_for(3)

    assert isinstance(inbox.of(2), RecognitionShed)
    assert [[request.request_id for request in batch] for batch in recognizer.batches] == [[0], [1, 2], [1]]


async def test_later_requests_are_answered_after_a_failure() -> None:
    recognizer, inbox = FakeRecognizer(breaks_on=lambda request: request.request_id == 1), Inbox()
    async with running(recognizer) as batcher:
        batcher.submit(ask(1), inbox)
        await inbox.wait_for(1)
        batcher.submit(ask(2), inbox)
        await inbox.wait_for(2)

    assert isinstance(inbox.of(2), RecognitionResult)


class Refusing(FakeRecognizer):
    """Fails with errors that say what to do."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def recognize(self, _batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
        raise self._error


@pytest.mark.parametrize(
    ("error", "message", "retryable"),
    [
        (FeatureError("too long"), "too long", False),
        (RecognitionError("try again"), "try again", True),
        (MemoryError(SPOKEN), "the recogniser failed (MemoryError)", True),
    ],
)
async def test_a_failure_tells_the_client_only_what_we_said_ourselves(
    error: Exception, message: str, retryable: bool
) -> None:
    inbox = Inbox()
    async with running(Refusing(error)) as batcher:
        batcher.submit(ask(1), inbox)
        (outcome,) = await inbox.wait_for(1)

    assert outcome == RecognitionFailure(outcome.request, message, retryable)


async def test_audio_that_fits_no_bucket_fails_at_once() -> None:
    inbox = Inbox()
    async with running(FakeRecognizer()) as batcher:
        batcher.submit(ask(1, seconds=31), inbox)

        (outcome,) = inbox.outcomes
    assert isinstance(outcome, RecognitionFailure)
    assert not outcome.retryable
    assert "31.0 s does not fit" in outcome.message


class Shuffling(FakeRecognizer):
    """Answers what it was not asked."""

    def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
        return super().recognize(batch)[::-1] if len(batch) > 1 else super().recognize([ask(99)])


async def test_answers_to_other_requests_are_taken_for_a_failure() -> None:
    recognizer, inbox = Shuffling(), Inbox()
    async with running(recognizer) as batcher:
        async with busy(recognizer, batcher, inbox):
            batcher.submit(ask(1), inbox)
            batcher.submit(ask(2), inbox)
        await inbox.wait_for(3)

    assert {type(outcome) for outcome in inbox.outcomes} == {RecognitionFailure}
    assert sorted(inbox.numbers) == [0, 1, 2]


async def test_a_callback_that_raises_harms_nobody_and_says_nothing_of_what_was_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(outcome: RecognitionOutcome) -> None:
        raise ValueError(f"cannot take {SPOKEN} {outcome}")

    recognizer, inbox = FakeRecognizer(lambda _request: SPOKEN), Inbox()
    async with running(recognizer) as batcher:
        batcher.submit(ask(1), broken)
        batcher.submit(ask(2), inbox)
        await inbox.wait_for(1)

    assert "session a could not take an answer: ValueError at" in caplog.text
    assert SPOKEN not in caplog.text


async def test_failures_are_logged_without_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox()
    async with running(Refusing(ValueError(SPOKEN))) as batcher:
        batcher.submit(ask(1), inbox)
        await inbox.wait_for(1)

    assert "request 1 of session a failed: ValueError at" in caplog.text
    assert SPOKEN not in caplog.text


async def test_a_number_that_is_not_answered_yet_is_refused() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    async with running(recognizer) as batcher, busy(recognizer, batcher, inbox):
        with pytest.raises(RecognitionError, match="request 0 of session a is not answered yet"):
            batcher.submit(ask(0), inbox)
        batcher.submit(ask(0, session="b"), inbox)


async def test_a_callback_may_submit_again() -> None:
    inbox = Inbox()
    async with running(FakeRecognizer()) as batcher:
        batcher.submit(ask(1), lambda _outcome: batcher.submit(ask(1), inbox))

        assert isinstance((await inbox.wait_for(1))[0], RecognitionResult)


async def test_a_lone_request_waits_for_company_where_configured() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    async with running(recognizer, max_wait_ms=1000) as batcher:
        batcher.submit(ask(1), inbox)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not recognizer.batches
        batcher.submit(ask(2), inbox)
        await inbox.wait_for(2)

    assert [len(batch) for batch in recognizer.batches] == [2]


async def test_a_lone_request_does_not_wait_for_ever() -> None:
    inbox = Inbox()
    async with running(FakeRecognizer(), max_wait_ms=1) as batcher:
        batcher.submit(ask(1), inbox)

        assert isinstance((await inbox.wait_for(1))[0], RecognitionResult)


async def test_closing_answers_finals_and_sheds_the_rest() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    batcher = Batcher(recognizer, BatcherSettings())
    await batcher.start()
    async with busy(recognizer, batcher, inbox):
        for number, kind in enumerate([FINAL, SPECULATIVE, INTERIM, SPECULATIVE], start=1):
            batcher.submit(ask(number, kind), inbox)
        batcher.promote("a", 4)
        closing = asyncio.create_task(batcher.aclose())
        await asyncio.sleep(0)
        assert {outcome.request.request_id for outcome in inbox.outcomes} == {2, 3}
    await closing

    assert isinstance(inbox.of(1), RecognitionResult)
    assert isinstance(inbox.of(4), RecognitionResult)
    assert isinstance(inbox.of(2), RecognitionShed)
    assert isinstance(inbox.of(3), RecognitionShed)


async def test_closing_waits_no_longer_than_it_is_told() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    batcher = Batcher(recognizer, BatcherSettings())
    await batcher.start()
    async with busy(recognizer, batcher, inbox):
        batcher.submit(ask(1), inbox)
        await batcher.aclose(timeout_s=0.0)

        assert Counter(type(outcome) for outcome in inbox.outcomes) == {RecognitionFailure: 2}


async def test_closing_twice_is_closing_once() -> None:
    inbox = Inbox()
    batcher = Batcher(FakeRecognizer(), BatcherSettings())
    await batcher.start()
    batcher.submit(ask(1), inbox)
    await asyncio.gather(batcher.aclose(), batcher.aclose())
    await batcher.aclose()

    assert [type(outcome) for outcome in inbox.outcomes] == [RecognitionResult]


async def test_a_batcher_that_never_started_answers_when_it_is_closed() -> None:
    inbox = Inbox()
    batcher = Batcher(FakeRecognizer(), BatcherSettings())
    batcher.submit(ask(1), inbox)
    batcher.submit(ask(2, INTERIM), inbox)
    await batcher.aclose()

    assert isinstance(inbox.of(1), RecognitionFailure)
    assert isinstance(inbox.of(2), RecognitionShed)


async def test_requests_after_the_close_fail_at_once() -> None:
    inbox = Inbox()
    batcher = Batcher(FakeRecognizer(), BatcherSettings())
    await batcher.start()
    await batcher.aclose()
    batcher.submit(ask(1), inbox)

    (outcome,) = inbox.outcomes
    assert outcome == RecognitionFailure(outcome.request, "the recogniser has stopped: connect again later")


async def test_a_batcher_starts_once() -> None:
    async with running(FakeRecognizer()) as batcher:
        with pytest.raises(RecognitionError, match="starts once"):
            await batcher.start()


async def test_a_close_that_is_cancelled_leaves_nobody_waiting() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    batcher = Batcher(recognizer, BatcherSettings())
    await batcher.start()
    async with busy(recognizer, batcher, inbox):
        batcher.submit(ask(1), inbox)
        closing = asyncio.create_task(batcher.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)

        assert sorted(inbox.numbers) == [0, 1]
        assert {type(outcome) for outcome in inbox.outcomes} == {RecognitionFailure}


async def test_a_cancelled_loop_leaves_nobody_waiting() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    batcher = Batcher(recognizer, BatcherSettings())
    await batcher.start()
    (consumer,) = [task for task in asyncio.all_tasks() if task.get_name() == "batcher"]
    async with busy(recognizer, batcher, inbox):
        batcher.submit(ask(1), inbox)
        consumer.cancel()
        await asyncio.gather(consumer, return_exceptions=True)
        batcher.submit(ask(2), inbox)

        assert {type(outcome) for outcome in inbox.outcomes} == {RecognitionFailure}
        assert sorted(inbox.numbers) == [0, 1, 2]
    await batcher.aclose()


async def test_many_sessions_are_each_answered_exactly_once() -> None:
    """Everything at once: all kinds, failures, discards, promotions, and a close in the middle."""
    choice = np.random.default_rng(7)
    recognizer = FakeRecognizer(breaks_on=lambda request: request.request_id % 17 == 0)
    inbox = Inbox()
    batcher = Batcher(recognizer, BatcherSettings(max_queue=16))
    await batcher.start()
    for number in range(400):
        kind = RequestKind(int(choice.integers(3)))
        session = f"s{choice.integers(5)}"
        request = ask(
            number, kind, session=session, segment=1 + int(choice.integers(4)), seconds=float(choice.uniform(0.1, 14))
        )
        batcher.submit(request, inbox)
        if number % 5 == 0:
            batcher.discard(session, int(choice.integers(number + 1)))
        if number % 7 == 0:
            batcher.promote(session, int(choice.integers(number + 1)))
        if number % 20 == 0:
            await asyncio.sleep(0)
    await batcher.aclose()

    assert sorted(inbox.numbers) == list(range(400))
    assert all(len({recognizer.window_s(request) for request in batch}) == 1 for batch in recognizer.batches)
    assert not any(
        isinstance(outcome, RecognitionShed) and outcome.reason == "overload" and outcome.request.kind is FINAL
        for outcome in inbox.outcomes
    )
