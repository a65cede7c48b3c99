"""What text encoders have in common as ONNX nodes: products, norms, and an attention that sees real tokens only.

Positions and masks come from lengths alone: what stands where there is padding is nobody's business.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.errors import WeightsError
from models.graph import Graph, Value
from models.modalities import SPECIAL_TOKENS

_MASKED: Final = -1e9

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class TextWeights:
    """The tensors of a checkpoint."""

    file: Path
    tensors: Mapping[str, Array]
    """By name, without the name of the encoder that checkpoints of whole tasks put in front."""

    def tensor(self, name: str) -> Array:
        """One tensor, in single precision.

        Raises:
            WeightsError: the checkpoint lacks it.
        """
        try:
            return np.asarray(self.tensors[name], dtype=np.float32)
        except KeyError:
            raise WeightsError(f"{self.file}: tensor {name} is missing") from None


class TextShape(BaseModel):
    """What `config.json` says of an encoder, and how such an encoder is written; only what is written is accepted."""

    model_config = ConfigDict(frozen=True)

    task_prefix: ClassVar[str]
    """Stands in front of the encoder's tensors in checkpoints of whole tasks."""
    layers_prefix: ClassVar[str]
    """Stands in front of the tensors that every token is multiplied with."""

    hidden_size: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=1)

    @model_validator(mode="after")
    def _heads_share_evenly(self) -> TextShape:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"{self.num_attention_heads} heads do not share {self.hidden_size} features evenly")
        return self

    @property
    def head_size(self) -> int:
        """Features a head."""
        return self.hidden_size // self.num_attention_heads

    @property
    @abstractmethod
    def epsilon(self) -> float:
        """What norms add to a variance."""

    @abstractmethod
    def hidden(self, layers: TextLayers) -> list[Value]:
        """Writes the encoder.

        Returns:
            What each hidden layer gives, as transformers has it, the last layer last; each `[batch * time, width]`.

        Raises:
            WeightsError: the checkpoint lacks a tensor.
        """


class TextLayers:
    """Writes the layers of one encoder over one batch of tokens."""

    def __init__(self, graph: Graph, shape: TextShape, weights: TextWeights, tokens: Value, lengths: Value) -> None:
        """Takes where to write, what, and over which tokens.

        Args:
            graph: to add to.
            shape: of the encoder.
            weights: of the encoder.
            tokens: `[batch, time]`, int64.
            lengths: `[batch]`, tokens between the special ones.
        """
        self.graph = graph
        self.weights = weights
        self.batch, self.time = graph.size(tokens, 0), graph.size(tokens, 1)
        self._shape = shape
        self._tokens = tokens
        zero, one = (graph.constant(np.array(number, dtype=np.int64)) for number in (0, 1))
        self.positions = graph.op("Range", zero, graph.op("Squeeze", self.time, graph.constant([0])), one)
        between = graph.reshape(lengths, (-1, 1, 1, 1))
        real = graph.op("Add", between, graph.constant(np.array(SPECIAL_TOKENS, dtype=np.int64)))
        self.there = graph.op("Less", self.positions, real)
        """`[batch, 1, 1, time]`, true on real tokens."""

    def bias(self, seen: Value) -> Value:
        """What is added to an attention's scores: nothing where a token is seen."""
        return self.graph.op("Where", seen, self.graph.constant(0.0), self.graph.constant(_MASKED))

    def looked_up(self, name: str) -> Value:
        """Each token's row of a table, `[batch, time, width]`."""
        return self.graph.op("Gather", self.graph.constant(self.weights.tensor(name)), self._tokens)

    def flat(self, x: Value) -> Value:
        """`[batch, time, width]` to `[batch * time, width]`."""
        return self.graph.reshape(x, (-1, self._shape.hidden_size))

    def linear(self, name: str, x: Value, *, scale: float = 1.0, bias: bool = True) -> Value:
        """`x W + b` of a layer of the checkpoint, all of it times a number."""
        weights = self.weights
        return self.product(
            x, weights.tensor(f"{name}.weight"), weights.tensor(f"{name}.bias") if bias else None, scale
        )

    def product(self, x: Value, weight: Array, bias: Array | None, scale: Array | float = 1.0) -> Value:
        """`x W + b`, W as PyTorch keeps it.

        Args:
            x: `[rows, inputs]`.
            weight: `[outputs, inputs]`.
            bias: `[outputs]`, or None.
            scale: a number, or one an output.
        """
        graph = self.graph
        scaled = (weight.T.astype(np.float64) * scale).astype(np.float32)
        multiplied = graph.op("MatMul", x, graph.constant(scaled))
        if bias is None:
            return multiplied
        return graph.op("Add", multiplied, graph.constant((bias.astype(np.float64) * scale).astype(np.float32)))

    def norm(self, name: str, x: Value, *, bias: bool = True) -> Value:
        """Layer normalisation (Ba et al. 2016)."""
        graph = self.graph
        parts = [self.weights.tensor(f"{name}.{part}") for part in (("weight", "bias") if bias else ("weight",))]
        constants = [graph.constant(part) for part in parts]
        return graph.op("LayerNormalization", x, *constants, axis=-1, epsilon=self._shape.epsilon)

    def gelu(self, x: Value) -> Value:
        """GELU (Hendrycks and Gimpel 2016), exact."""
        graph = self.graph
        bent = graph.op("Erf", graph.op("Div", x, graph.constant(float(np.sqrt(2)))))
        return graph.op("Mul", graph.op("Mul", x, graph.op("Add", bent, graph.constant(1.0))), graph.constant(0.5))

    def by_head(self, x: Value) -> Value:
        """`[batch * time, width]` to `[batch, time, heads, head]`."""
        return self.graph.reshape(x, (self.batch, self.time, self._shape.num_attention_heads, self._shape.head_size))

    def attend(self, query: Value, key: Value, value: Value, bias: Value) -> Value:
        """Each token's mean of the values it attends to.

        Args:
            query: as `by_head` gives it, scaled already.
            key: likewise.
            value: likewise.
            bias: `[batch, 1, 1 or time, time]`, see `bias`.

        Returns:
            `[batch * time, width]`.
        """
        graph = self.graph
        scores = graph.op(
            "MatMul",
            graph.op("Transpose", query, perm=[0, 2, 1, 3]),
            graph.op("Transpose", key, perm=[0, 2, 3, 1]),
        )
        shares = graph.op("Softmax", graph.op("Add", scores, bias), axis=-1)
        attended = graph.op("MatMul", shares, graph.op("Transpose", value, perm=[0, 2, 1, 3]))
        return self.flat(graph.op("Transpose", attended, perm=[0, 2, 1, 3]))
