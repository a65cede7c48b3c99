"""LocalAgreement-2: which words of an unfinished transcript can be shown for good.

After Macháček et al., "Turning Whisper into Real-Time Transcription System" (2023): a word is committed once two
successive hypotheses agree on it and on all words before it. Here every hypothesis covers the whole segment so far, so
that the agreement is that of two prefixes.

What is promised, for any sequence of hypotheses of one segment:

- committed words are never changed, removed or reordered: each committed text begins with the one before;
- a word is committed only when two successive hypotheses had it at its place, after the same words;
- as long as hypotheses agree with what was committed, committed and tentative words together are the newest one. Where
  it contradicts a committed word, the committed ones stand, and what it has behind them follows.

The final transcript is not a hypothesis: it replaces everything shown, also where it contradicts a committed word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streaming.recognition.request import Word
from streaming.recognition.wording import join, normalise


@dataclass(frozen=True, slots=True)
class Agreement:
    """A transcript so far, in two parts."""

    committed_words: tuple[Word, ...]
    """Shown for good."""
    tentative_words: tuple[Word, ...]
    """May still change."""

    @property
    def committed(self) -> str:
        """The committed words as text."""
        return join([word.text for word in self.committed_words])

    @property
    def tentative(self) -> str:
        """The tentative words as text, to be shown behind the committed ones."""
        return join([word.text for word in self.tentative_words])


class LocalAgreement:
    """The agreement of one segment's hypotheses. Two words agree when they differ in case and punctuation alone."""

    def __init__(self) -> None:
        self._committed: tuple[Word, ...] = ()
        self._previous: tuple[str, ...] = ()

    def push(self, words: Sequence[Word]) -> Agreement:
        """Takes the newest hypothesis.

        Args:
            words: all of the segment's words so far, not only those since the last hypothesis.
        """
        newest = tuple(normalise(word.text) for word in words)
        agreed = _common_prefix(self._previous, newest)
        covered = _covered(tuple(normalise(word.text) for word in self._committed), newest)
        self._committed += tuple(words[covered:agreed])
        self._previous = newest
        return Agreement(self._committed, tuple(words[max(covered, agreed) :]))


def _common_prefix(first: Sequence[str], second: Sequence[str]) -> int:
    """How many words both begin with."""
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length


def _covered(committed: Sequence[str], newest: Sequence[str]) -> int:
    """How many words of the newest hypothesis the committed ones stand for.

    The beginning of it with the smallest edit distance (in words) to them; among several the one that is nearest in
    letters, so that "can not" stands for "cannot" and nothing more.
    """
    if _common_prefix(committed, newest) == len(committed):
        return len(committed)
    distances = list(range(len(newest) + 1))
    for place, word in enumerate(committed, start=1):
        diagonal, distances[0] = distances[0], place
        for column, other in enumerate(newest, start=1):
            best = min(diagonal + (word != other), distances[column] + 1, distances[column - 1] + 1)
            diagonal, distances[column] = distances[column], best
    letters = len("".join(committed))
    return min(range(len(distances)), key=lambda end: (distances[end], abs(len("".join(newest[:end])) - letters)))
