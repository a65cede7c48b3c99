from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.hysteresis import LabelHysteresis

LABELS = st.sampled_from(["angry", "happy", "sad", None])


def shown(labels: list[str | None], hold: int = 2) -> list[str | None]:
    hysteresis = LabelHysteresis(hold)
    return [hysteresis.push(label) for label in labels]


def test_the_first_label_shows_at_once() -> None:
    assert shown(["angry"]) == ["angry"]


def test_the_first_label_after_abstentions_shows_at_once() -> None:
    assert shown([None, None, "angry"]) == [None, None, "angry"]


def test_a_single_other_label_does_not_show() -> None:
    assert shown(["angry", "happy", "angry"]) == ["angry", "angry", "angry"]


def test_a_label_that_holds_shows() -> None:
    assert shown(["angry", "happy", "happy"]) == ["angry", "angry", "happy"]


def test_two_rivals_do_not_add_up() -> None:
    assert shown(["angry", "happy", "sad", "happy", "sad"]) == ["angry"] * 5


def test_the_shown_label_coming_back_starts_the_count_anew() -> None:
    assert shown(["angry", "happy", "angry", "happy"]) == ["angry"] * 4


def test_an_abstention_must_hold_like_a_label() -> None:
    assert shown(["angry", None, "angry", None, None]) == ["angry", "angry", "angry", "angry", None]


def test_a_hold_of_one_shows_every_label_as_it_comes() -> None:
    assert shown(["angry", "happy", None, "sad"], hold=1) == ["angry", "happy", None, "sad"]


def test_a_hold_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        LabelHysteresis(0)


@given(st.lists(LABELS), st.integers(1, 4))
def test_the_shown_label_changes_only_to_one_that_held(labels: list[str | None], hold: int) -> None:
    seen = shown(labels, hold)
    for position in range(1, len(seen)):
        if seen[position] != seen[position - 1] and seen[position - 1] is not None:
            assert labels[position - hold + 1 : position + 1] == [seen[position]] * hold


@given(st.lists(LABELS), st.integers(1, 4))
def test_what_holds_long_enough_is_shown(labels: list[str | None], hold: int) -> None:
    seen = shown(labels, hold)
    for position in range(hold - 1, len(labels)):
        if len(set(labels[position - hold + 1 : position + 1])) == 1:
            assert seen[position] == labels[position]
