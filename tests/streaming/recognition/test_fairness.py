"""What a fair lane forgets, and what it must not."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

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


class PlainLane:
    """The same turns, found by looking at everybody."""

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self.served_s: dict[str, float] = {}
        self.now_s = 0.0

    def put(self, waiting: Waiting) -> None:
        session = waiting.request.session
        if all(one.request.session != session for one in self.waiting):
            self.served_s[session] = max(self.served_s.get(session, 0.0), self.now_s)
        self.waiting.append(waiting)

    def remove(self, waiting: Waiting) -> None:
        self.waiting.remove(waiting)
        if not self.waiting:
            self.served_s, self.now_s = {}, 0.0

    def take(self, most: int, max_padded_s: float) -> list[Waiting]:
        batch: list[Waiting] = []
        turn_s = 0.0
        while len(batch) < most:
            able = [one for one in self.waiting if not batch or one.window_s == batch[0].window_s]
            if not able or (batch and (len(batch) + 1) * batch[0].window_s > max_padded_s):
                break
            one = min(able, key=lambda one: (self.served_s[one.request.session], one.place))
            session = one.request.session
            if not batch:
                turn_s = self.served_s[session]
                self.now_s = max(self.now_s, turn_s + one.window_s)
            self.served_s[session] = min(self.served_s[session] + one.window_s, turn_s + max_padded_s)
            self.remove(one)
            batch.append(one)
        return batch


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("abcde"), st.sampled_from([6.0, 10.0, 12.0])),
            st.integers(1, 4),
            st.none(),
        ),
        max_size=80,
    )
)
def test_turns_are_those_that_are_found_by_looking_at_everybody(
    steps: list[tuple[str, float] | int | None],
) -> None:
    lane, plain = FairLane(), PlainLane()
    for number, step in enumerate(steps):
        match step:
            case int():
                assert lane.take(lambda _, most=step: most, 25.0) == plain.take(step, 25.0)  # type: ignore[misc]
            case None if plain.waiting:
                given_up = plain.waiting[len(plain.waiting) // 2]
                lane.remove(given_up.request.session, given_up.request.request_id)
                plain.remove(given_up)
            case (session, window_s):
                put(lane, session, number, window_s)
                plain.put(next(one for one in lane if one.place == number))
            case _:
                pass
        assert len(lane) == len(plain.waiting)
        assert lane.oldest() == min(plain.waiting, key=lambda one: one.place, default=None)


def test_choosing_a_batch_does_not_look_at_all_sessions() -> None:
    lane = FairLane()
    for number in range(5000):
        put(lane, f"caller-{number}", number)
    heap = lane._turns[10.0]
    looked = 0
    is_true = heap._is_true

    def counting(entry: tuple[float, int, str]) -> bool:
        nonlocal looked
        looked += 1
        return is_true(entry)

    heap._is_true = counting
    lane.take(lambda _: 8, 80.0)

    assert looked < 50


def test_a_request_that_is_asked_for_and_given_up_over_and_over_leaves_nothing_behind() -> None:
    lane = FairLane()
    put(lane, "steady", 0)
    for number in range(1, 2000):
        put(lane, "restless", number)
        lane.remove("restless", number)

    assert len(lane._turns[10.0]) < 200
    assert len(lane._ages) < 200
    assert "restless" not in lane._served_s
