"""A speaker's pauses, and the patience they ask for."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.audio.pauses import ENOUGH, REMEMBERED, Pauses

USUAL, LEAST, MOST = 600, 500, 900


def endpoint_after(*silences: int) -> int:
    pauses = Pauses(USUAL, LEAST, MOST)
    for silence in silences:
        pauses.observe(silence)
    return pauses.endpoint


def test_of_a_speaker_of_whom_nothing_is_known_the_usual_is_expected() -> None:
    assert endpoint_after() == USUAL


def test_a_few_pauses_tell_nothing_yet() -> None:
    assert endpoint_after(*[300] * (ENOUGH - 1)) == USUAL
    assert endpoint_after(*[300] * ENOUGH) != USUAL


def test_a_brisk_speaker_is_answered_sooner_but_not_at_once() -> None:
    assert endpoint_after(*[220] * ENOUGH) == LEAST


def test_a_hesitant_speaker_is_given_more_time_but_not_for_ever() -> None:
    assert endpoint_after(*[600] * ENOUGH) == 750
    assert endpoint_after(*[880] * ENOUGH) == MOST


def test_three_of_four_pauses_are_outlasted_by_a_quarter_of_their_length() -> None:
    assert endpoint_after(*[300] * 3, *[560] * 6, *[890] * 3) == 700


def test_a_silence_that_no_patience_would_bridge_is_no_pause() -> None:
    assert endpoint_after(*[560] * ENOUGH, *[MOST + 1] * REMEMBERED) == 700


def test_two_odd_pauses_among_many_change_nothing() -> None:
    assert endpoint_after(*[560] * 20, 200, MOST) == endpoint_after(*[560] * 22)


def test_a_speaker_who_changes_is_followed() -> None:
    assert endpoint_after(*[MOST] * REMEMBERED, *[440] * REMEMBERED) == 550


silences = st.lists(st.integers(1, 2000), max_size=3 * REMEMBERED)
bounds = st.lists(st.integers(40, 10_000), min_size=3, max_size=3).map(sorted)


@given(silences, bounds)
def test_the_endpoint_never_leaves_its_bounds(observed: list[int], within: list[int]) -> None:
    least, usual, most = within
    pauses = Pauses(usual, least, most)
    for silence in observed:
        pauses.observe(silence)
        assert least <= pauses.endpoint <= most


@given(silences, st.integers(40, 10_000))
def test_equal_bounds_turn_it_off(observed: list[int], usual: int) -> None:
    pauses = Pauses(usual, usual, usual)
    for silence in observed:
        pauses.observe(silence)
        assert pauses.endpoint == usual


@given(silences, st.lists(st.integers(1, MOST), min_size=REMEMBERED, max_size=2 * REMEMBERED))
def test_only_the_latest_pauses_count(earlier: list[int], later: list[int]) -> None:
    assert endpoint_after(*earlier, *later) == endpoint_after(*later[-REMEMBERED:])


@given(st.lists(st.integers(1, MOST), min_size=ENOUGH, max_size=REMEMBERED), st.randoms())
def test_their_order_does_not_matter(observed: list[int], random: Random) -> None:
    shuffled = observed[:]
    random.shuffle(shuffled)
    assert endpoint_after(*shuffled) == endpoint_after(*observed)


@given(st.lists(st.integers(1, MOST), min_size=ENOUGH, max_size=REMEMBERED), st.integers(0, 300))
def test_longer_pauses_never_ask_for_less_patience(observed: list[int], more: int) -> None:
    longer = [min(MOST, silence + more) for silence in observed]
    assert endpoint_after(*longer) >= endpoint_after(*observed)


@pytest.mark.parametrize("known", [ENOUGH, ENOUGH + 1, REMEMBERED])
def test_the_upper_quartile_is_one_of_the_pauses(known: int) -> None:
    observed = [404 + 4 * place for place in range(known)]
    assert endpoint_after(*observed) in {round(1.25 * silence) for silence in observed}
