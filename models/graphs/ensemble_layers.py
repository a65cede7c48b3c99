"""The layers of DeepSER as nodes of an ONNX graph, for all members of one shape at once.

A stack of one member has no member axis: its products are those of plain matrices.

Numbers are of single precision or of 16 bits (`Kind`). In 16 bits products and sums are; what a sum of squares, a
mean's count or an exponential needs is not: shares of a mean and the variances of a pooling are computed in single
precision, and engines do the same within a softmax and a layer normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.deepser import LEAST_VARIANCE, MASKED
from models.fused_weights import Array, Attention, Encoder, Layer, Linear, Norm, Pooling
from models.graphs.graph import Graph, Value
from models.graphs.precision import MASKED_HALF, Kind, in_kind
from models.graphs.products import PLAIN, Products

_NORM_EPSILON: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Times:
    """The time axis of one modality, or of several one behind the other."""

    batch: Value
    """`[1]`."""
    time: Value
    """`[1]`."""
    bias: Value
    """`[batch, 1, time]`, 0 on real frames and `MASKED` on padding."""
    share: Value
    """`[batch, 1, time]`, what each real frame is of a mean."""
    heard: Value
    """`[batch, 1]`, 1 where there is a real frame."""


@dataclass(frozen=True, slots=True)
class States:
    """What encoders return."""

    h1: Value
    """`[members, batch, time, width]`; as everywhere, without its first axis where there is one member."""
    h2: Value
    h3: Value
    """`[members, batch, width]`."""


def emit_times(graph: Graph, batch: Value, time: Value, mask: Value, kind: Kind = np.float32) -> Times:
    """What layers need of a mask, computed once.

    Args:
        graph: to add to.
        batch: `[1]`.
        time: `[1]`.
        mask: `[batch, 1, time]`, true on real frames.
        kind: of the layers; counts are taken in single precision.
    """
    real = graph.op("Cast", mask, to=1)
    count = graph.op("ReduceSum", real, graph.constant([2]), keepdims=1)
    share = graph.op("Div", real, graph.op("Max", count, graph.constant(1.0)))
    masked = MASKED if kind is np.float32 else MASKED_HALF
    bias = graph.op("Where", mask, *(graph.constant(np.array(number, dtype=kind)) for number in (0.0, masked)))
    heard = graph.op("Min", graph.op("Squeeze", count, graph.constant([2])), graph.constant(1.0))
    if kind is not np.float32:
        share, heard = graph.cast(share, kind), graph.cast(heard, kind)
    return Times(batch, time, bias, share, heard)


class StackEmitter:
    """Writes members of one shape."""

    def __init__(self, graph: Graph, members: int, kind: Kind = np.float32, products: Products = PLAIN) -> None:
        """Takes how many members there are side by side, their precision, and how their products are written."""
        self._graph = graph
        self._kind = kind
        self._products = products
        self._lead: tuple[int, ...] = () if members == 1 else (members,)

    def encoder(self, encoder: Encoder, x: Value, times: Times) -> States:
        """Algorithm 1.

        Args:
            encoder: its weights.
            x: `[batch * time, dim]` where all read the same, else `[members, batch * time, dim]`.
            times: of x.
        """
        graph = self._graph
        width = encoder.second_projection.weight.shape[-1]
        x = self.linear(encoder.second_projection, graph.op("Relu", self.linear(encoder.first_projection, x)))
        for layer in encoder.first:
            x = self._layer(layer, x, times)
        h1 = self._by_example(x, times, width)
        for layer in encoder.second:
            x = self._layer(layer, x, times)
        h2 = self._by_example(x, times, width)
        if encoder.pooling is not None:
            return States(h1, h2, self._attentive(encoder.pooling, x, h2, times))
        mean = graph.op("MatMul", times.share, h2)
        return States(h1, h2, graph.reshape(mean, (*self._lead, -1, width)))

    def linear(self, linear: Linear, x: Value) -> Value:
        """`x W + b` of every member."""
        return self._add(self._product(x, linear.weight if self._lead else linear.weight[0]), linear.bias)

    def _product(self, x: Value, weight: Array) -> Value:
        return self._products.product(self._graph, x, weight, self._kind)

    def _constant(self, array: Array) -> Value:
        return self._graph.constant(in_kind(array, self._kind))

    def _add(self, x: Value, bias: Array) -> Value:
        return self._graph.op("Add", x, self._constant(bias if self._lead else bias.reshape(-1)))

    def _by_example(self, x: Value, times: Times, width: int) -> Value:
        """`[members, batch * time, width]` to `[members, batch, time, width]`."""
        return self._graph.reshape(x, (*self._lead, times.batch, times.time, width))

    def _layer(self, layer: Layer, x: Value, times: Times) -> Value:
        graph = self._graph
        x = self._norm(layer.attention_norm, graph.op("Add", x, self._attention(layer.attention, x, times)))
        expanded = graph.op("Relu", self.linear(layer.expand, x))
        return self._norm(layer.output_norm, graph.op("Add", x, self.linear(layer.contract, expanded)))

    def _norm(self, norm: Norm, x: Value) -> Value:
        graph = self._graph
        width = norm.weight.shape[-1]
        if not self._lead:
            weight, bias = (self._constant(array.reshape(-1)) for array in (norm.weight, norm.bias))
            return graph.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=_NORM_EPSILON)
        ones = graph.constant(np.ones(width, dtype=self._kind))
        normal = graph.op("LayerNormalization", x, ones, axis=-1, epsilon=_NORM_EPSILON)
        return self._add(graph.op("Mul", normal, self._constant(norm.weight)), norm.bias)

    def _attention(self, attention: Attention, x: Value, times: Times) -> Value:
        """Self-attention, heads as one more axis where there are several."""
        graph = self._graph
        several = attention.heads > 1
        lead = (*self._lead, attention.heads) if several else self._lead
        alone = (*self._lead, 1) if several else self._lead
        width = attention.value.shape[2]
        own = graph.reshape(x, (*alone, -1, width)) if several else x

        def of_heads(array: Array) -> Array:
            """A weight `[members, heads, a, b]` without the axes that are not there."""
            return array.reshape(*lead, *array.shape[-2:])

        def by_example(y: Value, axes: Sequence[int], features: int) -> Value:
            return graph.reshape(y, (*axes, times.batch, times.time, features))

        query = self._product(own, of_heads(attention.query))
        query = graph.op("Add", query, self._constant(of_heads(attention.query_bias)))
        query = by_example(query, lead, attention.query.shape[-1])
        if attention.key is None:
            key = by_example(x, alone, width)
        else:
            key = by_example(self._product(own, of_heads(attention.key)), lead, attention.key.shape[-1])
        axes = list(range(len(lead) + 3))
        turned = graph.op("Transpose", key, perm=[*axes[:-2], axes[-1], axes[-2]])
        scores = graph.op("Add", graph.op("MatMul", query, turned), times.bias)
        value = by_example(self._product(own, of_heads(attention.value)), lead, attention.value.shape[-1])
        attended = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), value)
        attended = graph.reshape(attended, (*lead, -1, attention.value.shape[-1]))
        if attention.out is not None:
            attended = self._product(attended, of_heads(attention.out))
        if several:
            attended = graph.op("ReduceSum", attended, graph.constant([len(lead) - 1]), keepdims=0)
        return self._add(attended, attention.out_bias)

    def _attentive(self, pooling: Pooling, x: Value, h2: Value, times: Times) -> Value:
        graph = self._graph
        scores = self.linear(pooling.score, graph.op("Tanh", self.linear(pooling.hidden, x)))
        scores = graph.reshape(scores, (*self._lead, times.batch, 1, times.time))
        weights = graph.op("Softmax", graph.op("Add", scores, times.bias), axis=-1)
        if self._kind is not np.float32:
            weights, h2 = graph.cast(weights, np.float32), graph.cast(h2, np.float32)
        mean = graph.op("MatMul", weights, h2)
        away = graph.op("Sub", h2, mean)
        variance = graph.op("MatMul", weights, graph.op("Mul", away, away))
        deviation = graph.op("Sqrt", graph.op("Max", variance, graph.constant(LEAST_VARIANCE)))
        both = graph.op("Concat", mean, deviation, axis=-1)
        if self._kind is not np.float32:
            both = graph.cast(both, self._kind)
        flat = graph.reshape(both, (*self._lead, -1, pooling.merge.weight.shape[1]))
        return graph.op("Mul", self.linear(pooling.merge, flat), times.heard)
