"""Operations, weights and memory, counted from shapes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.fusion_work import ensemble_work, member_work, working_bytes
from benchmarks.shapes import load_shape
from models.deepser import DeepSER, DeepSERConfig

DIMS = {"acoustic": 6, "text": 4}
TINY = DeepSERConfig(("text",), (1,), labels=2, width=2, feed_forward=3, fusion="late")


def test_a_tiny_member_counted_by_hand() -> None:
    work = member_work(TINY, {"text": 1})

    projections = 2 * 1 * 2 + 2 * 2 * 2
    layer = 2 * 2 * 6 + 2 * 2 * 2 + 2 * (2 * 1 * 1 * 2) + 2 * (2 * 2 * 3)
    latent_and_heads = 2 * 2 * 2 + 2 * 2 * 2 + 2 * 2 * 3
    assert work.operations == projections + 2 * layer + latent_and_heads == 168

    folded = 2 * (2 * 2 * 2) + 2 * (2 * 1 * 1 * 2) + 2 * (2 * 2 * 3)
    assert work.least_operations == projections + 2 * folded + latent_and_heads == 136

    projecting = (1 * 2 + 2) + (2 * 2 + 2)
    layer_weights = (2 * 6 + 6) + (2 * 2 + 2) + (2 * 3 + 3) + (3 * 2 + 2) + 2 * (2 + 2)
    assert work.weights == projecting + 2 * layer_weights + (4 + 2) + (4 + 2) + (6 + 3)
    folded_weights = (2 * 2 * 2 + 2 + 2) + (2 * 3 + 3) + (3 * 2 + 2) + 2 * (2 + 2)
    assert work.least_weights == projecting + 2 * folded_weights + (4 + 2) + (4 + 2) + (6 + 3)


@st.composite
def configs(draw: st.DrawFn) -> DeepSERConfig:
    names = tuple(sorted(draw(st.sets(st.sampled_from(list(DIMS)), min_size=1))))
    heads = draw(st.sampled_from([1, 2, 4]))
    return DeepSERConfig(
        names,
        tuple(DIMS[name] for name in names),
        labels=draw(st.integers(2, 8)),
        width=heads * draw(st.integers(1, 6)),
        heads=heads,
        feed_forward=draw(st.integers(1, 12)),
        depth=draw(st.integers(1, 2)),
        pooling=draw(st.sampled_from(["mean", "attentive_statistics"])),
        fusion=draw(st.sampled_from(["deep", "late"])),
        layers=draw(st.sampled_from([(1,) * len(names), (2,) * len(names)])),
    )


@settings(deadline=None, max_examples=15)
@given(configs(), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3))
def test_what_is_counted_is_what_pytorch_multiplies(config: DeepSERConfig, first: int, second: int, batch: int) -> None:
    frames = dict(zip(DIMS, (first, second), strict=True))
    member = DeepSER(config).eval()
    features = {name: torch.randn(batch, frames[name], DIMS[name]) for name in config.modalities}
    masks = {name: torch.ones(batch, frames[name], dtype=torch.bool) for name in config.modalities}

    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        member(features, masks)

    work = member_work(config, frames).times(batch)
    assert work.operations == counter.get_total_flops()
    assert work.weights == sum(parameter.numel() for parameter in member.parameters())
    assert work.least_operations <= work.operations
    assert work.least_weights <= work.weights


def test_an_ensemble_is_its_members_and_the_meta_classifier() -> None:
    shape = load_shape("base")
    inputs = shape.inputs(2, 1.0)
    features = {name: torch.from_numpy(batch.features) for name, batch in inputs.items()}
    lengths = {name: torch.from_numpy(batch.lengths) for name, batch in inputs.items()}

    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        shape.ensemble(features, lengths)

    work = ensemble_work(shape.members, shape.frames(1.0), batch=2)
    assert work.operations == counter.get_total_flops()
    assert work.weights == shape.parameters


def test_a_larger_batch_multiplies_more_and_reads_the_same_weights() -> None:
    one, many = (ensemble_work([TINY], {"text": 3}, batch) for batch in (1, 8))
    assert many.operations == 8 * one.operations
    assert (many.weights, many.least_weights) == (one.weights, one.least_weights)


@pytest.mark.parametrize(("heads", "cheaper"), [(1, True), (4, False)])
def test_folding_pays_with_one_head_and_not_with_many(heads: int, cheaper: bool) -> None:
    config = DeepSERConfig(("text",), (4,), labels=2, width=8, heads=heads, feed_forward=8)
    work = member_work(config, {"text": 5})
    assert (work.least_operations < work.operations) is cheaper
    assert (work.least_weights < work.weights) is cheaper


def test_memory_grows_with_batch_members_at_once_and_kept_scores() -> None:
    members = [DeepSERConfig(("text",), (4,), labels=2, width=8, feed_forward=8)] * 3
    frames = {"text": 50}

    def needed(batch: int = 1, *, side_by_side: bool = False, keeps_scores: bool = False) -> int:
        return working_bytes(members, frames, batch, side_by_side=side_by_side, keeps_scores=keeps_scores)

    assert needed(4) == 4 * needed(1)
    assert needed(side_by_side=True) == 3 * needed()
    # Two matrices of scores over what both fusions read, 50 frames twice.
    assert needed(keeps_scores=True) - needed() == 4 * 2 * 100 * 100
