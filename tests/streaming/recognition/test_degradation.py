"""What gives way under load, and when it comes back: on a clock that tests move."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.recognition.degradation import BUSY, CALM, Degradation, DegradationLadder
from streaming.recognition.load import WINDOW_S, Load, LoadMeter
from streaming.recognition.request import RequestKind

NONE, SLOWER, WORDLESS, FINALS = Degradation
IDLE = Load(0.1, 0.1, 0.05)


def after(ladder: DegradationLadder, load: Load, *, start_s: float, seconds: float) -> Degradation:
    """The step after a load has lasted."""
    for tenth in range(round(seconds * 10) + 1):
        step = ladder.update(load, start_s + tenth / 10)
    return step


@pytest.mark.parametrize(
    ("load", "step"),
    [
        (Load(0.3, 0.3, 0.15), NONE),
        (Load(0.3, 0.9, 0.45), SLOWER),
        (Load(0.3, 1.9, 0.9), WORDLESS),
        (Load(0.3, 4.0, 2.0), FINALS),
        (Load(1.5, 0.0, 0.0), FINALS),
    ],
)
def test_as_much_is_given_up_as_the_load_asks_for_and_no_more(load: Load, step: Degradation) -> None:
    assert after(DegradationLadder(), load, start_s=0, seconds=2) is step


def test_a_rush_of_a_moment_degrades_nobody() -> None:
    ladder = DegradationLadder()
    after(ladder, Load(0.5, 3.0, 1.0), start_s=0, seconds=0.9)

    assert after(ladder, IDLE, start_s=1, seconds=5) is NONE


def test_what_was_given_up_comes_back_one_step_at_a_time() -> None:
    ladder = DegradationLadder()
    after(ladder, Load(0.3, 4.0, 2.0), start_s=0, seconds=2)
    steps = []
    for tenth in range(20, 700):
        step = ladder.update(IDLE, tenth / 10)
        if not steps or steps[-1] is not step:
            steps.append(step)

    assert steps == [FINALS, WORDLESS, SLOWER, NONE]


@given(
    finals=st.floats(0, 1.2),
    interims=st.floats(0, 5),
    wordless=st.floats(0.2, 1),
    wobble=st.floats(0, 0.1),
)
def test_a_steady_load_does_not_make_it_go_to_and_fro(
    finals: float, interims: float, wordless: float, wobble: float
) -> None:
    ladder, seen = DegradationLadder(), []
    for tenth in range(1200):
        load = Load(finals + (wobble / 2 if tenth % 7 else -wobble / 2), interims, wordless * interims)
        seen.append(ladder.update(load, tenth / 10))

    assert sum(one is not two for one, two in pairwise(seen)) <= len(Degradation)


@given(finals=st.floats(0, 2), interims=st.floats(0, 5), wordless=st.floats(0, 1))
def test_giving_up_more_never_asks_for_more(finals: float, interims: float, wordless: float) -> None:
    load = Load(finals, interims, wordless * interims)
    demands = [step.demand(load) for step in Degradation]

    assert demands == sorted(demands, reverse=True)
    assert demands[-1] == finals


def test_there_is_room_between_going_up_and_coming_down() -> None:
    assert CALM < BUSY < 1


class TestLoadMeter:
    def test_finals_count_for_as_long_as_the_window(self) -> None:
        meter = LoadMeter(1.0)
        for second in range(20):
            meter.computed(RequestKind.FINAL, 1, 0.25, second + 0.25)

        assert meter.load(20.0).finals == pytest.approx(0.25, abs=0.03)
        assert meter.load(20.0 + WINDOW_S).finals == 0

    def test_interims_count_as_often_as_they_are_wanted_however_few_are_computed(self) -> None:
        meter = LoadMeter(0.5)
        for speaker in range(6):
            meter.asked("s", speaker, 1, 0.0)
        meter.computed(RequestKind.INTERIM, 2, 0.2, 0.2)

        assert meter.load(0.2).interims == pytest.approx(6 * 0.1 / 0.5)

    def test_a_segment_that_ended_wants_no_interims(self) -> None:
        meter = LoadMeter(1.0)
        meter.asked("s", 0, 1, 0.0)
        meter.computed(RequestKind.INTERIM, 1, 0.1, 0.1)
        meter.answered("s", 0, 1)

        assert meter.load(0.2).interims == 0

    def test_a_segment_that_has_not_asked_for_long_is_forgotten(self) -> None:
        meter = LoadMeter(1.0)
        meter.asked("s", 0, 1, 0.0)
        meter.computed(RequestKind.INTERIM, 1, 0.1, 0.1)

        assert meter.load(WINDOW_S - 0.1).interims > 0
        assert meter.load(WINDOW_S + 60).interims == pytest.approx(0, abs=1e-3)

    def test_people_who_begin_and_end_sentences_are_counted_on_average(self) -> None:
        meter, seen = LoadMeter(1.0), []
        for segment in range(100):
            meter.asked("s", 0, segment, float(segment))
            meter.computed(RequestKind.INTERIM, 1, 0.1, segment + 0.1)
            seen.append(meter.load(segment + 0.5).interims)
            meter.answered("s", 0, segment)
            seen.append(meter.load(segment + 1.0).interims)

        assert seen[-20:] == pytest.approx([0.05] * 20, abs=0.01)

    def test_interims_without_words_are_measured_apart(self) -> None:
        meter = LoadMeter(1.0)
        meter.asked("s", 0, 1, 0.0)
        meter.computed(RequestKind.INTERIM, 1, 0.1, 0.1)
        guessed = meter.load(0.2).wordless_interims
        meter.computed(RequestKind.INTERIM, 1, 0.02, 0.22, words=False)

        assert guessed == pytest.approx(0.05)
        assert meter.load(0.3).wordless_interims == pytest.approx(0.02)
