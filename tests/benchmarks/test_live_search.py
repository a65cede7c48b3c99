"""The search for the largest number of streams."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.live_search import LargestSearch


def search(carries: Callable[[int], bool], most: int = 64) -> tuple[LargestSearch, list[int]]:
    """The search when it is done, and what it tried."""
    looking, tried = LargestSearch(most), []
    while (streams := looking.next) is not None:
        tried.append(streams)
        looking.tell(streams, carries(streams))
    return looking, tried


def test_it_doubles_and_then_bisects() -> None:
    found, tried = search(lambda streams: streams <= 11)

    assert found.found == 11
    assert tried == [1, 2, 4, 8, 16, 12, 10, 11]


def test_a_server_that_carries_nothing_is_said_so() -> None:
    found, tried = search(lambda _streams: False)

    assert (found.found, found.open_ended, tried) == (0, False, [1])


def test_at_the_most_it_stops_and_says_that_there_may_be_more() -> None:
    found, tried = search(lambda _streams: True, most=5)

    assert (found.found, found.open_ended, tried) == (5, True, [1, 2, 4, 5])


def test_what_is_carried_above_a_failure_is_not_looked_for() -> None:
    found, tried = search(lambda streams: streams in {1, 2, 5, 8})

    assert found.found == 2
    assert tried == [1, 2, 4, 3]


def test_a_number_outside_of_what_is_open_changes_nothing() -> None:
    looking = LargestSearch(64)
    for streams, carried in ((1, True), (2, True), (4, False)):
        looking.tell(streams, carried)

    looking.tell(8, True)
    looking.tell(1, False)

    assert (looking.found, looking.next) == (2, 3)


@given(st.integers(1, 70), st.sets(st.integers(1, 70)))
def test_whatever_the_server_does_the_answer_was_carried_and_the_next_was_not(most: int, carried: set[int]) -> None:
    found, tried = search(carried.__contains__, most)

    assert len(tried) == len(set(tried)) <= 2 * most.bit_length() + 1
    assert found.found == 0 or found.found in carried.intersection(tried)
    if not found.open_ended:
        assert found.found + 1 in set(tried) - carried


def test_at_least_one_must_be_tried() -> None:
    with pytest.raises(ValueError, match="got 0"):
        LargestSearch(0)
