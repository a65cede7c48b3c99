"""How a product with constant weights is written: as it is, in integers, or between steps of quantisation.

What a layer multiplies is told here once, so that layers need not know in what arithmetic they are computed.
"""

from __future__ import annotations

from typing import Final, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from models.graphs.checkpoint import Array
from models.graphs.graph import Graph, Value
from models.graphs.int8 import QuantisedRows, product_int8, quantise_rows
from models.graphs.precision import Kind, in_kind


class Products(Protocol):
    """Writes products with constant weights."""

    def product(self, graph: Graph, x: Value, weight: Array, kind: Kind) -> Value:
        """Writes one.

        Args:
            graph: to add to.
            x: `[rows, from]`, or with further axes in front that the weight's broadcast with.
            weight: `[from, to]`, single precision, likewise.
            kind: of x and of what comes out.

        Raises:
            EngineError: a weight does not fit into the precision.
        """
        ...


class _Plain:
    def product(self, graph: Graph, x: Value, weight: Array, kind: Kind) -> Value:
        return graph.op("MatMul", x, graph.constant(in_kind(weight, kind)))


PLAIN: Final[Products] = _Plain()
"""In the precision of what is multiplied."""


class RowIntegers:
    """In integers, rows scaled each by itself, see `models.graphs.int8`; for ONNX Runtime on a CPU."""

    def __init__(self) -> None:
        self._rows: WeakKeyDictionary[Graph, dict[Value, QuantisedRows]] = WeakKeyDictionary()

    def product(self, graph: Graph, x: Value, weight: Array, kind: Kind) -> Value:
        """As `Products.product`, of two axes and in single precision alone."""
        del kind
        # Once for all that read it, as queries, keys and values do.
        rows = self._rows.setdefault(graph, {})
        if x not in rows:
            rows[x] = quantise_rows(graph, x)
        return product_int8(graph, rows[x], weight.astype(np.float32, copy=False))
