"""How words are compared and put together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.recognition.wording import join, normalise


@pytest.mark.parametrize(
    ("one", "other"),
    [("Hello,", "hello"), ("“Well”", "well"), ("STRASSE", "straße"), ("café", "cafe\u0301"), ("don't", "Don't!")],
)
def test_words_that_differ_in_case_and_punctuation_alone_are_the_same(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(("one", "other"), [("there", "their"), ("can't", "cant"), ("e-mail", "email"), ("…", "?")])
def test_other_words_are_not(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


def test_vowel_signs_at_the_end_of_a_word_are_no_punctuation() -> None:
    assert normalise("नमस्ते।") == "नमस्ते"


@given(st.text())
def test_normalising_twice_changes_nothing_more(word: str) -> None:
    assert normalise(normalise(word)) == normalise(word)


def test_words_are_joined_with_spaces() -> None:
    assert join(["Well,", "then."]) == "Well, then."


def test_scripts_without_spaces_are_joined_without() -> None:
    assert join(["今日", "は", "OK", "です"]) == "今日は OK です"


def test_nothing_is_joined_to_nothing() -> None:
    assert join([]) == ""
