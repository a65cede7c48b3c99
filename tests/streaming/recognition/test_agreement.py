"""LocalAgreement-2: what is promised of committed words."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from streaming.recognition.agreement import Agreement, LocalAgreement
from streaming.recognition.request import Word
from streaming.recognition.wording import normalise

Hypotheses = list[list[str]]
hypotheses = st.lists(st.lists(st.sampled_from(["a", "A,", "b", "b.", "c", "dd"]), max_size=8), max_size=8)


def words(*texts: str) -> tuple[Word, ...]:
    return tuple(Word(text, float(place), place + 1.0, 0.9) for place, text in enumerate(texts))


def pushed(*texts: str) -> list[Agreement]:
    agreement = LocalAgreement()
    return [agreement.push(words(*text.split())) for text in texts]


def spelt(committed: tuple[Word, ...]) -> list[str]:
    return [normalise(word.text) for word in committed]


def test_a_first_hypothesis_commits_nothing() -> None:
    (first,) = pushed("well then")

    assert (first.committed, first.tentative) == ("", "well then")


def test_what_two_successive_hypotheses_begin_with_is_committed() -> None:
    assert pushed("I will go", "I will not go")[-1] == Agreement(
        words("I", "will"), words("I", "will", "not", "go")[2:]
    )


def test_words_agree_whatever_their_case_and_punctuation() -> None:
    last = pushed("hello there", "Hello, there. I am")[-1]

    assert (last.committed, last.tentative) == ("Hello, there.", "I am")


def test_a_committed_word_keeps_the_spelling_it_was_committed_with() -> None:
    assert pushed("hello", "Hello,", "hello you")[-1].committed == "Hello,"


def test_hypotheses_two_apart_do_not_agree() -> None:
    assert pushed("a b", "c", "a b")[-1].committed == ""


def test_a_hypothesis_that_contradicts_a_committed_word_goes_on_behind_it() -> None:
    last = pushed("over their", "over their heads", "over there heads now")[-1]

    assert (last.committed, last.tentative) == ("over their", "heads now")


def test_words_behind_a_contradiction_are_committed_once_agreed_on() -> None:
    last = pushed("over their", "over their heads", "over there heads now", "over there heads now again")[-1]

    assert (last.committed, last.tentative) == ("over their heads now", "again")


def test_words_run_together_later_are_not_shown_twice_nor_lost() -> None:
    last = pushed("I can not", "I can not", "I cannot go there")[-1]

    assert (last.committed, last.tentative) == ("I can not", "go there")


def test_a_shorter_hypothesis_takes_nothing_back() -> None:
    last = pushed("a b c", "a b c", "a")[-1]

    assert (last.committed, last.tentative) == ("a b c", "")


def test_segments_do_not_share_anything() -> None:
    first, second = LocalAgreement(), LocalAgreement()
    first.push(words("a"))

    assert second.push(words("a")).committed == ""


@given(hypotheses)
@example([["a"], ["a"], ["b", "a"], ["b", "a"], []])
def test_committed_words_never_change_nor_shrink(texts: Hypotheses) -> None:
    agreement = LocalAgreement()
    shown = [agreement.push(words(*text)).committed_words for text in texts]

    for before, after in pairwise(shown):
        assert after[: len(before)] == before


@given(hypotheses)
def test_a_word_is_committed_only_where_two_successive_hypotheses_have_it(texts: Hypotheses) -> None:
    agreement = LocalAgreement()
    before: list[str] = []
    committed = 0
    for text in texts:
        now = agreement.push(words(*text)).committed_words
        newest = [normalise(word) for word in text]
        for word in now[committed:]:
            place = int(word.start_s)
            assert text[place] == word.text
            assert newest[: place + 1] == before[: place + 1]
        before, committed = newest, len(now)


@given(hypotheses)
def test_as_long_as_hypotheses_agree_with_it_committed_and_tentative_are_the_newest(texts: Hypotheses) -> None:
    agreement = LocalAgreement()
    for text in texts:
        shown = agreement.push(words(*text))
        newest = [normalise(word) for word in text]
        committed = spelt(shown.committed_words)
        if newest[: len(committed)] == committed:
            assert committed + spelt(shown.tentative_words) == newest


@given(hypotheses)
def test_tentative_words_are_the_end_of_the_newest_hypothesis(texts: Hypotheses) -> None:
    agreement = LocalAgreement()
    for text in texts:
        tentative = agreement.push(words(*text)).tentative_words
        assert tentative == words(*text)[len(text) - len(tentative) :]


@given(hypotheses, st.lists(st.sampled_from(["a", "b", "c"]), max_size=8))
def test_a_hypothesis_said_twice_leaves_nothing_tentative(texts: Hypotheses, last: list[str]) -> None:
    agreement = LocalAgreement()
    for text in [*texts, last]:
        agreement.push(words(*text))

    assert agreement.push(words(*last)).tentative == ""
