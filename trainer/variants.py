"""One thing changed at a time: the variants of a recipe that an ablation compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trainer.augment import CLEAN
from trainer.recipe import Recipe

WHOLE: Final = "the whole recipe"

Change = Callable[[Recipe], Recipe | None]
"""Makes a recipe another; None where there is nothing to change."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The recipe with one thing changed."""

    name: str
    question: str
    """What it answers, such as `targets`."""
    change: Change
    adopts: tuple[str, ...] = ()
    """Stages whose models are those of the whole recipe."""


def changed(recipe: Recipe, **values: object) -> Recipe:
    """A recipe with other values of its own keys."""
    return Recipe.model_validate({**recipe.model_dump(), **values})


def _every_member(recipe: Recipe, **values: object) -> Recipe:
    return changed(recipe, members=[{**member.model_dump(), **values} for member in recipe.members])


def _every_stage(recipe: Recipe, **values: object) -> Recipe:
    def stage(of: Any) -> dict[str, Any]:
        return {**of.model_dump(), **values}

    meta = {**recipe.meta.model_dump(), "full": stage(recipe.meta.full), "balanced": stage(recipe.meta.balanced)}
    return changed(recipe, stage1=stage(recipe.stage1), stage2=stage(recipe.stage2), meta=meta)


def _without_views(recipe: Recipe) -> Recipe | None:
    if recipe.views == (CLEAN,):
        return None
    return changed(recipe, views=(CLEAN,), meta={**recipe.meta.model_dump(), "views": (CLEAN,)})


def without_modality(recipe: Recipe, modality: str) -> Recipe | None:
    """A recipe whose members do not read a modality; members that read nothing else are left out."""
    if modality not in recipe.modalities:
        return None
    members = []
    for member in recipe.members:
        read = [name for name in member.modalities if name != modality]
        if read:
            members.append({**member.model_dump(), "modalities": read})
    if not members:
        return None
    return _reading(recipe, members)


def of_members(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """A recipe with some of its members, and what they read."""
    return _reading(recipe, [member.model_dump() for member in recipe.members if member.name in names])


def _reading(recipe: Recipe, members: list[dict[str, Any]]) -> Recipe:
    read = {name for member in members for name in member["modalities"]}
    values = recipe.model_dump()
    backbones = {values["modalities"][name]["backbone"] for name in read}
    kept = {key: {n: entry for n, entry in values[key].items() if n in read} for key in ("modalities", "speaker")}
    own = {name: entry for name, entry in values["backbones"].items() if name in backbones}
    return changed(recipe, members=members, backbones=own, **kept)


VARIANTS: Final = (
    Variant("hard targets", "targets", lambda r: None if r.hard_targets else changed(r, hard_targets=True)),
    Variant("label smoothing 0.1", "targets", lambda r: changed(r, label_smoothing=0.1)),
    Variant("late fusion", "fusion", lambda r: _every_member(r, fusion="late")),
    Variant("attentive statistics", "pooling", lambda r: _every_member(r, pooling="attentive_statistics")),
    Variant("no MixUp", "MixUp", lambda r: _every_stage(r, mixup=0.0)),
    Variant("no stage 2", "stage 2", lambda r: changed(r, stage2={**r.stage2.model_dump(), "epochs": 0}), ("stage1",)),
    Variant(
        "no attribute task", "attributes", lambda r: changed(r, attribute_weight=0.0) if r.attribute_weight else None
    ),
    Variant("no class weights", "class weights", lambda r: changed(r, class_weight_power=0.0)),
    Variant("supervised contrast 0.2", "contrast", lambda r: changed(r, contrastive_weight=0.2)),
    Variant(
        "no restricted softmax",
        "classes a corpus lacks",
        lambda r: changed(r, restricted_softmax=False) if r.restricted_softmax else None,
    ),
    Variant("corpora evened out by half", "corpora", lambda r: changed(r, corpus_balance=0.5)),
    Variant("no modality dropout", "modality dropout", lambda r: _every_stage(r, modality_drop=0.0)),
    Variant("no prosody", "prosody", lambda r: without_modality(r, "prosody")),
    Variant("no augmentation", "augmentation", _without_views),
    Variant("no speaker standardisation", "standardisation", lambda r: changed(r, speaker={}) if r.speaker else None),
    Variant(
        "greedy soup",
        "aggregation",
        lambda r: changed(r, meta={**r.meta.model_dump(), "soup": "greedy"}),
        ("stage1", "stage2", "stage3"),
    ),
)
"""In the order of the table."""
