"""What is told of the words: masked alike in text and words, or not at all, in every event."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.config import Disclosure, PrivacySettings, Settings
from streaming.events import EmotionEvent, Event, TranscriptEvent
from streaming.privacy import disclosed, masked
from streaming.recognition.request import RecognitionRequest, Transcript, Word
from streaming.recognition.wording import join
from tests.fakes.shell import make_shell, silence, speech

LOCAL_PARTS = st.text("abcdefghijklmnopqrstuvwxyzäéß0123456789._%+-", min_size=2, max_size=12).filter(
    lambda text: text[0].isalnum() and text[-1].isalnum()
)
DOMAINS = st.lists(st.text("bcdfghjklm0123456789", min_size=2, max_size=6), min_size=2, max_size=4).map(".".join)


def transcript(text: str, words: list[str] | None = None) -> Transcript:
    spoken = text.split() if words is None else words
    timed = tuple(Word(word, 0.1 * place, 0.1 * (place + 1), 0.9) for place, word in enumerate(spoken))
    return Transcript(text, timed, "en", 0.9, -0.2, 0.01)


def texts(said: Transcript) -> list[str]:
    return [word.text for word in said.words]


def holds_a_number(text: str) -> bool:
    return any(unicodedata.category(character).startswith("N") for character in text)


# --- digits


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("My card is 4111 1111.", "My card is #### ####."),
        ("At 3pm, on the 2nd.", "At #pm, on the #nd."),
        ("٣٤ ३४ \uff13\uff14", "## ## ##"),
        ("x² and ½ of Ⅷ", "x# and # of #"),
        ("four two, 一起", "four two, 一起"),
        ("", ""),
    ],
)
def test_every_digit_of_every_script_is_masked_and_spelt_out_numbers_stay(said: str, told: str) -> None:
    assert masked(said) == told


@given(st.text(max_size=40))
def test_no_digit_survives_in_text_or_words_whatever_was_said(text: str) -> None:
    told = disclosed(transcript(text), "masked")

    assert not holds_a_number(told.text)
    assert not any(holds_a_number(word) for word in texts(told))


# --- e-mail addresses


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Write to john.smith@example.com, please.", "Write to [email], please."),
        ("It is john_7@mail.example.co.uk.", "It is [email]."),
        ("(a@b.de;c@d.fr)", "([email];[email])"),
        ("That is what I said. john@example.com. Got it?", "That is what I said. [email]. Got it?"),
        ("john . smith @ example . com is mine", "[email] is mine"),
        ("anna @example.com or ben@ example.com", "[email] or [email]"),
        ("jürgen@straße.de", "[email]"),
        ("john\uff20example.com", "[email]"),
        ("root@localhost", "[email]"),
        ("メールはjohn@example.comです。", "メールは[email]です。"),
        ("lunch @ noon", "lunch @ noon"),
        ("@home", "@home"),
        ("john@ then, or john @then", "[email] then, or john @then"),
        ("and my address is john.smith@", "and my address is [email]"),
        ("@@@", "@@@"),
        ("a@b@c.de", "[email]@c.de"),
    ],
)
def test_an_address_is_masked_wherever_it_stands(said: str, told: str) -> None:
    assert masked(said) == told


def test_words_an_address_is_spread_over_become_one_that_lasts_as_long() -> None:
    said = transcript("to john.smith@example.com, 7 times", ["to", "john.", "smith@", "example.com,", "7", "times"])

    told = disclosed(said, "masked")

    assert texts(told) == ["to", "[email],", "#", "times"]
    assert (told.words[1].start_s, told.words[1].end_s) == (said.words[1].start_s, said.words[3].end_s)
    assert told.text == "to [email], # times"


def test_addresses_that_share_a_word_are_both_masked() -> None:
    told = disclosed(transcript("a@b.de,c @d.fr", ["a@b.de,c", "@d.fr"]), "masked")

    assert texts(told) == ["[email],[email]"]


def test_a_text_that_is_not_made_of_its_words_is_masked_all_the_same() -> None:
    told = disclosed(transcript("ring 12", ["mail", "a@b", ".de", "34"]), "masked")

    assert told.text == "ring ##"
    assert texts(told) == ["mail", "[email]", "##"]


@given(local=LOCAL_PARTS, domain=DOMAINS, cuts=st.sets(st.integers(1, 40), max_size=6))
def test_nothing_of_an_address_survives_however_it_is_cut_into_words(local: str, domain: str, cuts: set[int]) -> None:
    address = f"{local}@{domain}"
    places = sorted({0, len(address), *(cut for cut in cuts if cut < len(address))})
    pieces = [address[start:end] for start, end in itertools.pairwise(places)]
    said = transcript(f"write to {address} today", ["write", "to", *pieces, "today"])

    told = disclosed(said, "masked")

    assert told.text == "write to [email] today"
    assert texts(told) == ["write", "to", "[email]", "today"]


@given(st.lists(st.text("ab1@. ", min_size=1, max_size=5).map(str.strip).filter(bool), max_size=8))
def test_masked_words_make_the_masked_text(words: list[str]) -> None:
    said = transcript(join(words), words)

    told = disclosed(said, "masked")

    assert join(texts(told)).replace(" ", "") == told.text.replace(" ", "")


# --- policies


def test_full_changes_nothing_and_off_leaves_no_word() -> None:
    said = transcript("call 12 or a@b.de")

    assert disclosed(said, "full") is said
    assert (disclosed(said, "off").text, disclosed(said, "off").words) == ("", ())


# --- in events

SAID = "call 4 2 or write john@example.com"


def spoken_events(policy: Disclosure, said: str = SAID) -> list[Event]:
    """A session with interims and a final, in which everything that is asked about is said to be `said`."""
    talk = make_shell(settings=Settings(privacy=PrivacySettings(transcripts=policy)))
    talk.live(silence(0.3))
    for _ in range(4):
        talk.live(speech(1.2))
        for request in list(talk.pending.values()):
            talk.answer(request, said)
    talk.live(silence(1.0))
    answer_rest(talk.pending, lambda request: talk.answer(request, said))
    talk.close()
    return talk.events


def answer_rest(pending: dict[int, RecognitionRequest], answer: Callable[[RecognitionRequest], None]) -> None:
    while pending:
        answer(next(iter(pending.values())))


def told_in(events: list[Event]) -> list[str]:
    told: list[str] = []
    for event in events:
        if isinstance(event, TranscriptEvent):
            told += [event.committed, event.tentative, *(word.text for word in event.words)]
        if isinstance(event, EmotionEvent):
            told.append(event.text)
    return told


def kinds(events: list[Event]) -> set[tuple[str, bool]]:
    return {(event.type, event.final) for event in events if isinstance(event, (TranscriptEvent, EmotionEvent))}


@pytest.mark.parametrize("policy", ["full", "masked", "off"])
def test_every_policy_tells_of_interims_and_finals_with_emotions(policy: Disclosure) -> None:
    events = spoken_events(policy)

    assert kinds(events) == {("transcript", False), ("transcript", True), ("emotion", False), ("emotion", True)}
    assert {event.label for event in events if isinstance(event, EmotionEvent) and event.final} == {"angry"}
    assert {event.language for event in events if isinstance(event, TranscriptEvent)} == {"en"}


def test_masked_events_hold_neither_digits_nor_the_address() -> None:
    told = told_in(spoken_events("masked"))

    assert "call # # or write [email]" in told
    assert not any(holds_a_number(text) or "john" in text or "example" in text for text in told)


def test_events_without_transcripts_hold_no_word() -> None:
    events = spoken_events("off")

    assert set(told_in(events)) == {""}
    assert all(not event.words for event in events if isinstance(event, TranscriptEvent))


@given(st.lists(st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=6), max_size=6))
def test_no_digit_survives_anywhere_in_the_events_of_a_session(words: list[str]) -> None:
    assert not any(holds_a_number(text) for text in told_in(spoken_events("masked", " ".join(words))))
