"""Speaker-independent splits: nobody is heard in two of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.dataset import TrainingSet
from trainer.errors import RecipeError
from trainer.sampling import Indices

log = logging.getLogger(__name__)

MIN_SPEAKERS_TO_SPLIT = 5
"""A corpus with fewer speakers gives all of them to training: holding one out would cost too much of it."""


@dataclass(frozen=True, slots=True)
class Split:
    """What a run trains on, and what it chooses by."""

    train: TrainingSet
    development: TrainingSet
    lines: TrainingSet | None = None
    """The held-out speakers over other lines too, where stages 3 and 4 are to read them."""

    @property
    def for_meta(self) -> TrainingSet:
        """What meta-classifier and calibration are fitted on."""
        return self.development if self.lines is None else self.lines


def hold_out(data: TrainingSet, share: float, quota: dict[str, int], seed: int) -> Split:
    """Holds out for development what a corpus itself sets aside for it, or else a share of its speakers.

    Text-only corpora, whose comments have no speaker worth keeping apart, are held out by example.

    Args:
        data: everything that may be trained on.
        share: of the speakers of each corpus, at least one where there are enough, and never all.
        quota: most examples of a corpus in an epoch; development takes no further speaker once it holds a fifth of
            that.
        seed: draws the speakers.

    Raises:
        RecipeError: nothing could be held out.
    """
    rng = np.random.default_rng(seed)
    corpora = np.asarray(data.corpora)
    speakers = np.asarray([example.speaker for example in data.examples])
    aside = np.array([example.for_development for example in data.examples], dtype=np.bool_)
    held = np.zeros(len(data), dtype=np.bool_)
    for corpus in dict.fromkeys(data.corpora):
        inside = corpora == corpus
        members = np.flatnonzero(inside & aside)
        if members.size == 0:
            members = _drawn(inside, speakers, share, rng)
        limit = quota.get(corpus)
        if limit is not None and members.size > limit // 5:
            members = _whole_speakers(members, speakers, max(1, limit // 5), rng)
        held[members] = True
    if not held.any():
        raise RecipeError("no speaker can be held out for development: the corpora need at least five speakers in one")
    unused = int((aside & ~held).sum())
    if unused:
        log.info("%d examples set aside for development are more than a quota needs: they are not used", unused)
    return Split(data.select(np.flatnonzero(~held & ~aside)), data.select(np.flatnonzero(held)))


def _drawn(inside: NDArray[np.bool_], speakers: NDArray[np.str_], share: float, rng: np.random.Generator) -> Indices:
    """All examples of a share of a corpus's speakers; none where there are too few speakers."""
    names = np.unique(speakers[inside])
    if names.size < MIN_SPEAKERS_TO_SPLIT:
        return np.empty(0, dtype=np.int64)
    count = min(max(1, round(share * names.size)), names.size - 1)
    chosen = rng.choice(names, size=count, replace=False)
    return np.flatnonzero(inside & np.isin(speakers, chosen))


def _whole_speakers(members: Indices, speakers: NDArray[np.str_], limit: int, rng: np.random.Generator) -> Indices:
    """Everything of as many speakers as it takes to reach `limit` examples: nobody is held out by half."""
    drawn = rng.choice(members, size=limit, replace=False)
    names, counts = np.unique(speakers[members], return_counts=True)
    examples = dict(zip(names.tolist(), counts.tolist(), strict=True))
    chosen: list[str] = []
    taken = 0
    for name in dict.fromkeys(speakers[drawn].tolist()):
        if taken >= limit:
            break
        chosen.append(name)
        taken += examples[name]
    return members[np.isin(speakers[members], chosen)]


def leave_part(data: TrainingSet, part: int, parts: int, seed: int) -> Split:
    """Deals speakers into parts and leaves one out: spoken and text-only ones apart, so that parts hold both alike.

    Over all parts every example is left out exactly once. Where there are fewer speakers than parts, some parts are
    empty.

    Args:
        data: of at least two speakers.
        part: which to leave out, from 0.
        parts: how many there are, at least 2.
        seed: deals the speakers.

    Returns:
        The rest as `train`, the part as `development`.

    Raises:
        RecipeError: there is only one speaker.
    """
    spoken = sorted({e.speaker for e in data.examples if e.spoken})
    others = sorted({e.speaker for e in data.examples} - set(spoken))
    if len(spoken) + len(others) < 2:
        raise RecipeError("one speaker cannot be dealt into parts: hold out more speakers")
    rng = np.random.default_rng(seed)
    dealt = [*rng.permutation(spoken).tolist(), *rng.permutation(others).tolist()]
    left = set(dealt[part::parts])
    inside = np.array([example.speaker in left for example in data.examples], dtype=np.bool_)
    return Split(data.select(np.flatnonzero(~inside)), data.select(np.flatnonzero(inside)))


def speaker_folds(speakers: Sequence[str], folds: int) -> list[tuple[str, ...]]:
    """Deals speakers into folds, in the order of their names, so that a fold mixes early and late ones.

    Args:
        speakers: of each example.
        folds: how many.

    Raises:
        RecipeError: there are fewer speakers than folds.
    """
    names = sorted(set(speakers))
    if folds < 2 or len(names) < folds:
        raise RecipeError(f"{len(names)} speakers cannot be dealt into {folds} folds")
    return [tuple(names[i::folds]) for i in range(folds)]
