"""What may be told of the words that were said: `[privacy] transcripts`. Pure.

Masked are digits, of whatever script, and e-mail addresses that are written as such. Numbers and addresses that are
spelt out in words ("four two", "john at example dot com") stay: no list of words would catch them in every language.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Final

from streaming.config import Disclosure
from streaming.recognition.request import Transcript, Word
from streaming.recognition.wording import is_unspaced, join

DIGIT: Final = "#"
"""Stands for a digit."""
ADDRESS: Final = "[email]"
"""Stands for an e-mail address."""
_AT: Final = "@\N{FULLWIDTH COMMERCIAL AT}\N{SMALL COMMERCIAL AT}"
_ATOM_MARKS: Final = ".!#$%&'*+-/=?^_`{|}~"
"""RFC 5322, section 3.2.3: what the part before the @ may hold beside letters and digits, and the dot."""


def disclosed(transcript: Transcript, policy: Disclosure) -> Transcript:
    """A transcript as it may be told; text and words are masked alike.

    Args:
        transcript: as recognised.
        policy: `full`, `masked` or `off`, which leaves neither text nor words.
    """
    if policy == "full":
        return transcript
    if policy == "off":
        return replace(transcript, text="", words=())
    return replace(transcript, text=masked(transcript.text), words=_masked_words(transcript))


def masked(text: str) -> str:
    """Text without digits and e-mail addresses."""
    return _told(text, 0, len(text), list(_addresses(text)))


def _told(text: str, start: int, end: int, addresses: Sequence[tuple[int, int]]) -> str:
    """What may be told of `text[start:end]`, which holds each of the addresses as a whole or not at all."""
    pieces, place = [], start
    for first, last in addresses:
        if start <= first < end:
            pieces += [_without_digits(text[place:first]), ADDRESS]
            place = last
    return "".join((*pieces, _without_digits(text[place:end])))


def _without_digits(text: str) -> str:
    # Unicode's categories of numbers: also other scripts' digits, superscripts, fractions, Roman numerals.
    return "".join(DIGIT if unicodedata.category(character).startswith("N") else character for character in text)


def _masked_words(transcript: Transcript) -> tuple[Word, ...]:
    """The words, digits masked; those that an address is spread over become one."""
    whole, places = _laid_out([word.text for word in transcript.words], transcript.text)
    told: list[Word] = []
    addresses = list(_addresses(whole))
    for first, last in _groups(places, addresses):
        own = transcript.words[first : last + 1]
        text = _told(whole, places[first][0], places[last][1], addresses)
        told.append(Word(text, own[0].start_s, own[-1].end_s, min(word.probability for word in own)))
    return tuple(told)


def _laid_out(words: Sequence[str], text: str) -> tuple[str, list[tuple[int, int]]]:
    """A text that holds the words, and where each stands in it: the one given, unless it is not made of them."""
    places, at = [], 0
    for word in words:
        start = text.find(word, at)
        if start < 0:
            ends = [len(join(words[:count])) for count in range(1, 1 + len(words))]
            return join(words), [(end - len(word), end) for word, end in zip(words, ends, strict=True)]
        at = start + len(word)
        places.append((start, at))
    return text, places


def _groups(places: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """First and last of the words that belong together since a span covers some of each; most stand alone."""
    first = 0
    for last, (_, end) in enumerate(places):
        following = places[last + 1][0] if last + 1 < len(places) else end
        if not any(start < end and following < stop for start, stop in spans):
            yield first, last
            first = last + 1


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each e-mail address, in order and apart.

    Spaces may stand around the @ and around dots, since words of a transcript are joined by them. It takes a dot behind
    the @ to make an address of what stands apart ("lunch @ noon" is none), but none where it stands close: an interim
    may break off behind the @.
    """
    place = 0
    for at in (index for index, character in enumerate(text) if character in _AT):
        if at < place:
            continue
        start, end = _start_of_local_part(text, at, place), _end_of_domain(text, at + 1)
        local, domain = text[start:at], text[at + 1 : end]
        if not local or ("." not in domain and local[-1].isspace()):
            continue
        place = at + 1 if "." not in domain and domain[:1].isspace() else end
        yield start, place


def _start_of_local_part(text: str, at: int, floor: int) -> int:
    """Where the part before the @ begins; `at` where there is none."""
    start, place = at, _skip_spaces_back(text, at, floor)
    while True:
        run = len(list(takewhile(_is_in_local_part, reversed(text[floor:place]))))
        if not run:
            return start
        start = place - run
        dot = _skip_spaces_back(text, start, floor)
        stands_alone = text[dot - 1 : dot] == "." and (dot - 1 <= floor or text[dot - 2].isspace())
        if dot <= floor or not stands_alone:  # "I said. john@..." is the end of a sentence, "j . doe @" is not
            return start
        place = _skip_spaces_back(text, dot - 1, floor)


def _end_of_domain(text: str, after: int) -> int:
    """Where the part behind the @ ends; a dot that ends the sentence is left out."""
    end = after
    place = _skip_spaces(text, after)
    while True:
        run = len(list(takewhile(_is_in_label, text[place:])))
        if not run:
            return end
        end = place + run
        dot = _skip_spaces(text, end)
        if text[dot : dot + 1] != ".":
            return end
        place = _skip_spaces(text, dot + 1) if dot > end else dot + 1


def _skip_spaces(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _skip_spaces_back(text: str, place: int, floor: int) -> int:
    while place > floor and text[place - 1].isspace():
        place -= 1
    return place


def _is_in_label(character: str) -> bool:
    is_letter = character.isalnum() or unicodedata.category(character).startswith("M")
    return (is_letter or character in "-_") and not is_unspaced(character)


def _is_in_local_part(character: str) -> bool:
    return _is_in_label(character) or character in _ATOM_MARKS
