"""ModernBERT (Warner et al. 2024) as ONNX nodes: positions are rotations, and most layers see a window of the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.graphs.graph import Value
from models.graphs.text_layers import TextLayers, TextShape

LayerType = Literal["full_attention", "sliding_attention"]

_FULL: Final = "full_attention"
_SLIDING: Final = "sliding_attention"


class _Rotation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    rope_type: Literal["default"] = "default"
    rope_theta: float | None = Field(default=None, gt=0)


class ModernBertShape(TextShape):
    """ModernBERT, in the layout that the hub's checkpoints have."""

    task_prefix: ClassVar[str] = "model."
    layers_prefix: ClassVar[str] = "layers."
    other_prefixes: ClassVar[tuple[str, ...]] = ("embeddings.", "final_norm.")

    norm_eps: float = Field(default=1e-5, gt=0)
    norm_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    hidden_activation: Literal["gelu"] = "gelu"
    local_attention: int = Field(default=128, ge=1)
    """Tokens of a window, half of them on either side."""
    layer_types: tuple[LayerType, ...] | None = None
    global_attn_every_n_layers: int = Field(default=3, ge=1)
    """What older files say instead of `layer_types`."""
    rope_parameters: Mapping[LayerType, _Rotation | None] | None = None
    rope_scaling: None = None
    global_rope_theta: float = Field(default=160_000.0, gt=0)
    """What older files say instead of `rope_parameters`."""
    local_rope_theta: float = Field(default=10_000.0, gt=0)
    tie_last_hidden_states: Literal[True] = True
    """Whether the last hidden state is the one behind the final norm."""

    @model_validator(mode="after")
    def _hangs_together(self) -> ModernBertShape:
        if self.head_size % 2:
            raise ValueError(f"heads of {self.head_size} features cannot be rotated, two by two")
        if self.layer_types is not None and len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(f"there are {self.num_hidden_layers} layers and {len(self.layer_types)} layer types")
        return self

    @property
    def epsilon(self) -> float:
        """What norms add to a variance."""
        return self.norm_eps

    @property
    def kinds(self) -> tuple[LayerType, ...]:
        """What each layer sees."""
        if self.layer_types is not None:
            return self.layer_types
        return tuple(
            _SLIDING if layer % self.global_attn_every_n_layers else _FULL for layer in range(self.num_hidden_layers)
        )

    def theta(self, kind: LayerType) -> float:
        """Base of the rotations in layers of a kind."""
        stated = (self.rope_parameters or {}).get(kind)
        if stated is not None and stated.rope_theta is not None:
            return stated.rope_theta
        return self.global_rope_theta if kind == _FULL else self.local_rope_theta

    def hidden(self, layers: TextLayers) -> list[Value]:
        """As `TextShape.hidden`; layers add to what they read, and only the last one's sum is normalised."""
        where = _Where.write(layers, self)
        embedded = layers.flat(layers.looked_up("embeddings.tok_embeddings.weight"))
        x = layers.norm("embeddings.norm", embedded, bias=self.norm_bias)
        hidden = []
        for layer, kind in enumerate(self.kinds):
            x = self._layer(layers, layer, x, where[kind])
            hidden.append(x)
        return [*hidden[:-1], layers.norm("final_norm", x, bias=self.norm_bias)]

    def _layer(self, layers: TextLayers, layer: int, x: Value, where: _Where) -> Value:
        graph, name = layers.graph, f"layers.{layer}"
        # What the first layer reads comes from a norm.
        own = layers.norm(f"{name}.attn_norm", x, bias=self.norm_bias) if layer else x
        x = graph.op("Add", x, self._attention(layers, f"{name}.attn", own, where))
        own = layers.norm(f"{name}.mlp_norm", x, bias=self.norm_bias)
        return graph.op("Add", x, self._feed_forward(layers, f"{name}.mlp", own))

    def _attention(self, layers: TextLayers, name: str, x: Value, where: _Where) -> Value:
        graph, width = layers.graph, self.hidden_size
        weight = layers.weights[f"{name}.Wqkv.weight"]
        bias = layers.weights[f"{name}.Wqkv.bias"] if self.attention_bias else np.zeros(0, dtype=np.float32)
        both, rest = slice(2 * width), slice(2 * width, None)
        # Scores are scaled in the weights of the query.
        scale = np.repeat([1 / np.sqrt(self.head_size), 1.0], width)
        turned = where.turned(layers.product(x, weight[both], bias[both] if bias.size else None, scale))
        query, key = (
            graph.op("Gather", turned, graph.constant(np.array(part, dtype=np.int64)), axis=2) for part in (0, 1)
        )
        value = graph.reshape(layers.product(x, weight[rest], bias[rest] if bias.size else None), layers.by_head)
        attended = layers.attend(query, key, value, where.among, width)
        return layers.linear(f"{name}.Wo", attended, bias=self.attention_bias)

    def _feed_forward(self, layers: TextLayers, name: str, x: Value) -> Value:
        """GeGLU (Shazeer 2020)."""
        weights = np.split(layers.weights[f"{name}.Wi.weight"], 2)
        biases = np.split(layers.weights[f"{name}.Wi.bias"], 2) if self.mlp_bias else (None, None)
        inner, gate = (layers.product(x, weight, bias) for weight, bias in zip(weights, biases, strict=True))
        gated = layers.graph.op("Mul", layers.gelu(inner), gate)
        return layers.linear(f"{name}.Wo", gated, bias=self.mlp_bias)


@dataclass(frozen=True, slots=True)
class _Where:
    """What layers of a kind make of positions, written once for all of them."""

    layers: TextLayers
    shape: ModernBertShape
    among: Value
    """What is added to scores."""
    cosine: Value
    """`[time, 1, 1, head / 2]`."""
    sine: Value
    """`[time, 1, 2, head / 2]`, the first half negative."""

    @classmethod
    def write(cls, layers: TextLayers, shape: ModernBertShape) -> dict[LayerType, _Where]:
        """One for each kind of layer there is."""
        graph = layers.graph
        positions = graph.reshape(graph.cast(layers.positions(), np.float32), (-1, 1, 1, 1))
        found: dict[LayerType, _Where] = {}
        for kind in dict.fromkeys(shape.kinds):
            among = layers.among_all() if kind == _FULL else layers.among_near(shape.local_attention // 2)
            steps = shape.theta(kind) ** -(np.arange(0, shape.head_size, 2) / shape.head_size)
            angles = graph.op("Mul", positions, graph.constant(steps.astype(np.float32)))
            sine = graph.op("Sin", angles)
            both = graph.op("Concat", graph.op("Neg", sine), sine, axis=2)
            found[kind] = cls(layers, shape, among, graph.op("Cos", angles), both)
        return found

    def turned(self, x: Value) -> Value:
        """Queries and keys, each feature rotated with the one half a head away (Su et al. 2021).

        Args:
            x: `[batch * time, 2 * width]`.

        Returns:
            `[batch, time, 2, heads, head]`.
        """
        graph = self.layers.graph
        batch, time, heads, head = self.layers.by_head
        halves = graph.reshape(x, (batch, time, 2 * heads, 2, head // 2))
        swapped = graph.op("Gather", halves, graph.constant([1, 0]), axis=3)
        turned = graph.op("Add", graph.op("Mul", halves, self.cosine), graph.op("Mul", swapped, self.sine))
        return graph.reshape(turned, (batch, time, 2, heads, head))
