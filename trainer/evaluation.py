"""Evaluation protocols: a bundle as it is, speakers in folds, and a corpus left out; the last two train anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.emotions import LabelSet
from models.engines.torch import TorchEngine
from trainer.assembly import Excluded, RunSpec, examples_of, load_utterances
from trainer.corpora.manifest import Utterance
from trainer.dataset import TrainingSet
from trainer.errors import CorpusError
from trainer.feature_library import FeatureLibrary
from trainer.recipe import Recipe
from trainer.results import Result, restrict
from trainer.results import score as measure
from trainer.splits import speaker_folds
from trainer.stages import Announce, run_stages, score

_SCORED_AT_ONCE = 32

Started = Callable[[str], None]
"""Told what begins."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Predictions and truth of a set, before they are measured."""

    ids: list[str]
    speakers: list[str]
    true: NDArray[np.int64]
    """`[examples]`, over the recipe's labels."""
    probabilities: dict[str, NDArray[np.float64]]
    """By model, `[examples, labels]`; `ensemble` first, then the members."""

    def measured(self, labels: LabelSet, only: LabelSet | None = None) -> list[Result]:
        """Figures of every model.

        Args:
            labels: what the positions mean.
            only: the classes the corpus has, where it has fewer: models choose among these.
        """
        kept = only or labels
        chosen = np.array([kept.index(labels.names[i]) for i in self.true], dtype=np.int64)
        return [
            measure(name, restrict(values, labels, kept), chosen, kept, speakers=self.speakers)
            for name, values in self.probabilities.items()
        ]


def present_labels(data: TrainingSet) -> LabelSet:
    """The classes a set has, in the order of its labels."""
    return LabelSet(tuple(name for i, name in enumerate(data.labels) if (data.dominant == i).any()))


def evaluation_set(
    recipe: Recipe, corpora: Path, features: Path, corpus: str, *, split: str | None = None
) -> TrainingSet:
    """The unambiguous examples of one corpus.

    Args:
        recipe: labels and modalities.
        corpora: folder of the corpora.
        features: folder of the feature stores.
        corpus: its name.
        split: only this prescribed split; none takes all.

    Raises:
        CorpusError: the corpus or its features are missing.
    """
    chosen: list[Utterance] = [
        utterance
        for loaded in load_utterances(recipe, corpora, [corpus])
        for utterance in loaded.utterances
        if not utterance.ambiguous and (split is None or utterance.split == split)
    ]
    if not chosen:
        raise CorpusError(f"corpus {corpus} has no utterance to evaluate on" + (f" in split {split}" if split else ""))
    library = FeatureLibrary(features, recipe.modalities, specs=recipe.specs)
    return TrainingSet(examples_of(chosen, recipe, library), recipe.label_set, library.dims)


def evaluate_folds(
    spec: RunSpec, corpus: str, folds: int, *, jobs: int, started: Started, announce: Announce | None = None
) -> tuple[Scored, TrainingSet]:
    """Trains one ensemble a fold, on everything but that fold's speakers of the corpus, and scores those.

    Args:
        spec: recipe, data, and the folder under which every fold keeps its run.
        corpus: whose speakers are dealt into folds.
        folds: how many.
        jobs: members trained at the same time.
        started: told which fold begins.
        announce: told of the training.

    Returns:
        Every speaker scored by an ensemble that never heard them.
    """
    data = evaluation_set(spec.recipe, spec.corpora, spec.features, corpus)
    parts: list[tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]] = []
    dealt = speaker_folds([e.speaker for e in data.examples], folds)
    for number, speakers in enumerate(dealt, start=1):
        started(f"fold {number} of {folds}: trained without {len(speakers)} speakers of {corpus}")
        run = RunSpec(
            spec.recipe,
            spec.corpora,
            spec.features,
            spec.folder / f"{corpus}-fold-{number}-of-{folds}",
            (*spec.excluded, Excluded(corpus, speakers)),
        )
        inside = np.array([i for i, e in enumerate(data.examples) if e.speaker in speakers], dtype=np.int64)
        scores = score(run_stages(run, jobs=jobs, announce=announce), data.select(inside))
        parts.append((inside, _by_model(scores.probabilities, scores.members)))
    order = np.concatenate([inside for inside, _ in parts])
    joined = {name: np.concatenate([values[name] for _, values in parts]) for name in parts[0][1]}
    return _scored(data.select(order), joined), data


def evaluate_left_out(
    spec: RunSpec, corpus: str, *, jobs: int, started: Started, announce: Announce | None = None
) -> tuple[Scored, TrainingSet]:
    """Trains on every other corpus and scores this one; arguments as in `evaluate_folds`."""
    data = evaluation_set(spec.recipe, spec.corpora, spec.features, corpus)
    started(f"trained without {corpus}")
    run = RunSpec(
        spec.recipe, spec.corpora, spec.features, spec.folder / f"without-{corpus}", (*spec.excluded, Excluded(corpus))
    )
    scores = score(run_stages(run, jobs=jobs, announce=announce), data)
    return _scored(data, _by_model(scores.probabilities, scores.members)), data


def evaluate_bundle(bundle: Bundle, data: TrainingSet) -> Scored:
    """Scores a set with a bundle as it is, each speaker's clips heard one after another.

    Args:
        bundle: may have been trained on these very speakers; the caller says so where it was.
        data: over the bundle's labels.
    """
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
    return _scored(data, {"ensemble": ensemble, **by_member})


def _by_model(ensemble: NDArray[np.float32], members: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    return {name: values.astype(np.float64) for name, values in {"ensemble": ensemble, **members}.items()}


def _scored(data: TrainingSet, probabilities: dict[str, NDArray[np.float64]]) -> Scored:
    return Scored([e.id for e in data.examples], [e.speaker for e in data.examples], data.dominant, probabilities)


def soft_voting(scored: Scored) -> NDArray[np.float64]:
    """The mean of the members' posteriors: what the meta-classifier must beat."""
    members: Sequence[NDArray[np.float64]] = [v for name, v in scored.probabilities.items() if name != "ensemble"]
    return np.asarray(np.mean(members, axis=0))
