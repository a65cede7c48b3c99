"""From corpora and stored features to the examples a run trains on."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.emotions import Attributes
from trainer.attribute_norms import attributes_of
from trainer.augment import CLEAN
from trainer.corpora.manifest import Corpus, Utterance
from trainer.corpora.registry import load_corpora
from trainer.dataset import Example, TrainingSet
from trainer.errors import CorpusError
from trainer.feature_library import FeatureLibrary
from trainer.feature_policy import store_spec
from trainer.recipe import Recipe
from trainer.speakers import fit_priors, moments_of
from trainer.splits import Split, hold_out

log = logging.getLogger(__name__)

TEST_SPLIT = "test"
DEVELOPMENT_SPLIT = "development"


@dataclass(frozen=True, slots=True)
class Excluded:
    """What a run must not hear: a corpus, or some speakers of it."""

    corpus: str
    speakers: tuple[str, ...] = ()
    """None named: the whole corpus."""

    def covers(self, utterance: Utterance) -> bool:
        """Whether an utterance is excluded."""
        return utterance.corpus == self.corpus and (not self.speakers or utterance.speaker in self.speakers)


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything a training run depends on; small enough to hand to another process."""

    recipe: Recipe
    corpora: Path
    """Folder of the corpora."""
    features: Path
    """Folder of the feature stores."""
    folder: Path
    """Where the run keeps its artefacts."""
    excluded: tuple[Excluded, ...] = field(default=())


def may_train_on(utterance: Utterance, spec: RunSpec) -> bool:
    """Whether a run may train on an utterance, or choose by it: not where its corpus sets it aside for testing."""
    return utterance.split != TEST_SPLIT and not any(entry.covers(utterance) for entry in spec.excluded)


def examples_of(
    utterances: Sequence[Utterance], recipe: Recipe, library: FeatureLibrary, views: Sequence[str] = (CLEAN,)
) -> list[Example]:
    """Joins utterances and their features by id.

    Args:
        utterances: over the recipe's labels.
        recipe: says which modalities are standardised, and whether norms stand in for attributes.
        library: the stores.
        views: waveform views; each makes an example of its own, text-only utterances one in all.

    Raises:
        CorpusError: no features are stored of any of them.
    """
    told = _classes_by_corpus(utterances) if recipe.restricted_softmax else {}
    found: list[Example] = []
    for utterance in utterances:
        for view in views if utterance.audio is not None else (CLEAN,):
            features = library.features(utterance.id, view)
            if all(values is None for values in features.values()):
                continue
            found.append(
                Example(
                    id=utterance.id if view == CLEAN else f"{utterance.id}@{view}",
                    corpus=utterance.corpus,
                    speaker=utterance.speaker,
                    target=utterance.target,
                    ambiguous=utterance.ambiguous,
                    attributes=_attributes(utterance, recipe),
                    features=features,
                    spoken=utterance.audio is not None,
                    moments=moments_of(features, recipe.speaker),
                    view=view,
                    for_development=utterance.split == DEVELOPMENT_SPLIT,
                    possible=told.get(utterance.corpus),
                )
            )
    if utterances and not found:
        raise CorpusError("no features are stored of any utterance: run medusa features extract first")
    return found


def _classes_by_corpus(utterances: Sequence[Utterance]) -> dict[str, NDArray[np.bool_]]:
    """Which classes each corpus tells of, `[labels]`: those that anybody took any of its utterances for."""
    told: dict[str, NDArray[np.bool_]] = {}
    for utterance in utterances:
        own = utterance.target > 0
        told[utterance.corpus] = told[utterance.corpus] | own if utterance.corpus in told else own
    for corpus, classes in told.items():
        if classes.sum() == 1:
            log.warning(
                "%s tells of one class alone, of which nothing can be learnt; restricted_softmax = false takes it as "
                "evidence against all others",
                corpus,
            )
    return told


def _attributes(utterance: Utterance, recipe: Recipe) -> NDArray[np.float32] | None:
    rated: Attributes | None = utterance.attributes
    if rated is not None:
        return np.array([rated.arousal, rated.valence, rated.dominance], dtype=np.float32)
    return attributes_of(utterance.target, utterance.labels) if recipe.attribute_norms else None


def load_utterances(recipe: Recipe, root: Path, names: Sequence[str] | None = None) -> list[Corpus]:
    """The recipe's corpora over its labels.

    Raises:
        CorpusError: a corpus is not there.
    """
    return [corpus.project(recipe.label_set) for corpus in load_corpora(names or recipe.corpora, root)]


def fingerprint_of(split: Split, recipe: Recipe) -> str:
    """SHA-256 of what a run trains on: its examples, and the policies their features were made under."""
    policies = [
        store_spec(
            recipe.backbone_of(modality), stride=entry.stride, deviations=entry.deviations, view=view
        ).fingerprint
        for modality, entry in recipe.modalities.items()
        for view in recipe.views
    ]
    stated = [*policies, split.train.fingerprint(), split.development.fingerprint()]
    if split.lines is not None:
        stated.append(split.lines.fingerprint())
    return hashlib.sha256("\n".join(stated).encode()).hexdigest()


def assemble(spec: RunSpec) -> Split:
    """The examples of a run, held out by speaker and brought relative to speakers.

    Utterances that a corpus itself sets aside for testing are left out.

    Raises:
        CorpusError: a corpus or its features are missing.
        RecipeError: nobody can be held out.
    """
    recipe = spec.recipe
    utterances = [
        utterance
        for corpus in load_utterances(recipe, spec.corpora)
        for utterance in corpus.utterances
        if may_train_on(utterance, spec)
    ]
    # Closed when the process ends: examples read their features from the open memory maps.
    library = FeatureLibrary(spec.features, recipe.modalities, recipe.views, recipe.specs)
    examples = examples_of(utterances, recipe, library, recipe.views)
    split = hold_out(
        TrainingSet(examples, recipe.label_set, library.dims), recipe.development_share, recipe.quota, recipe.seed
    )
    standardisation = fit_priors(split.train.examples, recipe.speaker, library.dims)

    def held_out(views: Sequence[str]) -> TrainingSet:
        seen = [i for i, e in enumerate(split.development.examples) if e.view in views]
        return split.development.select(np.array(seen, dtype=np.int64)).standardised(standardisation)

    lines = None if recipe.meta.views == (CLEAN,) else held_out(recipe.meta.views)
    return Split(split.train.standardised(standardisation), held_out((CLEAN,)), lines)
