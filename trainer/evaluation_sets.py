"""What is scored: the examples of one corpus on whose class its raters agreed, in one or several waveform views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainer.assembly import examples_of, load_utterances
from trainer.augment import CLEAN
from trainer.corpora.manifest import Utterance
from trainer.dataset import TrainingSet
from trainer.errors import CorpusError
from trainer.feature_library import FeatureLibrary
from trainer.recipe import Recipe


@dataclass(frozen=True, slots=True)
class EvaluationSets:
    """The same examples in every view, under the same ids."""

    views: dict[str, TrainingSet]
    """By waveform view; the first is the one reported on. Text has no views: it is the same in all of them."""
    ambiguous: int
    """Utterances left out because raters agreed on none of the classes."""
    without_features: dict[str, int]
    """By view, utterances left out because nothing is stored of them."""

    @property
    def first(self) -> TrainingSet:
        """In the view reported on."""
        return next(iter(self.views.values()))

    @property
    def notes(self) -> list[str]:
        """What was left out, a sentence each."""
        said = []
        if self.ambiguous:
            said.append(f"Not scored: {self.ambiguous} whose raters' votes leave no single strongest class.")
        for view, count in self.without_features.items():
            if count:
                said.append(f"Not scored in view {view}: {count} of which no features are stored.")
        return said


def evaluation_sets(
    recipe: Recipe,
    corpora: Path,
    features: Path,
    corpus: str,
    *,
    split: str | None = None,
    views: Sequence[str] = (CLEAN,),
) -> EvaluationSets:
    """The unambiguous examples of one corpus: those whose target has one strongest class.

    A comment with several labels is scored where one of the classes they map to has most of its votes.

    Args:
        recipe: labels and modalities.
        corpora: folder of the corpora.
        features: folder of the feature stores.
        corpus: its name.
        split: only this prescribed split; none takes all.
        views: waveform views, at least one.

    Raises:
        CorpusError: the corpus or its features are missing.
        RecipeError: there is no such view.
    """
    wanted: list[Utterance] = [
        utterance
        for loaded in load_utterances(recipe, corpora, [corpus])
        for utterance in loaded.utterances
        if split is None or utterance.split == split
    ]
    chosen = [utterance for utterance in wanted if not utterance.ambiguous]
    if not chosen:
        raise CorpusError(f"corpus {corpus} has no utterance to evaluate on" + (f" in split {split}" if split else ""))
    # Text is always read from the clean view.
    library = FeatureLibrary(features, recipe.modalities, (*views, CLEAN), recipe.specs)
    sets: dict[str, TrainingSet] = {}
    for view in dict.fromkeys(views):
        # Views are told apart by their sets, so that the same utterance has the same id in each.
        examples = [
            replace(example, id=example.id.removesuffix(f"@{view}") if view != CLEAN and example.spoken else example.id)
            for example in examples_of(chosen, recipe, library, (view,))
        ]
        sets[view] = TrainingSet(examples, recipe.label_set, library.dims)
    return EvaluationSets(
        sets, len(wanted) - len(chosen), {view: len(chosen) - len(data) for view, data in sets.items()}
    )


def transcripts(recipe: Recipe, corpora: Path, corpus: str) -> dict[str, str]:
    """What is said in a corpus, by id, as far as it is written down.

    Raises:
        CorpusError: the corpus is missing.
    """
    return {
        utterance.id: utterance.text
        for loaded in load_utterances(recipe, corpora, [corpus])
        for utterance in loaded.utterances
        if utterance.text
    }
