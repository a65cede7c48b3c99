"""How long a client tries again, on a clock that tests move."""

from __future__ import annotations

import pytest

from streaming.outage import STEADY_S, Outage, Pauses

STEADY = Pauses(chance=lambda: 0.0)


def pauses_of(outage: Outage, *, attempt_s: float = 0.0, now_s: float = 0.0) -> list[float]:
    """All of them, where no attempt succeeds."""
    pauses = []
    while (pause_s := outage.pause_s(now_s)) is not None:
        pauses.append(pause_s)
        now_s += pause_s + attempt_s
    return pauses


def test_pauses_double_up_to_the_longest() -> None:
    assert [STEADY.before(attempt) for attempt in range(8)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0])


def test_chance_takes_up_to_half_of_a_pause() -> None:
    assert Pauses(chance=lambda: 1.0).before(3) == pytest.approx(0.4)
    assert STEADY.before(10_000) == 3.0


def test_attempts_end_when_the_time_is_up() -> None:
    outage = Outage(10.0, STEADY)
    outage.begin(100.0)

    assert sum(pauses_of(outage, now_s=100.0)) == pytest.approx(10.0)


def test_what_attempts_take_counts() -> None:
    outage = Outage(10.0, STEADY)
    outage.begin(0.0)

    assert sum(pauses_of(outage, attempt_s=2.0)) < 4.0


def test_a_server_that_asks_for_time_gets_it_as_far_as_there_is_some() -> None:
    outage = Outage(10.0, STEADY)
    outage.begin(0.0)

    assert outage.pause_s(0.0, at_least_s=4.0) == pytest.approx(4.0)
    assert outage.pause_s(4.0, at_least_s=60.0) == pytest.approx(6.0)


def test_without_patience_there_is_no_attempt() -> None:
    outage = Outage(0.0, STEADY)
    outage.begin(0.0)

    assert pauses_of(outage) == []


def test_a_connection_that_breaks_before_anything_came_of_it_belongs_to_the_same_outage() -> None:
    outage = Outage(10.0, STEADY)
    outage.begin(0.0)
    assert outage.pause_s(0.0) == pytest.approx(0.1)
    assert outage.connected(4.0) == 4.0

    outage.begin(5.0)

    assert outage.left_s(5.0) == pytest.approx(6.0)
    assert outage.pause_s(5.0) == pytest.approx(0.2)


@pytest.mark.parametrize("lasted_s", [1.0, STEADY_S])
def test_one_that_got_further_or_lasted_begins_a_new_outage(lasted_s: float) -> None:
    outage = Outage(10.0, STEADY)
    outage.begin(0.0)
    outage.pause_s(0.0)
    outage.connected(4.0)
    if lasted_s < STEADY_S:
        outage.over()

    outage.begin(4.0 + lasted_s)

    assert outage.left_s(4.0 + lasted_s) == pytest.approx(10.0)
    assert outage.pause_s(4.0 + lasted_s) == pytest.approx(0.1)
