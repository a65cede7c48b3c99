"""Stages 1 and 2 of a member: what each sees, and how it counts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from models.deepser import DeepSER
from tests.fakes.runs import COMMENTS, TinyData
from trainer import members
from trainer.assembly import assemble
from trainer.dataset import TrainingSet
from trainer.fitting import FitReport
from trainer.members import member_config, member_seed, stage_1, stage_2
from trainer.objectives import class_weights
from trainer.recipe import MemberRecipe, Recipe
from trainer.splits import Split


class Fit:
    """Stands in for the fit, and remembers what it was given."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def __call__(
        self, model: DeepSER, data: TrainingSet, development: TrainingSet, modalities: tuple[str, ...], **more: Any
    ) -> FitReport:
        self.given = {"model": model, "data": data, "development": development, "modalities": modalities, **more}
        return FitReport()

    def epochs(self, count: int) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        return [self.given["epoch"](rng) for _ in range(count)]


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> Fit:
    fit = Fit()
    monkeypatch.setattr(members, "fit", fit)
    return fit


@pytest.fixture(scope="module")
def split(tiny: TinyData) -> Split:
    return assemble(tiny.spec("unused"))


@pytest.fixture(scope="module")
def recipe(tiny: TinyData) -> Recipe:
    return tiny.spec("unused").recipe


def member(recipe: Recipe, name: str) -> MemberRecipe:
    return next(m for m in recipe.members if m.name == name)


def start(recipe: Recipe, split: Split, name: str) -> DeepSER:
    return DeepSER(member_config(member(recipe, name), recipe, split.train.dims))


class TestStage1:
    def test_it_sees_all_data_what_nobody_agreed_on_included(self, fitted: Fit, recipe: Recipe, split: Split) -> None:
        stage_1(member(recipe, "both"), recipe, split)
        data = fitted.given["data"]
        (epoch,) = fitted.epochs(1)
        corpora = Counter(data.corpora)
        drawn = Counter(data.corpora[i] for i in epoch)
        assert drawn == {**corpora, COMMENTS: min(corpora[COMMENTS], recipe.quota[COMMENTS])}
        assert data.ambiguous[epoch].any()

    def test_classes_are_weighed_by_how_rare_they_are(self, fitted: Fit, recipe: Recipe, split: Split) -> None:
        free = recipe.model_copy(update={"quota": {}})
        stage_1(member(free, "both"), free, split)
        expected = class_weights(torch.from_numpy(split.train.targets), recipe.class_weight_power)
        torch.testing.assert_close(fitted.given["weights"], expected)

    def test_under_a_quota_rare_is_what_an_epoch_sees_little_of(
        self, fitted: Fit, recipe: Recipe, split: Split
    ) -> None:
        # Nothing but comments tells of happiness here, and an epoch sees one of them.
        happy = recipe.labels.index("happy")
        data = split.train
        kept = [i for i, e in enumerate(data.examples) if (data.dominant[i] == happy) == (e.corpus == COMMENTS)]
        few = recipe.model_copy(update={"quota": {COMMENTS: 1}})
        stage_1(member(few, "both"), few, Split(data.select(np.array(kept)), split.development))
        weights = fitted.given["weights"]
        assert weights.argmax() == happy
        plain = class_weights(torch.from_numpy(data.targets[kept]), recipe.class_weight_power)
        assert weights[happy] > 1.5 * plain[happy]

    def test_only_what_the_member_can_read_is_there(self, fitted: Fit, recipe: Recipe, split: Split) -> None:
        stage_1(member(recipe, "voice"), recipe, split)
        for side in ("data", "development"):
            assert all(e.features["prosody"] is not None for e in fitted.given[side].examples)
        assert fitted.given["modalities"] == ("prosody",)

    def test_it_runs_under_the_recipe_s_first_stage(self, fitted: Fit, recipe: Recipe, split: Split) -> None:
        stage_1(member(recipe, "voice"), recipe, split)
        assert fitted.given["stage"] is recipe.stage1
        objective = fitted.given["objective"]
        assert (objective.cross_entropy, objective.attributes) == (1.5, 0.4)
        assert fitted.given["mixup_alpha"] == recipe.mixup_alpha


class TestStage2:
    def test_it_sees_balanced_subsets_with_ambiguous_ones_drawn_anew_each_epoch(
        self, fitted: Fit, recipe: Recipe, split: Split
    ) -> None:
        stage_2(start(recipe, split, "both"), member(recipe, "both"), recipe, split)
        data, epochs = fitted.given["data"], fitted.epochs(12)
        for epoch in epochs:
            counts = Counter(data.dominant[epoch[~data.ambiguous[epoch]]].tolist())
            assert len(counts) == 4
            assert len(set(counts.values())) == 1
            assert data.ambiguous[epoch].sum() == min(*counts.values(), data.ambiguous.sum())
            assert len(set(epoch.tolist())) == epoch.size
        assert len({frozenset(epoch.tolist()) for epoch in epochs}) == len(epochs)

    def test_classes_count_the_same_and_the_rate_is_the_second_stage_s(
        self, fitted: Fit, recipe: Recipe, split: Split
    ) -> None:
        model = start(recipe, split, "words")
        trained = stage_2(model, member(recipe, "words"), recipe, split)
        assert fitted.given["weights"] is None
        assert fitted.given["stage"] is recipe.stage2
        assert trained.model is model is fitted.given["model"]


class TestSeeds:
    def test_every_member_and_stage_has_its_own(self, fitted: Fit, recipe: Recipe, split: Split) -> None:
        seeds = []
        for entry in recipe.members:
            stage_1(entry, recipe, split)
            seeds.append(fitted.given["seed"])
            stage_2(start(recipe, split, entry.name), entry, recipe, split)
            seeds.append(fitted.given["seed"])
        assert len(set(seeds)) == 6

    def test_a_member_starts_from_the_same_weights_whatever_came_before(
        self, fitted: Fit, recipe: Recipe, split: Split
    ) -> None:
        weights = []
        for disturbance in (1, 2):
            torch.manual_seed(disturbance)
            weights.append(stage_1(member(recipe, "words"), recipe, split).model.to_logits.weight)
        assert torch.equal(*weights)

    def test_seeds_of_neighbouring_recipes_do_not_meet(self, recipe: Recipe) -> None:
        other = recipe.model_copy(update={"seed": recipe.seed + 1})
        mine, theirs = ({member_seed(r, m) for m in r.members} for r in (recipe, other))
        assert not mine & theirs
