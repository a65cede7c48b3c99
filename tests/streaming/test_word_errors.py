from __future__ import annotations

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.word_errors import edit_distance, word_error_rate, words_of

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8)


@pytest.mark.parametrize(
    ("said", "found", "rate"),
    [
        ("don't forget a jacket", "Don\N{RIGHT SINGLE QUOTATION MARK}t forget a jacket!", 0.0),
        ("one two three four", "one two three", 0.25),
        ("one two three four", "one too three four five", 0.5),
        ("one", "one one one", 2.0),
        ("", "", 0.0),
        ("", "you", 1.0),
    ],
)
def test_errors_are_counted_over_the_words_that_were_said(said: str, found: str, rate: float) -> None:
    assert word_error_rate([(said, found)]) == rate


def test_utterances_count_by_their_words() -> None:
    assert word_error_rate([("a b c d", "a b c d"), ("a", "b")]) == pytest.approx(0.2)


def test_case_and_punctuation_are_no_words() -> None:
    assert words_of("Well, I -- I'm HERE.") == ["well", "i", "i'm", "here"]


@settings(deadline=None)
@given(WORDS.filter(bool), WORDS)
def test_it_agrees_with_an_independent_count(said: list[str], found: list[str]) -> None:
    expected = jiwer.process_words(" ".join(said), " ".join(found))
    assert edit_distance(said, found) == expected.substitutions + expected.insertions + expected.deletions
