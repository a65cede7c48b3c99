"""Products of a graph in 8-bit integers, each row scaled by itself, so that no answer depends on what else is there.

Quantising a whole tensor by its largest value, as ONNX Runtime does, lets one outlier coarsen every other frame and
lets one segment of a batch move the scores of another. Here each row is divided by its own largest magnitude first:
as exact as CTranslate2's rows, in kernels of ONNX Runtime (Dettmers et al. 2022, LLM.int8(), section 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.graphs.checkpoint import Array
from models.graphs.graph import Graph, Value

ONNX_RUNTIME: Final = "com.microsoft"
"""The domain of what ONNX Runtime knows beside the standard."""

_ROW_STEPS: Final = 127
_ROW_ZERO: Final = 128
_WEIGHT_STEPS: Final = 63
"""Seven bits: on processors without VNNI, two products of eight bits by eight overflow the 16 that they are added in,
and answers would depend on the machine."""
_SMALLEST: Final = 1e-9
"""Of a row's largest magnitude; silence divides by it."""


@dataclass(frozen=True, slots=True)
class QuantisedRows:
    """What several products may read."""

    integers: Value
    """`[rows, from]`, uint8 around 128."""
    largest: Value
    """`[rows, 1]`, float32: what a row was divided by."""


def quantise_rows(graph: Graph, x: Value) -> QuantisedRows:
    """Makes integers of `[rows, from]`."""
    last = graph.constant([-1])
    above = graph.op("ReduceMax", x, last, keepdims=1)
    below = graph.op("Neg", graph.op("ReduceMin", x, last, keepdims=1))
    largest = graph.op("Max", above, below, graph.constant(_SMALLEST))
    integers = graph.op("QuantizeLinear", graph.op("Div", x, largest), *_row_steps(graph))
    return QuantisedRows(integers, largest)


def product_int8(graph: Graph, rows: QuantisedRows, weight: Array) -> Value:
    """`[rows, from]` times a matrix, in float32.

    Args:
        graph: to add to.
        rows: what is multiplied.
        weight: `[from, to]`; each column is quantised by its own largest magnitude.
    """
    steps = np.maximum(np.abs(weight).max(axis=0), np.float32(_SMALLEST)) / np.float32(_WEIGHT_STEPS)
    step, zero = _row_steps(graph)
    product = graph.op(
        "MatMulIntegerToFloat",
        rows.integers,
        graph.constant(np.rint(weight / steps).astype(np.int8)),
        step,
        graph.constant(steps.astype(np.float32)),
        zero,
        graph.constant(np.zeros(weight.shape[1], dtype=np.int8)),
        domain=ONNX_RUNTIME,
    )
    return graph.op("Mul", product, rows.largest)


def _row_steps(graph: Graph) -> tuple[Value, Value]:
    return graph.constant(1 / _ROW_STEPS), graph.constant(np.array(_ROW_ZERO, dtype=np.uint8))
