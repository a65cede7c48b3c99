"""The layers that transformers are written from: linear maps, norms, GELU, attention, and what keeps padding out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.graphs.checkpoint import Array, Weights
from models.graphs.graph import Graph, Value
from models.graphs.precision import MASKED_HALF, Kind, between, in_kind, number
from models.graphs.products import PLAIN, Products

MASKED: Final = -1e9
"""Added to a score it leaves nothing of its share."""


@dataclass(frozen=True, slots=True)
class LayerNames:
    """What a checkpoint calls the parts of a layer."""

    attention: str
    attention_norm: str
    inner: str
    outer: str
    feed_forward_norm: str
    key_bias: bool = True


AttentionBias = Callable[[str, Value], Value | None]
"""From the name of an attention and what it reads, `[batch * time, width]`, to what is added to its scores
`[batch, heads, time, time]`, or to something that broadcasts to them; None where nothing is."""


class Layers:
    """Writes layers that read a checkpoint's weights.

    In half precision products, convolutions and attention are; norms, and the sums that run from layer to layer, stay
    in single precision.
    """

    def __init__(
        self, graph: Graph, weights: Weights, epsilon: float, *, products: Products = PLAIN, kind: Kind = np.float32
    ) -> None:
        """Writes nothing yet.

        Args:
            graph: to add to.
            weights: what layers are named in.
            epsilon: of the norms.
            products: how linear maps are written.
            kind: precision of what is multiplied, see `own` and `single`.
        """
        self._graph = graph
        self._weights = weights
        self._epsilon = epsilon
        self._products = products
        self._kind = kind

    def own(self, x: Value) -> Value:
        """Numbers in single precision as products read them."""
        return between(self._graph, x, np.float32, self._kind)

    def single(self, x: Value) -> Value:
        """What a product gives, in single precision."""
        return between(self._graph, x, self._kind, np.float32)

    def constant(self, array: Array) -> Value:
        """Weights in the precision of products.

        Raises:
            EngineError: one of them is too large for half precision.
        """
        return self._graph.constant(in_kind(array, self._kind))

    def linear(self, name: str, x: Value, *, scale: float = 1.0, bias: bool = True) -> Value:
        """`[rows, from]` to `[rows, to]`, times a scale that is put into the weights."""
        weights = self._weights
        return self.product(x, weights[f"{name}.weight"], weights[f"{name}.bias"] if bias else None, scale)

    def product(self, x: Value, weight: Array, bias: Array | None = None, scale: Array | float = 1.0) -> Value:
        """`[rows, from]` to `[rows, to]`.

        Args:
            x: what is multiplied.
            weight: `[to, from]`, as PyTorch keeps it.
            bias: `[to]`.
            scale: of what comes out, put into the weights: a number, or one for each of `to`.
        """
        graph = self._graph
        scaled = (weight.T.astype(np.float64) * scale).astype(np.float32)
        product = self._products.product(graph, x, scaled, self._kind)
        if bias is None:
            return product
        return graph.op("Add", product, self.constant((bias.astype(np.float64) * scale).astype(np.float32)))

    def norm(self, name: str, x: Value, *, epsilon: float | None = None, bias: bool = True) -> Value:
        """Over the last axis, in single precision."""
        parts = ("weight", "bias") if bias else ("weight",)
        constants = [self._graph.constant(self._weights[f"{name}.{part}"]) for part in parts]
        used = self._epsilon if epsilon is None else epsilon
        return self._graph.op("LayerNormalization", x, *constants, axis=-1, epsilon=used)

    def gelu(self, x: Value, kind: Kind | None = None) -> Value:
        """GELU (Hendrycks and Gimpel 2016), exact; in the precision of products by default."""
        graph = self._graph
        root, one, half = (number(graph, of, kind or self._kind) for of in (float(np.sqrt(2)), 1.0, 0.5))
        bent = graph.op("Erf", graph.op("Div", x, root))
        return graph.op("Mul", graph.op("Mul", x, graph.op("Add", bent, one)), half)

    def convolution(self, name: str, x: Value, *, bias: bool, **attributes: Any) -> Value:
        """`[batch, channels, time]` to the same of other sizes; attributes are those of `Conv`."""
        graph = self._graph
        weight = self._weights[f"{name}.weight"]
        shift = (self.constant(self._weights[f"{name}.bias"]),) if bias else ()
        return graph.op("Conv", x, self.constant(weight), *shift, kernel_shape=[weight.shape[-1]], **attributes)

    def pre_norm(
        self, names: LayerNames, x: Value, *, shape: tuple[Value, Value, int, int], added: AttentionBias
    ) -> Value:
        """A layer that norms what its halves read, not what they give.

        Args:
            names: of its parts.
            x: `[batch * time, width]`.
            shape: batch, time, heads and features a head.
            added: to the attention's scores.

        Returns:
            As `x`.
        """
        graph = self._graph
        normed = self.own(self.norm(names.attention_norm, x))
        attended = self.attention(names.attention, normed, shape=shape, added=added, key_bias=names.key_bias)
        x = graph.op("Add", x, self.single(self.linear(f"{names.attention}.out_proj", attended)))
        inner = self.gelu(self.linear(names.inner, self.own(self.norm(names.feed_forward_norm, x))))
        return graph.op("Add", x, self.single(self.linear(names.outer, inner)))

    def attention(
        self,
        name: str,
        x: Value,
        *,
        shape: tuple[Value, Value, int, int],
        added: AttentionBias,
        parts: tuple[str, str, str] = ("q_proj", "k_proj", "v_proj"),
        key_bias: bool = True,
    ) -> Value:
        """What each frame learns of all others, before it is projected.

        Args:
            name: of the attention.
            x: `[batch * time, width]`.
            shape: batch, time, heads and features a head.
            added: to its scores.
            parts: names of the projections to queries, keys and values.
            key_bias: whether the keys' has one.

        Returns:
            `[batch * time, heads * features a head]`.
        """
        graph = self._graph
        heads, each = shape[2:]
        to_query, to_key, to_value = (f"{name}.{part}" for part in parts)
        # Scores are scaled in the weights of the query.
        query = graph.reshape(self.linear(to_query, x, scale=float(1 / np.sqrt(each))), shape)
        key = graph.reshape(self.linear(to_key, x, bias=key_bias), shape)
        value = graph.reshape(self.linear(to_value, x), shape)
        return self.attend(query, key, value, added(name, x), heads * each)

    def attend(self, query: Value, key: Value, value: Value, bias: Value | None, width: int) -> Value:
        """Each frame's mean of the values it attends to.

        Args:
            query: `[batch, time, heads, features a head]`, scaled already.
            key: likewise.
            value: likewise.
            bias: what is added to scores `[batch, heads, time, time]`, or broadcasts to them.
            width: features of all heads.

        Returns:
            `[batch * time, width]`.
        """
        graph = self._graph
        scores = graph.op(
            "MatMul",
            graph.op("Transpose", query, perm=[0, 2, 1, 3]),
            graph.op("Transpose", key, perm=[0, 2, 3, 1]),
        )
        weights = graph.op("Softmax", scores if bias is None else graph.op("Add", scores, bias), axis=-1)
        attended = graph.op("MatMul", weights, graph.op("Transpose", value, perm=[0, 2, 1, 3]))
        return graph.reshape(graph.op("Transpose", attended, perm=[0, 2, 1, 3]), (-1, width))


def read_last(
    graph: Graph, hidden: Sequence[Value], layers: int, *, stacked: bool, shape: tuple[Value, Value, int]
) -> Value:
    """The last hidden layers as features, as `models.backbones.checkpoint.read_layers` reads them.

    Args:
        graph: to add to.
        hidden: one a layer, `[batch * time, width]` each, the last layer last.
        layers: how many of them, from the last.
        stacked: whether they stand side by side, the earliest first; else they are summed.
        shape: batch, time and width.

    Returns:
        `[batch, time, width]`, or `[batch, time, layers * width]` where they are stacked.
    """
    read = hidden[-layers:]
    if len(read) == 1:
        return graph.reshape(read[0], shape)
    together = graph.op("Concat", *read, axis=-1) if stacked else graph.op("Sum", *read)
    return graph.reshape(together, (*shape[:2], shape[2] * (layers if stacked else 1)))


def there(graph: Graph, time: Value, lengths: Value) -> Value:
    """Which places of a time axis are real, `[batch, time]`, boolean.

    Args:
        graph: to add to.
        time: size of the axis, `[1]`.
        lengths: `[batch]`, how many are real.
    """
    return graph.op("Less", places(graph, time), graph.reshape(lengths, (-1, 1)))


def places(graph: Graph, time: Value) -> Value:
    """0, 1, 2 and so on, as many as a size `[1]` says."""
    zero, one = (graph.constant(np.array(number, dtype=np.int64)) for number in (0, 1))
    return graph.op("Range", zero, graph.op("Squeeze", time, graph.constant([0])), one)


def key_mask(graph: Graph, real: Value, kind: Kind = np.float32) -> Value:
    """What keeps attention away from padding when it is added to scores, `[batch, 1, 1, time]`.

    Args:
        graph: to add to.
        real: `[batch, time]`, boolean.
        kind: of the scores.
    """
    masked = MASKED if kind is np.float32 else MASKED_HALF
    bias = graph.op("Where", real, number(graph, 0.0, kind), number(graph, masked, kind))
    return graph.op("Unsqueeze", bias, graph.constant([1, 2]))
