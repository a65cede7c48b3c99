"""What a fair lane forgets, and what it must not."""

from __future__ import annotations

import numpy as np

from streaming.recognition.fairness import FairLane, Waiting
from streaming.recognition.request import RecognitionRequest, RequestKind

AUDIO = np.zeros(1600, dtype=np.float32)


def put(lane: FairLane, session: str, number: int, window_s: float = 10.0) -> None:
    request = RecognitionRequest(number, session, 0, 1, RequestKind.FINAL, AUDIO, 0.0)
    lane.put(number, Waiting(request, window_s, number))


def test_sessions_that_come_and_go_leave_nothing_behind() -> None:
    lane = FairLane()
    put(lane, "first", 0)
    for number in range(1, 1000):
        put(lane, f"caller-{number}", number)
        lane.take(lambda _: 1, 80.0)

    assert len(lane._served_s) <= 10


def test_company_in_anothers_batch_sets_nobody_back_by_more_than_a_batch() -> None:
    lane = FairLane()
    for number in range(200):
        put(lane, "busy", 1000 + number)
    for number in range(20):
        put(lane, "calm", number)
        lane.take(lambda _: 8, 80.0)
    for number in range(20):
        put(lane, "calm", 100 + number)
    for number in range(200):
        put(lane, "new", 2000 + number)

    taken = [waiting.request.session for _ in range(20) for waiting in lane.take(lambda _: 1, 80.0)]

    assert "busy" in taken


def test_the_oldest_is_the_one_that_waited_longest_in_any_session() -> None:
    lane = FairLane()
    put(lane, "a", 5)
    put(lane, "b", 3)

    oldest = lane.oldest()

    assert oldest is not None
    assert oldest.request.session == "b"
    assert FairLane().oldest() is None
