"""Contenders in turn, and what is made of their times and answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.fusion_rounds import LEAST_ROUNDS, Times, difference, in_turn
from models.engines.base import EngineOutput


class FakeClock:
    """Stands still but for what is done to it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def spend(self, seconds: float) -> None:
        self.now_s += seconds


def test_every_round_runs_all_and_begins_with_another() -> None:
    order: list[str] = []
    runs = {name: (lambda name=name: order.append(name)) for name in "abc"}  # type: ignore[misc]

    in_turn(runs, 4, budget_s=1.0, settle=lambda: None)

    assert "".join(order) == "abcbcacababc"


def test_of_several_calls_in_a_row_the_first_is_made_and_not_counted() -> None:
    clock = FakeClock()
    calls: list[str] = []

    def cold_at_first(name: str) -> None:
        clock.spend(0.1 if calls[-1:] == [name] else 5.0)
        calls.append(name)

    runs = {name: (lambda name=name: cold_at_first(name)) for name in "ab"}  # type: ignore[misc]

    taken = in_turn(runs, 2, budget_s=60.0, in_a_row=2, settle=lambda: None, clock=clock)

    assert "".join(calls) == "aaabbb" + "bbbaaa"
    assert taken == {"a": pytest.approx([0.1] * 4), "b": pytest.approx([0.1] * 4)}


def test_only_the_call_itself_is_timed() -> None:
    clock = FakeClock()
    runs = {"quick": lambda: clock.spend(0.001), "slow": lambda: clock.spend(0.5)}

    taken = in_turn(runs, 3, budget_s=60.0, settle=lambda: clock.spend(10.0), clock=clock)

    assert taken == {"quick": pytest.approx([0.001] * 3), "slow": pytest.approx([0.5] * 3)}


@pytest.mark.parametrize(("call_s", "rounds"), [(0.1, 10), (2.5, 5), (100.0, LEAST_ROUNDS)])
def test_when_the_time_is_used_up_no_round_begins_once_there_are_enough(call_s: float, rounds: int) -> None:
    clock = FakeClock()
    told: list[None] = []

    taken = in_turn(
        {"one": lambda: clock.spend(call_s)},
        10,
        budget_s=10.0,
        settle=lambda: None,
        clock=clock,
        told=lambda: told.append(None),
    )

    assert len(taken["one"]) == len(told) == rounds


def test_times_are_a_median_with_its_spread() -> None:
    times = Times.of([second / 1000 for second in range(1, 12)])
    assert (times.times, times.median_ms, times.p10_ms, times.p90_ms) == (11, 6.0, pytest.approx(2.0), 10.0)
    assert (times.min_ms, times.max_ms) == (1.0, 11.0)


def output(probabilities: list[list[float]], attribute: float = 4.0) -> EngineOutput:
    rows = len(probabilities)
    return EngineOutput(np.array(probabilities, dtype=np.float32), np.full((rows, 3), attribute, dtype=np.float32))


def test_the_difference_is_the_largest_of_scores_and_of_attributes_as_shares_of_their_range() -> None:
    wanted = output([[0.25, 0.75]])
    assert difference(output([[0.5, 0.5]]), wanted) == pytest.approx(0.25)
    assert difference(output([[0.25, 0.75]], attribute=7.0), wanted) == pytest.approx(0.5)


def test_where_the_reference_has_fewer_rows_the_first_are_compared() -> None:
    assert difference(output([[0.5, 0.5], [1.0, 0.0]]), output([[0.5, 0.5]])) == 0.0


def test_what_is_no_number_differs_by_no_number() -> None:
    assert math.isnan(difference(output([[math.nan, 0.5]]), output([[0.5, 0.5]])))
    assert math.isnan(difference(output([[0.5, 0.5]], attribute=math.nan), output([[0.5, 0.5]])))


@pytest.mark.parametrize("found", [[[0.5, 0.5]], [[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]]], ids=["row missing", "label more"])
def test_scores_of_another_shape_are_no_scores(found: list[list[float]]) -> None:
    assert math.isnan(difference(output(found), output([[0.5, 0.5], [0.5, 0.5]])))
