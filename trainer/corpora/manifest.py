"""The manifest: what every corpus becomes, whatever its files looked like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.emotions import MSP8, Attributes, LabelSet
from trainer.errors import CorpusError

_SUM_TOLERANCE: Final = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """One clip, or one text, and what people said it expresses."""

    id: str
    """Unique within all corpora: the corpus's name, a slash, and what identifies the clip there."""
    corpus: str
    audio: Path | None
    """None where there is only text."""
    text: str | None
    """What is said; None where nobody wrote it down."""
    language: str
    """ISO 639-1 code, such as `en`."""
    target: NDArray[np.float32]
    """Distribution over `labels`, `[labels]`."""
    speaker: str
    """Unique within all corpora. Where nobody knows who spoke or wrote, the utterance's own id."""
    labels: LabelSet = MSP8
    """What the positions of `target` mean."""
    votes: Mapping[str, float] | None = None
    """Raters by what they chose, where they are known; may name classes that are none of ours, such as `other`."""
    ambiguous: bool = False
    """True where the raters reached no agreement, or agreed on something else ("XO")."""
    attributes: Attributes | None = None
    gender: str | None = None
    """`female` or `male`, where the corpus says so."""
    split: str | None = None
    """`train`, `development` or `test`, where the corpus prescribes it."""
    duration_s: float | None = None

    def __post_init__(self) -> None:
        if not self.id.startswith(f"{self.corpus}/") or len(self.id) <= len(self.corpus) + 1:
            raise CorpusError(f"id {self.id!r} must be its corpus's name, a slash and a name: {self.corpus}/...")
        if self.audio is None and not self.text:
            raise CorpusError(f"{self.id}: neither audio nor text, so there is nothing to learn from")
        if not self.speaker:
            raise CorpusError(f"{self.id}: no speaker, so no split could keep speakers apart")
        if self.target.shape != (len(self.labels),):
            raise CorpusError(f"{self.id}: a target of shape {self.target.shape} for {len(self.labels)} labels")
        if not np.isfinite(self.target).all() or (self.target < 0).any():
            raise CorpusError(f"{self.id}: the target {self.target.tolist()} is not a distribution")
        if abs(float(self.target.sum()) - 1.0) > _SUM_TOLERANCE:
            raise CorpusError(f"{self.id}: the target sums to {float(self.target.sum()):g}, not to 1")

    @property
    def consensus(self) -> str | None:
        """The class the raters agreed on; None where they did not."""
        return None if self.ambiguous else self.labels.names[int(np.argmax(self.target))]

    def project(self, labels: LabelSet) -> Utterance | None:
        """The same utterance over other labels, its target renormalised; None where no mass remains.

        It becomes ambiguous where the class its raters agreed on is none of `labels`.
        """
        kept = np.array(
            [self.target[self.labels.names.index(n)] if n in self.labels.names else 0.0 for n in labels],
            dtype=np.float32,
        )
        mass = float(kept.sum())
        if mass <= 0:
            return None
        lost_consensus = self.consensus is not None and self.consensus not in labels.names
        return replace(self, target=kept / np.float32(mass), labels=labels, ambiguous=self.ambiguous or lost_consensus)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a corpus that is missing, damaged or left out."""

    where: str
    """A path or a line of a file, relative to the corpus's folder."""
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Utterances under one name and licence, with a list of everything that could not be used."""

    name: str
    licence: str
    """SPDX identifier or name, with what is not verified said."""
    citation: str
    utterances: tuple[Utterance, ...]
    problems: tuple[Problem, ...] = ()
    labels: LabelSet = field(default=MSP8)

    def __post_init__(self) -> None:
        repeated = [name for name, count in Counter(u.id for u in self.utterances).items() if count > 1]
        if repeated:
            raise CorpusError(f"corpus {self.name}: {len(repeated)} ids stand twice, first: {repeated[0]}")
        wrong = next((u.id for u in self.utterances if u.labels != self.labels), None)
        if wrong is not None:
            raise CorpusError(f"corpus {self.name}: {wrong} has other labels than its corpus")

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Every speaker once, sorted."""
        return tuple(sorted({u.speaker for u in self.utterances}))

    @property
    def duration_s(self) -> float:
        """Audio in all, as far as clips say how long they are."""
        return sum(u.duration_s or 0.0 for u in self.utterances)

    def project(self, labels: LabelSet) -> Corpus:
        """The same corpus over other labels; utterances with no mass on any of them are left out and listed."""
        if labels == self.labels:
            return self
        projected = [(u, u.project(labels)) for u in self.utterances]
        lost = [
            Problem(u.id, f"left out: its target has nothing on any of {', '.join(labels)}")
            for u, kept in projected
            if kept is None
        ]
        return replace(
            self,
            utterances=tuple(kept for _, kept in projected if kept is not None),
            problems=(*self.problems, *lost),
            labels=labels,
        )


def no_majority(weights: Mapping[str, float]) -> bool:
    """True where the greatest weight is shared: nobody can say which class was meant."""
    greatest = max(weights.values(), default=0.0)
    return sum(1 for weight in weights.values() if weight == greatest) != 1
