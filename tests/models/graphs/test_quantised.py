"""Products between steps of quantisation, held to PyTorch's own rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.engines.onnx import open_session
from models.errors import EngineError
from models.graphs.graph import Graph
from models.graphs.quantised import EIGHT_BITS, FLOAT8, LEAST_CHANNELS, Quantised, Watched, steps, weight_key
from models.graphs.quantised import quantise_weights as quantised

KINDS = (np.float32, np.float16)


def graph_of(
    weight: NDArray[np.float32], precision: str, reach: float, kind: Any = np.float32, reads: int = 1
) -> bytes:
    graph = Graph("product")
    x = graph.input("x", np.float32, ("rows", weight.shape[-2]))
    own = x if kind is np.float32 else graph.cast(x, kind)
    products = Quantised(precision, {weight_key(weight): reach})
    for number in range(reads):
        y = products.product(graph, own, weight, kind)
        shape = (*weight.shape[:-2], "rows", weight.shape[-1])
        graph.output(f"y{number}", graph.cast(y, np.float32), np.float32, shape)
    return graph.serialise()


def computed(graph: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(open_session(graph, threads=1, as_written=True).run(None, {"x": x})[0])


def by_pytorch(
    x: NDArray[np.float32], weight: NDArray[np.float32], precision: str, reach: float
) -> NDArray[np.float32]:
    """Both factors rounded as PyTorch rounds them, then multiplied."""
    factor, matrix = torch.from_numpy(x), torch.from_numpy(weight)
    if precision == "int8":
        step = max(reach / 127, np.finfo(np.float32).tiny)
        a = torch.fake_quantize_per_tensor_affine(factor, float(np.float32(step)), 0, -128, 127)
        own = (matrix.abs().amax(dim=0) / 127).clamp_min(torch.finfo(torch.float32).tiny)
        b = torch.fake_quantize_per_channel_affine(matrix, own, torch.zeros(len(own), dtype=torch.int32), 1, -127, 127)
        return (a @ b).numpy()
    largest = torch.finfo(torch.float8_e4m3fn).max
    own = matrix.abs().amax(dim=0).clamp_min(1e-30) / largest
    a = (factor / (reach / largest)).clamp(-largest, largest).to(torch.float8_e4m3fn).float() * (reach / largest)
    b = (matrix / own).clamp(-largest, largest).to(torch.float8_e4m3fn).float() * own
    return (a @ b).numpy()


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 12),
    inner=st.integers(LEAST_CHANNELS, 80),
    width=st.integers(LEAST_CHANNELS, 40),
    spread=st.floats(1e-3, 1e3),
    cut=st.floats(0.3, 1.5),
    precision=st.sampled_from(sorted(EIGHT_BITS)),
)
@settings(max_examples=50, deadline=None)
def test_the_graph_says_what_pytorch_says_of_rounded_factors(
    seed: int, rows: int, inner: int, width: int, spread: float, cut: float, precision: str
) -> None:
    """Beyond its range, where `cut` is below 1, what is multiplied becomes the end of it."""
    chance = np.random.default_rng(seed)
    x = (chance.normal(size=(rows, inner)) * spread).astype(np.float32)
    weight = chance.normal(size=(inner, width)).astype(np.float32)
    reach = float(np.abs(x).max() * cut)

    found = computed(graph_of(weight, precision, reach), x)

    expected = by_pytorch(x, weight, precision, reach)
    # A number in the middle between two steps may be rounded to either, by one rounding of its quotient.
    astray = np.abs(found - expected).max() / np.abs(expected).max()
    assert astray < 0.02
    assert np.median(np.abs(found - expected)) <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("precision", sorted(EIGHT_BITS))
@pytest.mark.parametrize("kind", KINDS)
def test_it_stays_near_the_exact_product(precision: str, kind: Any) -> None:
    chance = np.random.default_rng(0)
    x = chance.normal(size=(32, 64)).astype(np.float32)
    weight = chance.normal(size=(64, 48)).astype(np.float32)

    found = computed(graph_of(weight, precision, float(np.abs(x).max()), kind), x)

    strayed = np.linalg.norm(found - x @ weight) / np.linalg.norm(x @ weight)
    assert 0.002 < strayed < {"int8": 0.02, "fp8": 0.05}[precision]


@given(reach=st.floats(0, 6e4), kind=st.sampled_from(KINDS), largest=st.sampled_from([127.0, 448.0]))
@settings(max_examples=100, deadline=None)
def test_a_step_reaches_as_far_as_was_asked(reach: float, kind: Any, largest: float) -> None:
    step = steps(np.array(reach), largest, kind)
    assert step.dtype == kind
    assert step > 0
    assert float(step) * largest >= np.float32(reach) * (1 - 1e-6)
    assert float(step) * largest <= max(reach * 1.002, 448 * 6e-8) or float(step) < 1e-4


@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS), tiny=st.floats(1e-6, 1))
@settings(max_examples=40, deadline=None)
def test_no_weight_strays_further_than_half_a_step_of_its_channel(seed: int, kind: Any, tiny: float) -> None:
    weight = np.random.default_rng(seed).normal(size=(20, 18)).astype(np.float32)
    weight[:, 3] *= tiny
    weight[:, 5] = 0

    numbers, step = quantised(weight, np.int8, 127.0, kind)

    assert numbers.dtype == np.int8
    apart = np.abs(numbers * step.astype(np.float64) - weight)
    assert (apart <= step.astype(np.float64) / 2 * 1.001).all()


def test_members_side_by_side_share_the_steps_of_their_channels() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 16, 20)).astype(np.float32)
    x = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)

    found = computed(graph_of(weight, "int8", 4.0), x)

    assert quantised(weight, np.int8, 127.0, np.float32)[1].shape == (20,)
    np.testing.assert_allclose(found, x @ weight, atol=0.2)


@pytest.mark.parametrize("precision", sorted(EIGHT_BITS))
def test_weights_are_kept_in_8_bits_and_what_they_share_is_rounded_once(precision: str) -> None:
    weight = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    model = onnx.load_from_string(graph_of(weight, precision, 3.0, np.float16, reads=2))
    operations = [node.op_type for node in model.graph.node]
    kinds = {tuple(constant.dims): constant.data_type for constant in model.graph.initializer}
    eight = {"int8": onnx.TensorProto.INT8, "fp8": onnx.TensorProto.FLOAT8E4M3FN}
    assert operations.count("QuantizeLinear") == 1
    assert kinds[32, 32] == eight[precision]
    assert [entry.version for entry in model.opset_import if not entry.domain] == [19]


@pytest.mark.parametrize("shape", [(64, LEAST_CHANNELS - 1), (LEAST_CHANNELS - 1, 64)])
def test_a_narrow_product_is_left_as_it_is(shape: tuple[int, int]) -> None:
    weight = np.ones(shape, np.float32)
    graph = Graph("narrow")
    x = graph.input("x", np.float32, ("rows", shape[0]))
    graph.output("y", Quantised("int8", {}).product(graph, x, weight, np.float32), np.float32, ("rows", shape[1]))
    watched = Watched()
    watched.product(graph, x, weight, np.float32)
    assert [node.op_type for node in onnx.load_from_string(graph.serialise()).graph.node][:1] == ["MatMul"]
    assert not watched.sites


def test_a_product_that_nobody_measured_is_refused() -> None:
    graph = Graph("unmeasured")
    x = graph.input("x", np.float32, ("rows", 16))
    with pytest.raises(EngineError, match=r"weights \(16, 16\) has no range"):
        Quantised("fp8", {}).product(graph, x, np.ones((16, 16), np.float32), np.float32)


def test_what_is_watched_is_told_by_weights_whatever_else_is_written() -> None:
    first, second = (np.full((16, 16), value, np.float32) for value in (1.0, 2.0))
    watched, graph = Watched(), Graph("watched")
    x = graph.input("x", np.float32, ("rows", 16))
    y = watched.product(graph, x, first, np.float32)
    watched.product(graph, y, second, np.float32)
    watched.product(graph, y, first, np.float32)
    assert watched.sites == {weight_key(first): [x, y], weight_key(second): [y]}


def test_the_largest_number_of_8_bit_floating_point_is_known() -> None:
    assert float(np.array(448.0, dtype=FLOAT8)) == EIGHT_BITS["fp8"][1] == torch.finfo(torch.float8_e4m3fn).max
