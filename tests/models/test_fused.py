"""The fused ensemble in PyTorch: the members' answers, computed together."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from models.bundle import load_bundle, shipped_bundle
from models.deepser import DeepSERConfig
from models.ensemble import Ensemble
from models.fused import FusedEnsemble
from models.fused_layers import Encoders
from tests.fakes.ensembles import config, configs, random_batch, random_ensemble, rows

Inputs = dict[str, Tensor]


@pytest.fixture(scope="module")
def shipped() -> Ensemble:
    return load_bundle(shipped_bundle()).ensemble()


def largest_difference(ensemble: Ensemble, fused: FusedEnsemble, inputs: Inputs, frames: Inputs) -> float:
    """Of any score of the ensemble or of a member; attributes as shares of their range."""
    with torch.inference_mode():
        wanted = (*ensemble(inputs, frames), *ensemble.member_outputs(inputs, frames))
        found = (*fused(inputs, frames), *fused.member_outputs(inputs, frames))
    differences = [(a - b).abs().max() / scale for a, b, scale in zip(wanted, found, (1, 6, 1, 6), strict=True)]
    return float(torch.stack(differences).max())  # Not a number, where any of them is.


def assert_same(ensemble: Ensemble, inputs: Inputs, frames: Inputs) -> None:
    assert largest_difference(ensemble, FusedEnsemble(ensemble), inputs, frames) <= 1e-5


@settings(deadline=None, max_examples=60)
@given(st.lists(configs(), min_size=1, max_size=5), rows, st.integers(0, 2), st.booleans(), st.integers(0, 99))
def test_fused_the_members_say_what_they_say_one_by_one(
    shapes: list[DeepSERConfig], lengths: list[list[int]], room: int, alike: bool, seed: int
) -> None:
    """Rows without anything to read included."""
    ensemble = random_ensemble(shapes, seed, alike=alike)
    batch = random_batch(ensemble, [row[: len(ensemble.modalities)] for row in lengths], room)
    assert_same(ensemble, *batch)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("pooling", ["mean", "attentive_statistics"])
@pytest.mark.parametrize("layers", [1, 2])
def test_members_side_by_side_do_too(heads: int, pooling: str, layers: int) -> None:
    """All of one shape, reading different things in an order that is not that of their stack."""
    shapes = [
        config("acoustic", "text", heads=heads, pooling=pooling, layers=(1, layers)),
        config("acoustic", "prosody", heads=heads, pooling=pooling),
        config("acoustic", "prosody", "text", heads=heads, pooling=pooling, layers=(1, 1, layers)),
        config("text", "acoustic", heads=heads, pooling=pooling, layers=(layers, 1)),
        config("acoustic", "prosody", heads=heads, pooling=pooling),
    ]
    ensemble = random_ensemble(shapes, heads)
    fused = FusedEnsemble(ensemble)
    assert len(fused.stacks) == 1
    batch = random_batch(ensemble, [[5, 3, 2], [0, 0, 4], [6, 0, 0], [1, 1, 1], [0, 0, 0]], room=1)
    assert largest_difference(ensemble, fused, *batch) <= 1e-5


def test_the_shipped_ensemble_does_too_whatever_is_missing(shipped: Ensemble) -> None:
    lengths = [[19 * a, 19 * p, 12 * t] for a, p, t in itertools.product((0, 1), repeat=3)]
    lengths += [[1, 1, 1], [40, 3, 7], [2, 64, 30]]
    assert_same(shipped, *random_batch(shipped, lengths, room=3))


def test_every_mask_of_a_short_sequence_is_exact(shipped: Ensemble) -> None:
    """Lengths from nothing to all the room there is, for every modality."""
    lengths = [[a, p, t] for a, p, t in itertools.product(range(4), repeat=3)]
    inputs, frames = random_batch(shipped, lengths, room=0)
    fused = FusedEnsemble(shipped)
    assert largest_difference(shipped, fused, inputs, frames) <= 1e-5
    rubbish = {
        name: x + 100 * torch.ones_like(x) * (torch.arange(x.shape[1]) >= frames[name][:, None])[..., None]
        for name, x in inputs.items()
    }
    with torch.inference_mode():
        something = torch.stack([own > 0 for own in frames.values()]).any(dim=0)
        for clean, soiled in zip(fused(inputs, frames), fused(rubbish, frames), strict=True):
            assert torch.equal(clean[something], soiled[something])


def test_a_segment_scores_the_same_alone_and_in_any_batch(shipped: Ensemble) -> None:
    fused = FusedEnsemble(shipped)
    lengths = [[19, 19, 12], [1, 0, 0], [0, 30, 2], [64, 64, 40]]
    inputs, frames = random_batch(shipped, lengths, room=5)
    with torch.inference_mode():
        together = fused(inputs, frames)
        for row, own in enumerate(lengths):
            cut = {n: x[row : row + 1, : max(1, k)] for (n, x), k in zip(inputs.items(), own, strict=True)}
            alone = fused(cut, {name: count[row : row + 1] for name, count in frames.items()})
            torch.testing.assert_close(alone.probabilities[0], together.probabilities[row], rtol=0, atol=1e-5)
            torch.testing.assert_close(alone.attributes[0], together.attributes[row], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.02), (torch.float16, 0.002)])
def test_members_in_half_precision_are_close(shipped: Ensemble, dtype: torch.dtype, tolerance: float) -> None:
    fused = FusedEnsemble(shipped, dtype)
    assert {b.dtype for b in fused.stacks.buffers()} == {dtype}
    assert {b.dtype for b in fused.standards.buffers()} == {fused.temperature.dtype} == {torch.float32}
    lengths = [[19, 19, 12], [19, 19, 0], [0, 0, 3], [0, 5, 0], [0, 0, 0]]
    inputs, frames = random_batch(shipped, lengths, room=3)
    difference = largest_difference(shipped, fused, inputs, frames)
    assert 1e-5 < difference <= tolerance


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_it_can_be_moved_as_a_whole(shipped: Ensemble, dtype: torch.dtype) -> None:
    fused = FusedEnsemble(shipped).to(dtype)
    inputs, frames = random_batch(shipped, [[19, 19, 12], [0, 0, 3]], room=0)
    with torch.inference_mode():
        answer = fused(inputs, frames)
    assert answer.probabilities.dtype == answer.attributes.dtype == dtype
    assert largest_difference(shipped, fused, inputs, frames) <= (1e-5 if dtype == torch.float64 else 0.05)


def test_what_it_was_built_from_stays_as_it_was(shipped: Ensemble) -> None:
    before = {name: tensor.clone() for name, tensor in shipped.state_dict().items()}
    FusedEnsemble(shipped).to(torch.bfloat16)
    after = shipped.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_nothing_in_it_is_trained(shipped: Ensemble) -> None:
    fused = FusedEnsemble(shipped)
    assert not fused.training
    assert not any(parameter.requires_grad for parameter in fused.parameters())


def test_what_it_does_depends_on_shapes_alone() -> None:
    """Recorded over zeros, operation by operation, as a CUDA graph is, it answers for what it is then given."""
    late = config("text", layers=(2,), heads=4, pooling="attentive_statistics", fusion="late")
    shapes = [config("acoustic", "text", layers=(1, 2)), late]
    ensemble = random_ensemble(shapes, 0)
    fused = FusedEnsemble(ensemble)
    names = [modality.name for modality in ensemble.modalities]
    inputs, frames = random_batch(ensemble, [[9, 5], [0, 7], [5, 0]], room=1)

    def answer(*tensors: Tensor) -> tuple[Tensor, ...]:
        half = len(names)
        return tuple(
            fused(dict(zip(names, tensors[:half], strict=True)), dict(zip(names, tensors[half:], strict=True)))
        )

    given_now = [*(inputs[name] for name in names), *(frames[name] for name in names)]
    with torch.no_grad():
        recorded = make_fx(answer)(*(torch.zeros_like(tensor) for tensor in given_now))
        wanted = ensemble(inputs, frames)
        for found, expected in zip(recorded(*given_now), wanted, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_more_members_of_a_shape_cost_no_more_operations() -> None:
    """They are one product each, however many stand side by side."""

    def operations(members: int) -> int:
        ensemble = random_ensemble([config("acoustic", fusion="late")] * members, 0)
        fused = FusedEnsemble(ensemble)
        inputs, frames = random_batch(ensemble, [[5]], room=0)
        with torch.no_grad():
            return len(make_fx(lambda x, n: tuple(fused(x, n)))(inputs, frames).graph.nodes)

    assert operations(3) == operations(12)


def test_members_that_read_the_same_share_their_encoders_product() -> None:
    ensemble = random_ensemble([config("acoustic", "prosody"), config("acoustic", "text")], 0)
    fused = FusedEnsemble(ensemble)
    encoders = [module for module in fused.modules() if isinstance(module, Encoders)]
    assert sorted(tuple(one.first_projection.weight.shape) for one in encoders) == sorted(
        # The acoustic encoders of both are one; each of prosody and text has one; four fusion encoders stand alone.
        [(16, 12), (8, 5), (8, 8), *[(8, 8)] * 4]
    )
