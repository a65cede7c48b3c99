"""What text encoders have in common as ONNX nodes: tokens looked up, and which of them an attention sees.

Positions and masks come from lengths alone: what stands where there is padding is nobody's business.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.graphs.checkpoint import Weights
from models.graphs.graph import Graph, Value
from models.graphs.layers import MASKED, Layers, key_mask, places, there
from models.graphs.products import PLAIN, Products
from models.modalities import SPECIAL_TOKENS


class TextShape(BaseModel):
    """What `config.json` says of an encoder, and how such an encoder is written; only what is written is accepted."""

    model_config = ConfigDict(frozen=True)

    task_prefix: ClassVar[str]
    """Stands in front of the encoder's tensors in checkpoints of whole tasks."""
    layers_prefix: ClassVar[str]
    """Stands in front of the tensors that every token is multiplied with."""
    other_prefixes: ClassVar[tuple[str, ...]]
    """Stand in front of the other tensors that are read."""

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


class TextLayers(Layers):
    """Writes the layers of one encoder over one batch of tokens."""

    def __init__(
        self,
        graph: Graph,
        shape: TextShape,
        weights: Weights,
        tokens: Value,
        lengths: Value,
        *,
        products: Products = PLAIN,
    ) -> None:
        """Takes where to write, what, and over which tokens.

        Args:
            graph: to add to.
            shape: of the encoder.
            weights: of the encoder.
            tokens: `[batch, time]`, int64.
            lengths: `[batch]`, tokens between the special ones.
            products: as for `Layers`.
        """
        super().__init__(graph, weights, shape.epsilon, products=products)
        self.graph = graph
        self.weights = weights
        self.batch, self.time = graph.size(tokens, 0), graph.size(tokens, 1)
        self.by_head = (self.batch, self.time, shape.num_attention_heads, shape.head_size)
        """Shape of queries, keys and values: `[batch, time, heads, features a head]`."""
        self._width = shape.hidden_size
        self._tokens = tokens
        self._real = graph.op("Add", lengths, graph.constant(np.array(SPECIAL_TOKENS, dtype=np.int64)))

    def positions(self) -> Value:
        """0, 1, 2 and so on, `[time]`."""
        return places(self.graph, self.time)

    def among_all(self) -> Value:
        """Added to an attention's scores it leaves real tokens alone, `[batch, 1, 1, time]`."""
        return key_mask(self.graph, there(self.graph, self.time, self._real))

    def among_near(self, reach: int) -> Value:
        """As `among_all`, for tokens that see so many on either side, `[batch, 1, time, time]`."""
        graph = self.graph
        positions = graph.cast(self.positions(), np.float32)
        apart = graph.op("Abs", graph.op("Sub", graph.reshape(positions, (-1, 1)), positions))
        far = graph.op("Greater", apart, graph.constant(float(reach)))
        return graph.op("Where", far, graph.constant(MASKED), self.among_all())

    def looked_up(self, name: str) -> Value:
        """Each token's row of a table, `[batch, time, width]`."""
        return self.graph.op("Gather", self.graph.constant(self.weights[name]), self._tokens)

    def flat(self, x: Value) -> Value:
        """`[batch, time, width]` to `[batch * time, width]`."""
        return self.graph.reshape(x, (-1, self._width))
