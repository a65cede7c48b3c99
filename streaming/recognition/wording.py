"""How words are compared with each other, and put together to a text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

_UNSPACED_SCRIPTS: Final = ("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "FULLWIDTH", "THAI", "LAO", "MYANMAR")
"""First words of the Unicode names of characters that are written without spaces between words."""


def normalise(word: str) -> str:
    """The word without case, accents' encoding and punctuation at its ends; a lone punctuation mark stays as it is."""
    folded = unicodedata.normalize("NFKC", word).casefold().strip()
    start, end = 0, len(folded)
    while start < end and not folded[start].isalnum():
        start += 1
    while end > start and not _belongs(folded[end - 1]):
        end -= 1
    return folded[start:end] or folded


def join(words: Sequence[str]) -> str:
    """Words as one text, with spaces between them where their script has any."""
    text = ""
    for word in words:
        if text and word and not (is_unspaced(text[-1]) and is_unspaced(word[0])):
            text += " "
        text += word
    return text


def is_unspaced(character: str) -> bool:
    """Whether its script is written without spaces between words."""
    return unicodedata.name(character, "").startswith(_UNSPACED_SCRIPTS)


def _belongs(character: str) -> bool:
    # Vowel signs and tone marks are combining marks, no punctuation.
    return character.isalnum() or unicodedata.category(character).startswith("M")
