"""Products in integers: how far they may lie from the exact ones, and that a row stands for itself."""

from __future__ import annotations

import numpy as np
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.graphs.graph import Graph
from models.graphs.int8 import product_int8, quantise_rows


def product(x: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    graph = Graph("product")
    rows = quantise_rows(graph, graph.input("x", np.float32, ("rows", x.shape[1])))
    graph.output("y", product_int8(graph, rows, weight), np.float32, ("rows", weight.shape[1]))
    session = onnxruntime.InferenceSession(graph.serialise(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 40),
    inner=st.integers(1, 200),
    width=st.integers(1, 70),
    spread=st.floats(1e-6, 1e4),
)
@settings(max_examples=60, deadline=None)
def test_no_answer_strays_further_than_half_a_step_of_each_factor(
    seed: int, rows: int, inner: int, width: int, spread: float
) -> None:
    chance = np.random.default_rng(seed)
    x = (chance.normal(size=(rows, inner)) * spread).astype(np.float32)
    # Outliers, as encoders have them, in some columns.
    x[:, ::7] *= 50
    weight = chance.normal(size=(inner, width)).astype(np.float32)

    found = product(x, weight)

    step = np.abs(x).max(axis=1, keepdims=True) / 127
    weight_step = np.abs(weight).max(axis=0, keepdims=True) / 63
    furthest = step / 2 * np.abs(weight).sum(axis=0) + weight_step / 2 * (np.abs(x) + step / 2).sum(axis=1)[:, None]
    exact = x.astype(np.float64) @ weight.astype(np.float64)
    assert (np.abs(found - exact) <= furthest * 1.001).all()


def test_a_row_says_the_same_whatever_stands_beside_it() -> None:
    chance = np.random.default_rng(0)
    x = chance.normal(size=(5, 64)).astype(np.float32)
    x[2] *= 1000
    weight = chance.normal(size=(64, 32)).astype(np.float32)

    together = product(x, weight)

    for row in range(len(x)):
        assert (product(x[row : row + 1], weight) == together[row]).all()


def test_silence_stays_silence() -> None:
    assert (product(np.zeros((3, 16), np.float32), np.ones((16, 4), np.float32)) == 0).all()


def test_a_column_of_zeros_stays_zero() -> None:
    weight = np.ones((16, 4), np.float32)
    weight[:, 1] = 0
    found = product(np.ones((2, 16), np.float32), weight)
    assert (found[:, 1] == 0).all()
    np.testing.assert_allclose(found[:, 0], 16, rtol=1e-3)
