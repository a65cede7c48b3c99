"""WavLM's attention hears how far frames lie apart, through a gate that what it reads opens (Chen et al. 2022)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.graphs.checkpoint import Array, Weights
from models.graphs.graph import Graph, Value
from models.graphs.layers import places
from models.graphs.precision import Kind, in_kind, number

_TABLE: Final = "encoder.layers.0.attention.rel_attn_embed.weight"
"""All layers read the first one's."""
_GATES: Final = 2


def largest_exact_distance(buckets: int) -> int:
    """From here on, in frames, several distances share a bucket; half of the buckets are for either direction."""
    return buckets // 4


def distance_buckets(buckets: int, furthest: int) -> NDArray[np.int64]:
    """Which bucket each distance belongs to, from so far behind to so far ahead.

    Near ones have a bucket each, farther ones share them by the logarithm; beyond `furthest` nothing changes. In single
    precision, as trained models count: a bucket's edge may lie on a whole number.

    Args:
        buckets: of both directions.
        furthest: frames.

    Returns:
        `[2 * furthest + 1]`.
    """
    a_side, exact = buckets // 2, largest_exact_distance(buckets)
    distances = np.arange(-furthest, furthest + 1)
    size = np.abs(distances)
    ratio = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact)) / np.float32(math.log(furthest / exact))
    shared = (np.float32(exact) + ratio * np.float32(a_side - exact)).astype(np.int64)
    side = np.where(size < exact, size, np.minimum(shared, a_side - 1))
    return np.asarray(side + np.where(distances > 0, a_side, 0), dtype=np.int64)


class GatedBias:
    """What is added to the scores of each layer's attention."""

    def __init__(
        self,
        graph: Graph,
        weights: Weights,
        shape: tuple[Value, Value, int, int],
        mask: Value,
        distances: tuple[int, int],
        kind: Kind = np.float32,
    ) -> None:
        """Writes what all layers share.

        Args:
            graph: to add to.
            weights: of the checkpoint.
            shape: batch, time, heads and features a head.
            mask: added to the scores as it is, `[batch, 1, 1, time]`.
            distances: buckets of them, and the one, in frames, beyond which there is one bucket.
            kind: of the scores, and of what attentions read.

        Raises:
            WeightsError: the checkpoint lacks a tensor.
        """
        self._graph = graph
        self._weights = weights
        self._shape = shape
        self._mask = mask
        self._kind = kind
        buckets, furthest = distances
        by_distance = weights[_TABLE][distance_buckets(buckets, furthest)].T
        own = places(graph, shape[1])
        apart = graph.op("Sub", own, graph.reshape(own, (-1, 1)))
        least, most = (graph.constant(np.array(end, dtype=np.int64)) for end in (-furthest, furthest))
        place = graph.op("Add", graph.op("Min", graph.op("Max", apart, least), most), most)
        self._apart = graph.op("Gather", graph.constant(in_kind(by_distance, kind)), place, axis=1)
        """`[heads, time, time]`, of a frame that looks and one that is looked at."""

    def added(self, name: str, x: Value) -> Value:
        """To the scores of the attention of a name that reads `x`, `[batch * time, width]`.

        Returns:
            `[batch, heads, time, time]`.
        """
        graph = self._graph
        weight, bias = self._gates(f"{name}.gru_rel_pos_linear")
        parted = graph.op("Transpose", graph.reshape(x, self._shape), perm=[0, 2, 1, 3])
        product = graph.op("MatMul", parted, graph.constant(in_kind(weight, self._kind)))
        raw = graph.op("Add", product, graph.constant(in_kind(bias, self._kind)))
        gates = graph.op("Sigmoid", raw)
        first, second = (graph.op("Gather", gates, graph.constant([gate]), axis=-1) for gate in range(_GATES))
        scale = graph.constant(in_kind(self._weights[f"{name}.gru_rel_pos_const"], self._kind))
        one, two = (number(graph, of, self._kind) for of in (1.0, 2.0))
        opened = graph.op("Add", graph.op("Mul", first, graph.op("Sub", graph.op("Mul", second, scale), one)), two)
        return graph.op("Add", graph.op("Mul", opened, self._apart), self._mask)

    def _gates(self, name: str) -> tuple[Array, Array]:
        """Each gate is a sum of several outputs: of their weights here, once for all."""
        weight, bias = (self._weights[f"{name}.{part}"] for part in ("weight", "bias"))
        summed = weight.reshape(_GATES, -1, weight.shape[-1]).sum(axis=1)
        return np.ascontiguousarray(summed.T), bias.reshape(_GATES, -1).sum(axis=1)
