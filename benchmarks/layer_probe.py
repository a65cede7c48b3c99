"""A linear probe: how much of the emotion of new voices, and of a corpus never heard, stands in one vector a clip.

It knows all clips of a speaker, and none of their labels: each feature is taken relative to all that the speaker says.
The ensemble hears a speaker's clips one after another, so figures of the probe say which layer to read, and not how
well the ensemble does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.errors import BenchmarkError
from benchmarks.layer_reading import Probed, ReadClips, Vectors
from trainer.bootstrap import Floats, Interval, bootstrap_interval
from trainer.comparison import Difference, paired_difference
from trainer.metrics import class_scores, confusion_cells
from trainer.progress import Advance
from trainer.sampling import Indices
from trainer.splits import speaker_folds

COST: Final = 0.003
"""Inverse strength of the penalty: a clip has a thousand features, and a corpus hardly more clips."""
STEPS: Final = 300
"""Most steps of the solver."""
INTERVAL_SEED: Final = 0
"""Of the speakers that intervals draw."""
NOT_SCORED: Final = -1
"""In place of a class."""

Kind = Literal["within", "left_out"]


@dataclass(frozen=True, slots=True)
class Question:
    """What a probe is asked."""

    kind: Kind
    """`within`: new speakers of the corpus it is fitted on. `left_out`: a corpus it is not fitted on."""
    corpus: str
    """That is scored."""

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.corpus}, new speakers" if self.kind == "within" else f"{self.corpus}, left out"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question, asked of one probe."""

    probed: Probed
    question: Question
    clips: int
    speakers: int
    classes: tuple[str, ...]
    """That were scored."""
    macro_f1: float
    interval: Interval | None
    """By speaker; None where there are fewer than two."""
    over_last: Difference
    """To the last layer, on the same clips."""


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Rows that a probe is fitted on, and those that it then scores."""

    known: Indices
    scored: Indices


def relative_to_speaker(vectors: Vectors, speakers: NDArray[np.str_]) -> Vectors:
    """Every feature less its mean over all clips of the speaker, over its standard deviation there.

    Args:
        vectors: `[clips, features]`.
        speakers: of each clip.

    Returns:
        `[clips, features]`; 0 where a feature is the same in all of a speaker's clips, so too where there is one alone.
    """
    relative = np.zeros_like(vectors)
    for speaker in np.unique(speakers):
        own = vectors[speakers == speaker].astype(np.float64)
        deviation = own.std(axis=0)
        # What does not vary but for rounding says nothing, however large division would make it.
        varies = deviation > np.finfo(np.float32).eps * np.abs(own).max(axis=0)
        relative[speakers == speaker] = np.where(varies, (own - own.mean(axis=0)) / np.where(varies, deviation, 1), 0)
    return relative


def cuts(question: Question, clips: ReadClips, folds: int, train_on: Sequence[str]) -> list[Cut]:
    """What is fitted on and what is scored: a cut for each fold of speakers, or one for a corpus left out.

    Args:
        question: what is asked.
        clips: all of them.
        folds: parts of the speakers of a corpus.
        train_on: corpora that a probe for a corpus left out is fitted on, as far as they are not that one.

    Returns:
        No speaker is on both sides of a cut, and no clip that its corpus sets aside for testing is fitted on. Of a
        corpus left out only the classes that the others hold are scored.

    Raises:
        BenchmarkError: there is nothing to fit on, or nothing to score.
        RecipeError: the corpus has fewer speakers than folds.
    """
    inside = clips.corpora == question.corpus
    if not inside.any():
        raise BenchmarkError(f"{question.title}: no clip of {question.corpus} was read")
    if question.kind == "within":
        dealt = speaker_folds(clips.speakers[inside].tolist(), folds)
        tested = [inside & np.isin(clips.speakers, speakers) for speakers in dealt]
        made = [Cut(np.flatnonzero(inside & ~test & clips.may_train), np.flatnonzero(test)) for test in tested]
    else:
        known = np.isin(clips.corpora, train_on) & ~inside & clips.may_train
        shared = np.isin(clips.true, np.intersect1d(clips.true[known], clips.true[inside]))
        made = [Cut(np.flatnonzero(known), np.flatnonzero(inside & shared))]
    for cut in made:
        if np.unique(clips.true[cut.known]).size < 2 or not cut.scored.size:
            raise BenchmarkError(
                f"{question.title}: a probe needs clips of two classes to be fitted on, got "
                f"{np.unique(clips.true[cut.known]).size} in {cut.known.size} clips, and clips of those classes to "
                f"score, got {cut.scored.size}"
            )
    return made


def answered(vectors: Vectors, clips: ReadClips, question: Question, made: Sequence[Cut]) -> Indices:
    """Fits a probe for each cut and lets it answer.

    Args:
        vectors: `[clips, features]`, relative to the speaker.
        clips: what they were read of.
        question: only classes of its corpus may be answered.
        made: cuts of that question.

    Returns:
        The class that each clip is given, `[clips]`; -1 where it is not scored.
    """
    possible = np.unique(clips.true[clips.corpora == question.corpus])
    given = np.full(clips.true.size, NOT_SCORED, dtype=np.int64)
    for cut in made:
        probe = LogisticRegression(C=COST, max_iter=STEPS).fit(vectors[cut.known], clips.true[cut.known])
        probabilities = np.where(np.isin(probe.classes_, possible), probe.predict_proba(vectors[cut.scored]), -1.0)
        given[cut.scored] = probe.classes_[probabilities.argmax(axis=1)]
    return given


def ask(
    clips: ReadClips, questions: Sequence[Question], folds: int, train_on: Sequence[str], advance: Advance
) -> list[Answer]:
    """Asks every question of every layer, and of whatever else was read.

    Args:
        clips: from `benchmarks.layer_reading.read`.
        questions: each once.
        folds: see `cuts`.
        train_on: see `cuts`.
        advance: told of every probe on a question.

    Raises:
        BenchmarkError: see `cuts`.
        RecipeError: see `cuts`.
    """
    made = {question: cuts(question, clips, folds, train_on) for question in questions}
    given: dict[tuple[Probed, Question], Indices] = {}
    for probed in clips.probed:
        vectors = relative_to_speaker(clips.of(probed), clips.speakers)
        for question in questions:
            given[probed, question] = answered(vectors, clips, question, made[question])
            advance(1, 0.0)
    return [
        _answer(clips, probed, question, given[probed, question], given[clips.last, question])
        for probed in clips.probed
        for question in questions
    ]


def _answer(clips: ReadClips, probed: Probed, question: Question, given: Indices, by_last: Indices) -> Answer:
    """Scores the classes that clips were given, `[clips]`, beside those that the last layer gives them."""
    rows = np.flatnonzero(given != NOT_SCORED)
    true, speakers = clips.true[rows], clips.speakers[rows].tolist()
    interval = None
    if len(set(speakers)) > 1:
        cells = confusion_cells(true, given[rows], len(clips.labels))
        interval = bootstrap_interval(_macro_f1, cells, speakers, seed=INTERVAL_SEED)
    over_last = paired_difference(
        probed.title, true, by_last[rows], given[rows], clips.labels, speakers, seed=INTERVAL_SEED
    )
    return Answer(
        probed=probed,
        question=question,
        clips=int(rows.size),
        speakers=len(set(speakers)),
        classes=tuple(clips.labels.names[label] for label in np.unique(true)),
        macro_f1=over_last.macro_f1,
        interval=interval,
        over_last=over_last,
    )


def _macro_f1(confusion: Floats) -> float:
    return class_scores(confusion).macro_f1
