"""How the utterances of an extraction are shared out: among ranks beforehand, among processes as they ask for more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from trainer.corpora.manifest import Utterance
from trainer.errors import RecipeError

CHUNK_S: Final = 120.0
"""Audio that a process takes at a time: seconds of work, so that a bar moves and all processes end together."""
CHUNK_UTTERANCES: Final = 256
"""Most utterances that a process takes at a time, where they are short or nobody knows how long they are."""


@dataclass(frozen=True, slots=True)
class Part:
    """One rank's share of the utterances: every utterance is in exactly one, whatever has been stored meanwhile."""

    rank: int = 0
    """From 0."""
    of: int = 1
    """How many there are."""

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.of:
            raise RecipeError(f"there is no part {self.rank} of {self.of}; ranks count from 0 to {self.of - 1}")

    def share(self, utterances: Sequence[Utterance]) -> list[Utterance]:
        """What this rank extracts.

        Args:
            utterances: all of them, the same for every rank, in any order.

        Returns:
            As much audio for every rank, in the order of `longest_first`.
        """
        return longest_first(utterances)[self.rank :: self.of]


WHOLE: Final = Part()
"""Everything, where there is one rank."""


def longest_first(utterances: Sequence[Utterance]) -> list[Utterance]:
    """By their duration, then by the length of their text, then by id: like goes with like, and the end is short."""
    return sorted(utterances, key=lambda u: (-(u.duration_s or 0.0), -len(u.text or ""), u.id))


def chunks(utterances: Sequence[Utterance]) -> Iterator[list[Utterance]]:
    """Cuts utterances into what a process takes at a time.

    Args:
        utterances: in the order they are to be taken.

    Yields:
        At least one, about `CHUNK_S` of audio, at most `CHUNK_UTTERANCES`.
    """
    chunk: list[Utterance] = []
    audio_s = 0.0
    for utterance in utterances:
        chunk.append(utterance)
        audio_s += utterance.duration_s or 0.0
        if audio_s >= CHUNK_S or len(chunk) == CHUNK_UTTERANCES:
            yield chunk
            chunk, audio_s = [], 0.0
    if chunk:
        yield chunk
