"""Products between steps of quantisation, as TensorRT reads them: both factors rounded to 8 bits and brought back.

QuantizeLinear and DequantizeLinear stand around every factor, and an engine that knows such products computes them in 8
bits. Weights have a step for each output channel, what is multiplied with them one for all of it, known beforehand:
measured where the graph runs in single precision (Jacob et al. 2018; Wu et al. 2020, sections 3 and 5; for 8-bit
floating point Micikevicius et al. 2022).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from models.errors import EngineError
from models.graphs.checkpoint import Array
from models.graphs.graph import Graph, Value
from models.graphs.precision import Kind
from models.graphs.products import PLAIN

FLOAT8: Final[Kind] = helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT8E4M3FN).type
"""Four bits of exponent, three of mantissa, no infinity."""
INT8: Final = "int8"
FP8: Final = "fp8"
EIGHT_BITS: Final[Mapping[str, tuple[Kind, float]]] = MappingProxyType({INT8: (np.int8, 127.0), FP8: (FLOAT8, 448.0)})
"""By precision, the type of numbers and the largest of them."""
_OPSET: Final = 19
"""The first in which steps are of 16 bits, and numbers of 8-bit floating point."""
LEAST_CHANNELS: Final = 16
"""Of both axes of a weight: kernels for 8 bits take so many at once, and of fewer there is nothing to gain."""


def weight_key(weight: Array) -> str:
    """Names a product by its weights, the same in every graph that they are written into."""
    plain = np.ascontiguousarray(weight, dtype=np.float32)
    return hashlib.sha256(f"{plain.shape}".encode() + plain.tobytes()).hexdigest()


def is_quantised(weight: Array) -> bool:
    """Whether a product with these weights is worth it."""
    return min(map(int, weight.shape[-2:])) >= LEAST_CHANNELS


@dataclass
class Watched:
    """Products in single precision that tell what they multiply, for a graph that ranges are measured on."""

    sites: dict[str, list[Value]] = field(default_factory=dict)
    """By `weight_key`, what is multiplied wherever such weights are."""
    widths: dict[Value, int] = field(default_factory=dict)
    """Features of its last axis."""

    def product(self, graph: Graph, x: Value, weight: Array, kind: Kind) -> Value:
        """As `models.graphs.products.Products.product`."""
        if is_quantised(weight):
            self.sites.setdefault(weight_key(weight), []).append(x)
            self.widths[x] = weight.shape[-2]
        return PLAIN.product(graph, x, weight, kind)


class Quantised:
    """Products in 8 bits."""

    def __init__(self, precision: str, ranges: Mapping[str, float]) -> None:
        """Takes what was measured.

        Args:
            precision: one of `EIGHT_BITS`.
            ranges: by `weight_key`, the largest magnitude that what is multiplied keeps; what is larger becomes it.
        """
        self._type, self._largest = EIGHT_BITS[precision]
        self._ranges = ranges
        self._rounded: WeakKeyDictionary[Graph, dict[tuple[Value, float], Value]] = WeakKeyDictionary()

    def product(self, graph: Graph, x: Value, weight: Array, kind: Kind) -> Value:
        """As `models.graphs.products.Products.product`.

        Raises:
            EngineError: nobody has measured what is multiplied with these weights.
        """
        if not is_quantised(weight):
            return PLAIN.product(graph, x, weight, kind)
        try:
            reach = self._ranges[weight_key(weight)]
        except KeyError:
            raise EngineError(
                f"a product with weights {weight.shape} has no range: calibrate with this graph"
            ) from None
        graph.at_least(_OPSET)
        return graph.op("MatMul", self._rounding(graph, x, reach, kind), self._weights(graph, weight, kind))

    def _rounding(self, graph: Graph, x: Value, reach: float, kind: Kind) -> Value:
        """Once for all that read it in the same range."""
        rounded = self._rounded.setdefault(graph, {})
        if (x, reach) not in rounded:
            step = graph.constant(steps(np.array(reach), self._largest, kind))
            zero = graph.constant(np.array(0, dtype=self._type))
            rounded[x, reach] = graph.op("DequantizeLinear", graph.op("QuantizeLinear", x, step, zero), step, zero)
        return rounded[x, reach]

    def _weights(self, graph: Graph, weight: Array, kind: Kind) -> Value:
        numbers, step = quantise_weights(weight, self._type, self._largest, kind)
        zeros = graph.constant(np.zeros(step.shape, dtype=self._type))
        axis = weight.ndim - 1
        return graph.op("DequantizeLinear", graph.constant(numbers), graph.constant(step), zeros, axis=axis)


def quantise_weights(weight: Array, number: Kind, largest: float, kind: Kind) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights in 8 bits, and the step of each output channel.

    Args:
        weight: `[..., from, to]`; members side by side share the steps of their channels.
        number: type of the numbers.
        largest: of them.
        kind: of the steps.

    Returns:
        Numbers like the weights, and steps `[to]`.
    """
    step = steps(np.abs(weight).max(axis=tuple(range(weight.ndim - 1))), largest, kind)
    parts = np.clip(weight / step.astype(np.float32), -largest, largest)
    return (np.rint(parts) if number is np.int8 else parts).astype(number), step


def steps(reach: NDArray[np.floating[Any]], largest: float, kind: Kind) -> NDArray[Any]:
    """What one of 8 bits stands for so that the largest reaches this far; never smaller than the type can tell."""
    least = np.float32(np.finfo(kind).smallest_subnormal if kind is np.float16 else np.finfo(np.float32).tiny)
    wanted = np.maximum(np.asarray(reach, dtype=np.float32) / np.float32(largest), least)
    rounded = wanted.astype(kind)
    short = rounded.astype(np.float32) * np.float32(largest) < reach
    return np.asarray(np.where(short, np.nextafter(rounded, np.array(np.inf, dtype=kind)), rounded), dtype=kind)
