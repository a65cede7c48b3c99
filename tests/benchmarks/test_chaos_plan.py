"""What is done to a server in chaos, and when."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.chaos_plan import CALM, EVENLY, Fault, schedule

COUNTS = {
    Fault.DISCONNECT: 500,
    Fault.HALF_MESSAGE: 100,
    Fault.BROKER_STOP: 10,
    Fault.BROKER_KILL: 10,
    Fault.SERVER_KILL: 5,
}


def test_everything_is_planned_as_often_as_asked_and_in_order() -> None:
    deeds = schedule(COUNTS, seconds=600.0, seed=1)

    assert Counter(deed.fault for deed in deeds) == COUNTS
    assert [deed.at_s for deed in deeds] == sorted(deed.at_s for deed in deeds)
    assert all(CALM[0] * 600 <= deed.at_s <= CALM[1] * 600 for deed in deeds)


def test_one_kill_is_over_before_the_next() -> None:
    deeds = schedule(COUNTS, seconds=600.0, seed=1)

    kills = [deed.at_s for deed in deeds if deed.fault is Fault.SERVER_KILL]
    brokers = [deed.at_s for deed in deeds if deed.fault in EVENLY and deed.fault is not Fault.SERVER_KILL]
    assert all(later - earlier > 30.0 for earlier, later in pairwise(kills))
    assert all(later - earlier > 7.5 for earlier, later in pairwise(brokers))


def test_the_seed_alone_says_what_happens() -> None:
    assert schedule(COUNTS, seconds=60.0, seed=1) == schedule(COUNTS, seconds=60.0, seed=1)
    assert schedule(COUNTS, seconds=60.0, seed=1) != schedule(COUNTS, seconds=60.0, seed=2)


@given(
    counts=st.dictionaries(st.sampled_from(list(Fault)), st.integers(0, 40)),
    seconds=st.floats(1.0, 3600.0),
    seed=st.integers(0, 100),
)
def test_whatever_is_asked_for_lies_within_the_run(counts: dict[Fault, int], seconds: float, seed: int) -> None:
    deeds = schedule(counts, seconds=seconds, seed=seed)

    assert Counter(deed.fault for deed in deeds) == Counter({fault: n for fault, n in counts.items() if n})
    assert all(0 <= deed.at_s <= seconds for deed in deeds)


@pytest.mark.parametrize(("counts", "seconds"), [({Fault.DISCONNECT: -1}, 60.0), ({}, 0.0)])
def test_nothing_can_be_done_less_than_never_or_in_no_time(counts: dict[Fault, int], seconds: float) -> None:
    with pytest.raises(ValueError, match="nothing can be done"):
        schedule(counts, seconds=seconds, seed=1)
