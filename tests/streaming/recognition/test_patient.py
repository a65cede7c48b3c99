"""The batcher for files: nothing is computed ahead."""

from __future__ import annotations

import asyncio

import numpy as np

from streaming.config import BatcherSettings
from streaming.recognition.patient import PatientBatcher
from streaming.recognition.request import (
    RecognitionOutcome,
    RecognitionRequest,
    RecognitionResult,
    RecognitionShed,
    RequestKind,
)
from tests.fakes.recognizer import PATIENCE_S, FakeRecognizer


def request(number: int, kind: RequestKind) -> RecognitionRequest:
    return RecognitionRequest(number, "s1", 0, number, kind, np.ones(16_000, dtype=np.float32), 0.0)


class Inbox:
    """Outcomes as they are delivered."""

    def __init__(self) -> None:
        self.outcomes: asyncio.Queue[RecognitionOutcome] = asyncio.Queue()

    async def next(self) -> RecognitionOutcome:
        return await asyncio.wait_for(self.outcomes.get(), PATIENCE_S)

    def put(self, outcome: RecognitionOutcome) -> None:
        self.outcomes.put_nowait(outcome)


async def test_a_speculative_final_is_computed_once_it_is_promoted_and_as_a_final() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    batcher = PatientBatcher(recognizer, BatcherSettings())
    await batcher.start()
    batcher.submit(request(1, RequestKind.SPECULATIVE), inbox.put)
    batcher.submit(request(2, RequestKind.FINAL), inbox.put)
    first = await inbox.next()
    batcher.promote("s1", 1)
    second = await inbox.next()
    await batcher.aclose()

    assert [outcome.request.request_id for outcome in (first, second)] == [2, 1]
    assert isinstance(second, RecognitionResult)
    assert [r.kind for batch in recognizer.batches for r in batch] == [RequestKind.FINAL, RequestKind.FINAL]


async def test_one_that_is_discarded_is_never_computed() -> None:
    recognizer, inbox = FakeRecognizer(), Inbox()
    batcher = PatientBatcher(recognizer, BatcherSettings())
    await batcher.start()
    batcher.submit(request(1, RequestKind.SPECULATIVE), inbox.put)
    batcher.discard("s1", 1)
    batcher.promote("s1", 1)
    await batcher.aclose()

    assert isinstance(await inbox.next(), RecognitionShed)
    assert inbox.outcomes.empty()
    assert recognizer.batches == []


async def test_what_is_held_at_the_end_is_answered_all_the_same() -> None:
    inbox = Inbox()
    batcher = PatientBatcher(FakeRecognizer(), BatcherSettings())
    await batcher.start()
    batcher.submit(request(1, RequestKind.SPECULATIVE), inbox.put)
    await batcher.aclose()

    assert isinstance(await inbox.next(), RecognitionShed)


async def test_others_may_still_be_discarded() -> None:
    inbox = Inbox()
    batcher = PatientBatcher(FakeRecognizer(), BatcherSettings())
    batcher.submit(request(1, RequestKind.FINAL), inbox.put)
    batcher.discard("s1", 1)
    await batcher.aclose()

    assert isinstance(await inbox.next(), RecognitionShed)
