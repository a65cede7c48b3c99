"""Finding where a transcript begins to repeat itself.

A Whisper decoder that misses the end of the speech says its last phrase again, often until it runs out of tokens.
People repeat themselves too, but with short phrases and not for long: "no no", "very, very, very", "come on, come on".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_LONG_PHRASE_WORDS: Final = 3
_SHORT_PHRASES: Final = {1: 4, 2: 3}
"""How often people say a phrase of so many words in a row; longer ones twice."""
_LONG_PHRASES: Final = 2
_RESTART_WORDS: Final = 8
"""A sentence that begins again with so many of its words, and ends there."""
_STUTTER: Final = re.compile(r"(.{1,4}?)\1{9,}")
"""A word that goes on and on, such as "hahahahaha"."""


def words_before_repeat(words: Sequence[str], *, strict: bool) -> int:
    """How many words to keep so that the transcript does not repeat itself.

    Args:
        words: of a whole transcript, in the form they are compared in.
        strict: whether a phrase of three words or more that is said again at the very end is a repeat already, and so
            is a long one that only begins again there. Decoders do that on short input far more often than people.

    Returns:
        All of them if there is no repeat; otherwise those up to the end of the first saying of the repeated phrase.
    """
    kept = len(words)
    while (shorter := _first_cut(words[:kept], strict=strict)) < kept:
        kept = shorter
    return kept


def _first_cut(words: Sequence[str], *, strict: bool) -> int:
    """As `words_before_repeat`; what is left may still end in a repeat that what followed hid."""
    for start, word in enumerate(words):
        if _STUTTER.search(word):
            return start
        left = len(words) - start
        for length in range(1, max(left // 2, left - _RESTART_WORDS) + 1):
            if _repeats(words, start, length, strict=strict):
                return start + length
    return len(words)


def _repeats(words: Sequence[str], start: int, length: int, *, strict: bool) -> bool:
    phrase = list(words[start : start + length])
    end, times = start + length, 1
    while list(words[end : end + length]) == phrase:
        end, times = end + length, times + 1
    if times > _SHORT_PHRASES.get(length, _LONG_PHRASES):
        return True
    rest = list(words[end:])
    reaches_end = rest == phrase[: len(rest)]
    said_again = times > 1 or len(rest) >= _RESTART_WORDS
    return strict and length >= _LONG_PHRASE_WORDS and said_again and reaches_end
