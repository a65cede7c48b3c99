"""Stages 1 and 2: one member, from standardised features to its best weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch

from models.deepser import DeepSER, DeepSERConfig
from trainer.compute import CPU, Compute
from trainer.dataset import TrainingSet
from trainer.fitting import Epoch, FitReport, Watch, fit
from trainer.objectives import class_weights
from trainer.recipe import MemberRecipe, Recipe
from trainer.sampling import Indices, balanced_epoch, evened_quota, full_epoch
from trainer.splits import Split

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainedMember:
    """A member and how it got there."""

    model: DeepSER
    report: FitReport


def member_config(member: MemberRecipe, recipe: Recipe, dims: dict[str, int]) -> DeepSERConfig:
    """The architecture a recipe asks for."""
    return DeepSERConfig(
        modalities=member.modalities,
        dims=tuple(dims[name] for name in member.modalities),
        labels=len(recipe.labels),
        width=member.width,
        heads=member.heads,
        feed_forward=member.feed_forward,
        depth=member.depth,
        dropout=member.dropout,
        input_dropout=member.input_dropout,
        pooling=member.pooling,
        fusion=member.fusion,
        layers=recipe.layers_of(member),
    )


def member_seed(recipe: Recipe, member: MemberRecipe) -> int:
    """A seed of its own for every member, the same in every run."""
    return recipe.seed * 1000 + [m.name for m in recipe.members].index(member.name)


def quota_of(member: MemberRecipe, recipe: Recipe) -> dict[str, int]:
    """Most utterances of each corpus that an epoch of a member sees."""
    return recipe.quota if member.quota is None else member.quota


def _epoch_of(data: TrainingSet, member: MemberRecipe, recipe: Recipe, rng: np.random.Generator) -> Indices:
    quota = quota_of(member, recipe)
    if recipe.corpus_balance > 0:
        quota = evened_quota(data.corpora, data.utterances, data.spoken, recipe.corpus_balance) | quota
    return full_epoch(data.corpora, quota, rng, data.utterances)


def stage_1(
    member: MemberRecipe, recipe: Recipe, split: Split, compute: Compute = CPU, watch: Watch | None = None
) -> TrainedMember:
    """All data, ambiguous utterances included, cross-entropy weighted by class (paper, section 2.3, stage 1).

    Args:
        member: which member.
        recipe: learning rate, epochs, quotas, chances.
        split: training and development examples.
        compute: device and precision.
        watch: who looks on.
    """
    data = split.train.readable(member.modalities)
    seed = member_seed(recipe, member)
    torch.manual_seed(seed)
    model = DeepSER(member_config(member, recipe, data.dims))
    for name in member.modalities:
        mean, deviation = data.statistics(name)
        model.set_standardisation(name, torch.from_numpy(mean), torch.from_numpy(deviation))

    def epoch(rng: np.random.Generator) -> Indices:
        return _epoch_of(data, member, recipe, rng)

    typical = epoch(np.random.default_rng(seed))
    weights = class_weights(torch.from_numpy(data.targets[typical]), recipe.class_weight_power)
    return _fit(
        model, member, recipe, split, epoch=epoch, stage=1, weights=weights, seed=seed, compute=compute, watch=watch
    )


def stage_2(
    start: DeepSER,
    member: MemberRecipe,
    recipe: Recipe,
    split: Split,
    compute: Compute = CPU,
    watch: Watch | None = None,
) -> TrainedMember:
    """Freshly drawn balanced subsets with ambiguous utterances, unweighted, low rate (paper, section 2.3, stage 2).

    Args:
        start: the member after stage 1; it is trained on in place.
        member: which member.
        recipe: learning rate, epochs, quotas, chances.
        split: training and development examples.
        compute: device and precision.
        watch: who looks on.
    """
    data = split.train.readable(member.modalities)

    def epoch(rng: np.random.Generator) -> Indices:
        pool = _epoch_of(data, member, recipe, rng)
        return pool[balanced_epoch(data.dominant[pool], data.ambiguous[pool], rng)]

    seed = member_seed(recipe, member) + 500
    return _fit(
        start, member, recipe, split, epoch=epoch, stage=2, weights=None, seed=seed, compute=compute, watch=watch
    )


def _fit(
    model: DeepSER,
    member: MemberRecipe,
    recipe: Recipe,
    split: Split,
    *,
    epoch: Epoch,
    stage: int,
    weights: torch.Tensor | None,
    seed: int,
    compute: Compute,
    watch: Watch | None,
) -> TrainedMember:
    data = split.train.readable(member.modalities)
    report = fit(
        model,
        data,
        split.development.readable(member.modalities),
        member.modalities,
        epoch=epoch,
        stage=recipe.stage1 if stage == 1 else recipe.stage2,
        objective=recipe.member_objective,
        mixup_alpha=recipe.mixup_alpha,
        weights=weights,
        seed=seed,
        compute=compute,
        watch=watch,
    )
    log.info(
        "member %s, stage %d: development macro-F1 %.3f at epoch %d",
        member.name,
        stage,
        report.best_macro_f1,
        report.best_epoch,
    )
    return TrainedMember(model, report)
