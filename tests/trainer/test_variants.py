"""Variants: each changes what its name says, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.recipe import Recipe, load_recipe
from trainer.variants import VARIANTS, of_members, without_modality


@pytest.fixture(scope="module")
def base() -> Recipe:
    return load_recipe("base")


def changed_keys(one: Any, other: Any, path: str = "") -> set[str]:
    """Paths at which two recipes differ; of lists and of tables with other keys, the path alone."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return {found for key in one for found in changed_keys(one[key], other[key], f"{path}.{key}".strip("."))}
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return {found for a, b in zip(one, other, strict=True) for found in changed_keys(a, b, path)}
    return set() if one == other else {path}


STAGES = ("stage1", "stage2", "meta.full", "meta.balanced")
EXPECTED = {
    "hard targets": {"hard_targets"},
    "label smoothing 0.1": {"label_smoothing"},
    "late fusion": {"members.fusion"},
    "attentive statistics": {"members.pooling"},
    "no MixUp": {f"{stage}.mixup" for stage in STAGES},
    "no stage 2": {"stage2.epochs"},
    "no attribute task": {"attribute_weight"},
    "no class weights": {"class_weight_power"},
    "supervised contrast 0.2": {"contrastive_weight"},
    "no restricted softmax": {"restricted_softmax"},
    "corpora evened out by half": {"corpus_balance"},
    "no modality dropout": {"stage1.modality_drop", "stage2.modality_drop"},
    "no prosody": {"members.modalities", "modalities", "speaker"},
    "no augmentation": {"views", "meta.views"},
    "no speaker standardisation": {"speaker"},
    "greedy soup": {"meta.soup"},
}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_it_changes_one_thing(base: Recipe, variant: Any) -> None:
    recipe = variant.change(base)
    assert changed_keys(base.model_dump(), recipe.model_dump()) == EXPECTED[variant.name]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("hard targets", {"hard_targets": True}),
        ("no augmentation", {"views": ("clean",)}),
        ("no speaker standardisation", {"speaker": {}}),
    ],
)
def test_where_there_is_nothing_to_change_there_is_no_variant(base: Recipe, name: str, values: dict[str, Any]) -> None:
    (variant,) = (variant for variant in VARIANTS if variant.name == name)
    assert variant.change(base.model_copy(update=values)) is None


def test_members_that_read_nothing_but_what_is_taken_away_go_with_it(base: Recipe) -> None:
    found = without_modality(base, "text")
    assert found is not None
    assert {name for member in found.members for name in member.modalities} == {"acoustic", "prosody"}
    assert without_modality(base, "smell") is None
    assert without_modality(of_members(found, ["prosody-text"]), "prosody") is None


def test_fewer_members_need_only_what_they_read(base: Recipe) -> None:
    found = of_members(base, ["acoustic-text"])
    assert [member.name for member in found.members] == ["acoustic-text"]
    assert (set(found.modalities), set(found.speaker)) == ({"acoustic", "text"}, {"acoustic"})
