"""Word error rate: how far recognised words are from what was said."""

from __future__ import annotations

import re
from typing import Final

_NOT_A_WORD: Final = re.compile(r"[^\w' ]+")
_APOSTROPHES: Final = str.maketrans({"\N{RIGHT SINGLE QUOTATION MARK}": "'"})


def words_of(text: str) -> list[str]:
    """The words of a text as they are compared: lower case, no punctuation."""
    return _NOT_A_WORD.sub(" ", text.translate(_APOSTROPHES).lower()).split()


def edit_distance(reference: list[str], found: list[str]) -> int:
    """Fewest insertions, deletions and substitutions from one to the other (Levenshtein)."""
    row = list(range(len(found) + 1))
    for i, wanted in enumerate(reference, start=1):
        diagonal, row[0] = row[0], i
        for j, word in enumerate(found, start=1):
            substituted = diagonal + (wanted != word)
            diagonal = row[j]
            row[j] = min(row[j] + 1, row[j - 1] + 1, substituted)
    return row[-1]


def word_error_rate(pairs: list[tuple[str, str]]) -> float:
    """Errors over reference words, all utterances together.

    Args:
        pairs: what was said, and what was recognised.

    Returns:
        0 for no error; above 1 where more was invented than said; 0 where nothing was said and nothing recognised.
    """
    errors = said = 0
    for reference, found in pairs:
        wanted = words_of(reference)
        errors += edit_distance(wanted, words_of(found))
        said += len(wanted)
    return errors / said if said else float(errors > 0)
