"""Evaluation protocols: a bundle as it is, speakers in folds, and a corpus left out; the last two train anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.engines.torch import TorchEngine
from trainer.aggregation import (
    BEST_MEMBER,
    ENSEMBLE,
    HARD_VOTING,
    SINGLE_META,
    SOFT_VOTING,
    SVM,
    HeldOut,
    ScoreSVM,
    best_member,
    hard_voting,
    soft_voting,
)
from trainer.assembly import Excluded, RunSpec
from trainer.dataset import TrainingSet
from trainer.errors import MetricError
from trainer.evaluation_sets import EvaluationSets
from trainer.recipe import Recipe
from trainer.running import Execution, run_stages
from trainer.scored import Scored, joined, speech_seconds
from trainer.splits import speaker_folds
from trainer.stages import ANSWERS, Announce, TrainedEnsemble, score

_SCORED_AT_ONCE = 32

Started = Callable[[str], None]
"""Told what begins."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a protocol gives, view by view."""

    views: dict[str, Scored]
    """The first is the one reported on."""
    notes: list[str] = field(default_factory=list)
    """What a reader must know to take the figures rightly, a sentence each."""


class TrainedScorer:
    """An ensemble trained for an evaluation, and what it is compared with: the latter fitted once for all views."""

    def __init__(self, trained: TrainedEnsemble, recipe: Recipe, spoken: NDArray[np.bool_]) -> None:
        """Fits what the ensemble is compared with.

        Args:
            trained: from `run_stages`.
            recipe: it was trained with.
            spoken: `[examples]` of what is to be scored: the best member is chosen on examples of like kind.
        """
        self._trained = trained
        self._recipe = recipe
        held_out = held_out_of(trained)
        self.best = list(trained.members)[best_member(held_out.of_kind(spoken))]
        self.trouble: str | None = None
        self._svm: ScoreSVM | None = None
        try:
            self._svm = ScoreSVM.fit(held_out)
        except MetricError as error:
            self.trouble = str(error)

    def score(self, data: TrainingSet) -> Scored:
        """What the ensemble, its members and every aggregation of them say of a set."""
        scores = score(self._trained, data)
        posteriors = np.stack(list(scores.members.values()), axis=1)
        found: dict[str, NDArray[np.floating]] = {
            ENSEMBLE: scores.probabilities,
            **scores.members,
            SINGLE_META: scores.single,
            SOFT_VOTING: soft_voting(posteriors),
            HARD_VOTING: hard_voting(posteriors),
        }
        if self._svm is not None:
            found[SVM] = self._svm.probabilities(posteriors)
        found[BEST_MEMBER] = scores.members[self.best]
        return _scored(data, self._recipe, found, self._trained.abstain_below)


def evaluate_folds(
    spec: RunSpec,
    corpus: str,
    folds: int,
    sets: EvaluationSets,
    *,
    execution: Execution,
    started: Started,
    announce: Announce | None = None,
) -> Evaluation:
    """Trains one ensemble a fold, on everything but that fold's speakers of the corpus, and scores those.

    Args:
        spec: recipe, data, and the folder under which every fold keeps its run.
        corpus: whose speakers are dealt into folds.
        folds: how many.
        sets: all of the corpus that is to be scored.
        execution: where and how.
        started: told which fold begins.
        announce: told of the training.

    Returns:
        Every speaker scored by an ensemble that never heard them.
    """
    parts: dict[str, list[Scored]] = {view: [] for view in sets.views}
    scorers: list[TrainedScorer] = []
    dealt = speaker_folds([e.speaker for e in sets.first.examples], folds)
    for number, speakers in enumerate(dealt, start=1):
        started(f"fold {number} of {folds}: trained without {len(speakers)} speakers of {corpus}")
        run = _run(spec, f"{corpus}-fold-{number}-of-{folds}", Excluded(corpus, speakers))
        trained = run_stages(run, execution, announce=announce)
        scorers.append(TrainedScorer(trained, spec.recipe, sets.first.spoken))
        for view, data in sets.views.items():
            inside = np.array([i for i, e in enumerate(data.examples) if e.speaker in speakers], dtype=np.int64)
            if inside.size:
                parts[view].append(scorers[-1].score(data.select(inside)))
    notes = ["Every speaker was scored by an ensemble trained without them.", *_about(scorers), *sets.notes]
    return Evaluation({view: joined(scored) for view, scored in parts.items()}, notes)


def evaluate_left_out(
    spec: RunSpec,
    corpus: str,
    sets: EvaluationSets,
    *,
    execution: Execution,
    started: Started,
    announce: Announce | None = None,
) -> Evaluation:
    """Trains on every other corpus and scores this one; arguments as in `evaluate_folds`."""
    started(f"trained without {corpus}")
    trained = run_stages(_run(spec, f"without-{corpus}", Excluded(corpus)), execution, announce=announce)
    scorer = TrainedScorer(trained, spec.recipe, sets.first.spoken)
    views = {view: scorer.score(data) for view, data in sets.views.items()}
    return Evaluation(views, [f"Trained without {corpus}.", *_about([scorer]), *sets.notes])


def evaluate_bundle(bundle: Bundle, recipe: Recipe, sets: EvaluationSets) -> Evaluation:
    """Scores a set with a bundle as it is, each speaker's clips heard one after another.

    A bundle keeps neither held-out speakers nor single meta-classifiers, so that beside its members only the two kinds
    of voting are compared with it.

    Args:
        bundle: may have been trained on these very speakers; the caller says so where it was.
        recipe: the bundle's own.
        sets: over the bundle's labels.
    """
    return Evaluation({view: _by_bundle(bundle, recipe, data) for view, data in sets.views.items()}, sets.notes)


def held_out_of(trained: TrainedEnsemble) -> HeldOut:
    """The members' posteriors that stage 3 was fitted on, where raters agreed on a class."""
    answers = trained.answers
    kept = np.flatnonzero(~answers.ambiguous)
    rows = np.array([answers.examples[i].features[ANSWERS] for i in kept], dtype=np.float64)
    by_member = rows.reshape(kept.size, len(trained.members), answers.dims[ANSWERS] // len(trained.members))
    return HeldOut(
        by_member[:, :, : len(answers.labels)],
        answers.dominant[kept],
        [answers.examples[i].speaker for i in kept],
        answers.spoken[kept],
    )


def _by_bundle(bundle: Bundle, recipe: Recipe, data: TrainingSet) -> Scored:
    import torch

    engine = TorchEngine(bundle)
    standardised = data.standardised(bundle.speaker_standardisation())
    names = [modality.name for modality in bundle.modalities]
    ensemble = np.zeros((len(data), len(data.labels)))
    members = np.zeros((len(data), len(engine.ensemble.members), len(data.labels)))
    order = np.argsort(data.lengths, kind="stable").astype(np.int64)
    for start in range(0, len(data), _SCORED_AT_ONCE):
        chosen = order[start : start + _SCORED_AT_ONCE]
        batch = standardised.collate(chosen, names)
        lengths = {name: mask.sum(dim=1) for name, mask in batch.masks.items()}
        with torch.inference_mode():
            ensemble[chosen] = engine.ensemble(batch.inputs, lengths).probabilities.numpy()
            members[chosen] = engine.ensemble.member_outputs(batch.inputs, lengths).probabilities.numpy()
    by_member = {entry.name: members[:, column] for column, entry in enumerate(bundle.manifest.members)}
    voted = {SOFT_VOTING: soft_voting(members), HARD_VOTING: hard_voting(members)}
    return _scored(data, recipe, {ENSEMBLE: ensemble, **by_member, **voted}, bundle.abstain_below)


def _run(spec: RunSpec, name: str, excluded: Excluded) -> RunSpec:
    return RunSpec(spec.recipe, spec.corpora, spec.features, spec.folder / name, (*spec.excluded, excluded))


def _about(scorers: list[TrainedScorer]) -> list[str]:
    """Which member was chosen how often, and what could not be compared with."""
    counts = Counter(scorer.best for scorer in scorers)
    chosen = ", ".join(name if len(scorers) == 1 else f"{name} ({count})" for name, count in counts.most_common())
    said = [f"The best member is chosen on held-out development speakers, not on what is scored: {chosen}."]
    trouble = next((scorer.trouble for scorer in scorers if scorer.trouble is not None), None)
    return said if trouble is None else [*said, f"There is no {SVM}: {trouble}."]


def _scored(
    data: TrainingSet, recipe: Recipe, probabilities: Mapping[str, NDArray[np.floating]], abstain_below: float
) -> Scored:
    return Scored(
        ids=[e.id for e in data.examples],
        speakers=[e.speaker for e in data.examples],
        labels=data.labels,
        true=data.dominant,
        speech_s=speech_seconds(data, recipe),
        abstain_below=np.full(len(data), abstain_below),
        probabilities={name: np.asarray(values, dtype=np.float64) for name, values in probabilities.items()},
    )
