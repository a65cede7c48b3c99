"""What each part of the method is worth: a recipe with one thing changed at a time, on the same data and seeds.

Every trial trains without some speakers of one corpus and without the whole of another, and scores both: new voices of
a known corpus, and a corpus never heard. Trials differ in seed and in the speakers left out. What needs no training of
members (their number, how their answers are brought together, stage 2) takes them over from the trial of the whole
recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from trainer.aggregation import AGGREGATIONS, ENSEMBLE
from trainer.artefacts import Artefacts
from trainer.assembly import Excluded, RunSpec
from trainer.comparison import paired_difference
from trainer.dataset import TrainingSet
from trainer.errors import RecipeError
from trainer.evaluation import TrainedScorer
from trainer.evaluation_sets import evaluation_sets
from trainer.recipe import Recipe
from trainer.results import Result
from trainer.running import Execution, run_stages
from trainer.scored import Scored, joined
from trainer.splits import speaker_folds
from trainer.stages import Announce
from trainer.variants import VARIANTS, WHOLE, Variant, changed, of_members

_WHOLE: Final = Variant(WHOLE, "", lambda recipe: recipe)
SIZES: Final = (1, 3, 5)
"""Ensembles of the members that are best in development, besides all of them."""

ByCorpus = dict[str, Scored]


@dataclass(frozen=True, slots=True)
class Row:
    """What a variant scored on a corpus, over all trials."""

    variant: str
    question: str
    corpus: str
    clips: int
    macro_f1: float
    by_trial: tuple[float, ...]
    low: float | None
    high: float | None
    difference: float
    """To the whole recipe, on the same clips and seeds."""
    difference_low: float | None
    difference_high: float | None

    def as_mapping(self) -> dict[str, Any]:
        """For JSON; figures rounded to four digits."""
        figures = ("macro_f1", "low", "high", "difference", "difference_low", "difference_high")
        values = {name: getattr(self, name) for name in figures}
        rounded = {name: None if value is None else round(value, 4) for name, value in values.items()}
        return {
            "variant": self.variant,
            "question": self.question,
            "corpus": self.corpus,
            "clips": self.clips,
            "macro_f1": rounded["macro_f1"],
            "macro_f1_low": rounded["low"],
            "macro_f1_high": rounded["high"],
            "by_trial": [round(value, 4) for value in self.by_trial],
            **{name: rounded[name] for name in figures[3:]},
        }


@dataclass(frozen=True, slots=True)
class Ablation:
    """The protocol."""

    spec: RunSpec
    """Recipe, data, and the folder under which every trial keeps its runs."""
    within: str
    """A corpus some of whose speakers are left out."""
    left_out: str
    """A corpus that is left out whole."""
    trials: int = 3
    folds: int = 5
    """A trial leaves out one of so many parts of the speakers of `within`."""
    variants: Sequence[Variant] = VARIANTS
    """Besides the whole recipe, which is always there."""
    execution: Execution = field(default_factory=Execution)

    def run(self, started: Callable[[str], None], announce: Announce | None = None) -> list[Row]:
        """Trains and scores everything, or what is left of it.

        Args:
            started: told what begins.
            announce: told of the training.

        Returns:
            A row for every variant and corpus, the whole recipe first.

        Raises:
            RecipeError: fewer parts of the speakers than trials.
            TrainerError: as `run_stages`.
        """
        if self.trials > self.folds:
            raise RecipeError(f"{self.trials} trials need as many parts of the speakers, there are {self.folds}")
        questions = {WHOLE: ""}
        scored: dict[str, list[ByCorpus]] = {}
        for number in range(self.trials):
            trial = _Trial(self, number, announce)
            for variant in (_WHOLE, *self.variants):
                recipe = variant.change(trial.recipe)
                if recipe is None:
                    continue
                started(f"trial {number + 1} of {self.trials}: {variant.name}")
                found = trial.of_whole() if variant.name == WHOLE else {variant.name: trial.of(variant, recipe)}
                for name, by_corpus in found.items():
                    of_itself = "aggregation" if name in AGGREGATIONS else "ensemble size"
                    questions.setdefault(name, variant.question or of_itself)
                    scored.setdefault(name, []).append(by_corpus)
        return [
            _row(name, question, corpus, [part[corpus] for part in scored[name]], [w[corpus] for w in scored[WHOLE]])
            for name, question in questions.items()
            for corpus in (self.within, self.left_out)
        ]


class _Trial:
    """One seed, and one part of the speakers left out."""

    def __init__(self, ablation: Ablation, number: int, announce: Announce | None) -> None:
        self._ablation = ablation
        self._number = number
        self._announce = announce
        self.recipe = changed(ablation.spec.recipe, seed=ablation.spec.recipe.seed + number)
        everybody = [e.speaker for e in self._sets(ablation.within).examples]
        self._speakers = speaker_folds(everybody, ablation.folds)[number]

    def of_whole(self) -> dict[str, ByCorpus]:
        """The whole recipe, other aggregations of its members, and ensembles of fewer of them."""
        whole = self._score(self.recipe, WHOLE)
        found = {WHOLE: {corpus: _as_ensemble(scored, ENSEMBLE) for corpus, scored in whole.items()}}
        for name in AGGREGATIONS:
            if all(name in scored.probabilities for scored in whole.values()):
                found[name] = {corpus: _as_ensemble(scored, name) for corpus, scored in whole.items()}
        count = len(self.recipe.members)
        for size in SIZES:
            if size < count:
                smaller = of_members(self.recipe, self._best(size))
                name = f"{size} of {count} members"
                found[name] = self._score(smaller, name, adopts=("stage1", "stage2"))
        return found

    def of(self, variant: Variant, recipe: Recipe) -> ByCorpus:
        """A variant, by corpus."""
        return self._score(recipe, variant.name, adopts=variant.adopts)

    def _best(self, size: int) -> list[str]:
        artefacts = Artefacts(self._spec(self.recipe, WHOLE))
        reached = {m.name: float(artefacts.report("stage2", m.name)["best_macro_f1"]) for m in self.recipe.members}
        return sorted(reached, key=lambda name: reached[name], reverse=True)[:size]

    def _score(self, recipe: Recipe, name: str, adopts: Sequence[str] = ()) -> ByCorpus:
        spec = self._spec(recipe, name)
        members = [member.name for member in recipe.members]
        runs = [f"run-{run}" for run in range(recipe.meta.runs)]
        for stage in adopts:
            for model in runs if stage == "stage3" else members:
                Artefacts(spec).adopt(Artefacts(self._spec(self.recipe, WHOLE)), stage, model)
        trained = run_stages(spec, self._ablation.execution, announce=self._announce)
        found: ByCorpus = {}
        for corpus in (self._ablation.within, self._ablation.left_out):
            data = self._sets(corpus)
            if corpus == self._ablation.within:
                inside = [i for i, e in enumerate(data.examples) if e.speaker in self._speakers]
                data = data.select(np.array(inside, dtype=np.int64))
            found[corpus] = TrainedScorer(trained, recipe, data.spoken).score(data)
        return found

    def _sets(self, corpus: str) -> TrainingSet:
        """What is scored, with all the whole recipe reads: a variant that cannot read all of it is scored on it too."""
        spec = self._ablation.spec
        return evaluation_sets(self.recipe, spec.corpora, spec.features, corpus).first

    def _spec(self, recipe: Recipe, name: str) -> RunSpec:
        """A run in a folder of its own; trials and variants never share one."""
        spec, folder = self._ablation.spec, name.replace(" ", "-")
        excluded = (Excluded(self._ablation.within, self._speakers), Excluded(self._ablation.left_out))
        place = spec.folder / f"trial-{self._number + 1}" / folder
        return replace(spec, recipe=recipe, folder=place, excluded=(*spec.excluded, *excluded))


def _as_ensemble(scored: Scored, name: str) -> Scored:
    """The same set, one model's answers in place of the ensemble's, and no other's."""
    return replace(scored, probabilities={ENSEMBLE: scored.probabilities[name]})


def _row(name: str, question: str, corpus: str, parts: Sequence[Scored], whole: Sequence[Scored]) -> Row:
    reference, own = ([_measurable(part) for part in side] for side in (whole, parts))
    everything, of_whole = joined(own), joined(reference)
    (result,) = everything.measured()
    difference = paired_difference(
        name,
        everything.true,
        of_whole.probabilities[ENSEMBLE].argmax(axis=1),
        everything.probabilities[ENSEMBLE].argmax(axis=1),
        everything.labels,
        everything.speakers,
    )
    interval = result.macro_f1_interval
    return Row(
        variant=name,
        question=question,
        corpus=corpus,
        clips=len(everything.ids),
        macro_f1=result.classes.macro_f1,
        by_trial=tuple(_macro_f1(part) for part in own),
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        difference=difference.value,
        difference_low=None if difference.interval is None else difference.interval.low,
        difference_high=None if difference.interval is None else difference.interval.high,
    )


def _measurable(scored: Scored) -> Scored:
    """Over the classes the set has, the ensemble alone."""
    return _as_ensemble(scored, ENSEMBLE).restricted(scored.present)


def _macro_f1(scored: Scored) -> float:
    result: Result = scored.measured()[0]
    return result.classes.macro_f1
