"""Telling a decoder that repeats itself from people who do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.recognition.repetition import words_before_repeat

words = st.lists(st.sampled_from("abcd"), max_size=24)


def cut(text: str, *, strict: bool = True) -> str:
    spoken = text.split()
    return " ".join(spoken[: words_before_repeat(spoken, strict=strict)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "no no",
        "very very very good",
        "no no no no",
        "come on come on",
        "thank you thank you thank you so much",
        "over and over and over again",
        "he said that she said that he knew",
        "i do not know i do not know what to do",
        "hahaha",
    ],
)
def test_what_people_say_stays(text: str) -> None:
    assert cut(text) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("it is eleven o'clock it is eleven o'clock", "it is eleven o'clock"),
        ("it is eleven o'clock it is eleven o'clock it is", "it is eleven o'clock"),
        ("i see the dog the dog the dog the dog and", "i see the dog"),
        ("so so so so so so so so", "so"),
        ("well then we go home we go home we go home now", "well then we go home"),
        ("wait hahahahahahahahahahahaha", "wait"),
        ("no aaaaaaaaaaaaaaaaaaaa yes", "no"),
    ],
)
def test_what_decoders_say_is_cut_after_the_first_time(text: str, kept: str) -> None:
    assert cut(text) == kept


def test_a_second_look_lets_a_long_phrase_be_said_twice_but_not_three_times() -> None:
    phrase = "tear down the fence"

    assert cut(f"{phrase} {phrase}", strict=False) == f"{phrase} {phrase}"
    assert cut(f"{phrase} {phrase} {phrase}", strict=False) == phrase


def test_a_sentence_that_begins_again_and_ends_there_is_cut() -> None:
    sentence = "it is not allied in physiological action to that and may be given in such cases"
    assert cut(f"{sentence} it is not allied in physiological action to") == sentence
    assert cut(f"{sentence} it is not allied in physiological action to", strict=False).endswith("action to")


@pytest.mark.parametrize("again", ["it is not allied", "it is not allied in physiological medicine or at all"])
def test_a_sentence_that_only_opens_alike_stays(again: str) -> None:
    said = f"it is not allied in physiological action to that and may be given so {again}"
    assert cut(said) == said


@given(words)
def test_what_is_kept_does_not_repeat_itself(spoken: list[str]) -> None:
    kept = spoken[: words_before_repeat(spoken, strict=True)]

    assert words_before_repeat(kept, strict=True) == len(kept)


@given(words)
def test_a_strict_cut_keeps_no_more_than_a_lenient_one(spoken: list[str]) -> None:
    assert words_before_repeat(spoken, strict=True) <= words_before_repeat(spoken, strict=False)


@given(st.lists(st.sampled_from("abcd"), min_size=3, max_size=8, unique=True), st.integers(3, 6))
def test_a_phrase_said_three_times_is_always_cut(phrase: list[str], times: int) -> None:
    assert words_before_repeat(phrase * times, strict=False) == len(phrase)
