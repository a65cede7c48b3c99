"""The fused ensemble: the members' answers, computed together in one graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.admission import check_inputs
from models.bundle import find_bundle, load_bundle
from models.deepser import DeepSER, DeepSERConfig
from models.engines.base import EngineOutput
from models.engines.onnx import OnnxEngine
from models.ensemble import Ensemble
from models.errors import EngineError
from models.fused_weights import fused_weights
from models.graphs.ensemble import LAYER_GROUPS, ensemble_graph
from models.graphs.half_precision import InHalfPrecision
from models.modalities import PaddedBatch
from tests.fakes.ensembles import config, configs, random_batch, random_ensemble, rows, some_row_is_read


def batches(inputs: dict[str, Tensor], frames: dict[str, Tensor]) -> dict[str, PaddedBatch]:
    return {name: PaddedBatch(inputs[name].numpy(), frames[name].numpy()) for name in inputs}


def answered(ensemble: Ensemble, inputs: dict[str, Tensor], frames: dict[str, Tensor]) -> EngineOutput:
    """What ONNX Runtime makes of the graph."""
    return OnnxEngine(ensemble_graph(ensemble), ensemble.modalities, threads=1).run(batches(inputs, frames))


def assert_same(ensemble: Ensemble, inputs: dict[str, Tensor], frames: dict[str, Tensor]) -> None:
    """To 1e-5, attributes as shares of their range."""
    found = answered(ensemble, inputs, frames)
    with torch.inference_mode():
        wanted = ensemble(inputs, frames)
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.attributes / 6, wanted.attributes / 6, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.lists(configs(), min_size=1, max_size=5), rows, st.integers(0, 2), st.booleans(), st.integers(0, 99))
def test_fused_the_members_say_what_they_say_one_by_one(
    shapes: list[DeepSERConfig], lengths: list[list[int]], room: int, alike: bool, seed: int
) -> None:
    ensemble = random_ensemble(shapes, seed, alike=alike)
    inputs, frames = random_batch(ensemble, some_row_is_read(lengths, len(ensemble.modalities)), room)
    assert_same(ensemble, inputs, frames)


def test_members_of_one_shape_stand_side_by_side_whatever_else_they_read() -> None:
    """Two that read the same are one fusion; the acoustic encoders of all three are one stack."""
    shapes = [config("acoustic", "prosody"), config("acoustic", "text"), config("acoustic", "prosody")]
    (stack,) = fused_weights((s, DeepSER(s).numpy_state()) for s in shapes)
    assert {r.modality: len(r.encoder.first_projection.weight) for r in stack.readers} == {
        "acoustic": 3,
        "prosody": 2,
        "text": 1,
    }
    assert [(f.modalities, len(f.latent.weight)) for f in stack.fusions] == [
        (("acoustic", "prosody"), 2),
        (("acoustic", "text"), 1),
    ]
    assert stack.places == (0, 2, 1)


@pytest.mark.parametrize(("heads", "folded"), [(1, True), (2, True), (4, False)])
def test_few_heads_are_folded_and_many_are_not(heads: int, folded: bool) -> None:
    shape = config("acoustic", heads=heads)
    (stack,) = fused_weights([(shape, DeepSER(shape).numpy_state())])
    attention = stack.readers[0].encoder.first[0].attention
    assert (attention.key is None, attention.out is None) == (folded, folded)
    assert attention.query.shape == (1, heads, 8, 8 if folded else 8 // heads)
    ensemble = random_ensemble([shape], 3)
    assert_same(ensemble, *random_batch(ensemble, [[5], [2]], 1))


def test_what_is_standardised_otherwise_is_no_part_of_a_stack() -> None:
    shapes = [config("acoustic", "prosody")] * 2
    ensemble = random_ensemble(shapes, 0, alike=False)
    members = [member for member in ensemble.members if isinstance(member, DeepSER)]
    (stack,) = fused_weights((member.config, member.numpy_state()) for member in members)
    assert [len(reader.encoder.first_projection.weight) for reader in stack.readers] == [1, 1, 1, 1]


def test_the_graph_is_small_and_holds_every_weight_once() -> None:
    one, many = (random_ensemble([config("acoustic", "prosody")] * count, 0) for count in (1, 6))
    graphs = [onnx.load_from_string(ensemble_graph(ensemble)).graph for ensemble in (one, many)]
    alone, together = (len(graph.node) for graph in graphs)
    assert together < 1.3 * alone
    names = [initializer.name for initializer in graphs[1].initializer]
    assert len(names) == len(set(names))


@pytest.fixture(scope="module")
def shipped() -> Ensemble:
    return load_bundle(find_bundle("base")).ensemble()


def test_the_shipped_bundle_in_half_precision_stays_within_the_gate(shipped: Ensemble) -> None:
    inputs = check_inputs(shipped.modalities)
    wanted = OnnxEngine(ensemble_graph(shipped), shipped.modalities, threads=1).run(inputs)
    found = InHalfPrecision(ensemble_graph(shipped, kind=np.float16)).run(inputs)
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, rtol=0, atol=0.02)
    np.testing.assert_allclose(found.attributes / 6, wanted.attributes / 6, rtol=0, atol=0.02)
    np.testing.assert_array_equal(found.probabilities.argmax(axis=1), wanted.probabilities.argmax(axis=1))


@pytest.mark.parametrize("pooling", ["mean", "attentive_statistics"])
def test_in_half_precision_a_row_without_anything_is_finite(pooling: str) -> None:
    shapes = [config("acoustic", "prosody", pooling=pooling), config("acoustic", "text", heads=4, pooling=pooling)]
    ensemble = random_ensemble(shapes, 0)
    nothing = {
        m.name: PaddedBatch(np.full((2, 5, m.dim), 3, np.float32), np.zeros(2, np.int64)) for m in ensemble.modalities
    }
    found = InHalfPrecision(ensemble_graph(ensemble, kind=np.float16)).run(nothing)
    wanted = InHalfPrecision(ensemble_graph(ensemble)).run(nothing)
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=0.02)
    np.testing.assert_allclose(found.attributes, wanted.attributes, atol=0.1)


@settings(deadline=None, max_examples=10)
@given(st.lists(configs(), min_size=1, max_size=4), st.sets(st.sampled_from(LAYER_GROUPS)), rows, st.integers(0, 9))
def test_any_layer_groups_stay_in_single_precision(
    shapes: list[DeepSERConfig], kept: set[str], lengths: list[list[int]], seed: int
) -> None:
    ensemble = random_ensemble(shapes, seed)
    inputs, frames = random_batch(ensemble, some_row_is_read(lengths, len(ensemble.modalities)), 1)
    found = InHalfPrecision(ensemble_graph(ensemble, kind=np.float16, keep_fp32=kept)).run(batches(inputs, frames))
    wanted = answered(ensemble, inputs, frames)
    # Random weights are steeper than trained ones.
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, rtol=0, atol=0.1)


def test_half_precision_with_every_group_kept_is_the_graph_in_single_precision() -> None:
    ensemble = random_ensemble([config("acoustic", "prosody"), config("text", pooling="attentive_statistics")], 0)
    assert ensemble_graph(ensemble, kind=np.float16, keep_fp32=LAYER_GROUPS) == ensemble_graph(ensemble)


def test_half_precision_halves_the_weights(shipped: Ensemble) -> None:
    assert len(ensemble_graph(shipped, kind=np.float16)) < 0.6 * len(ensemble_graph(shipped))


def test_an_unknown_layer_group_is_refused() -> None:
    with pytest.raises(EngineError, match="no layer group tail"):
        ensemble_graph(random_ensemble([config("text")], 0), kind=np.float16, keep_fp32={"tail"})


def test_a_weight_too_large_for_half_precision_is_refused() -> None:
    ensemble = random_ensemble([config("text")], 0)
    torch.nn.init.constant_(next(iter(ensemble.members)).latent.weight, 7e4)  # type: ignore[arg-type, union-attr]
    with pytest.raises(EngineError, match="weight of 7e\\+04 does not fit into half precision"):
        ensemble_graph(ensemble, kind=np.float16)
    ensemble_graph(ensemble, kind=np.float16, keep_fp32={"head"})
