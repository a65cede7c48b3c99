"""A text encoder as ONNX nodes: tokens in, representations of them out, so that one engine call reads words too.

BERT (Devlin et al. 2019) in the layout that the hub's checkpoints have. Its hidden layers are read as
`models.backbones.text.TextEncoder` reads them in PyTorch; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from models.errors import WeightsError
from models.graph import Graph, Value
from models.graph_checkpoint import CONFIG_FILE, Weights, read_description
from models.graph_layers import Layers, key_mask, read_last, there
from models.modalities import SPECIAL_TOKENS


class _Shape(BaseModel):
    """What `config.json` says; only what is written here is accepted."""

    model_config = ConfigDict(frozen=True)

    hidden_size: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=1)
    layer_norm_eps: float = Field(gt=0)
    hidden_act: str = Field(pattern="^gelu$")
    position_embedding_type: str = Field(default="absolute", pattern="^absolute$")
    model_type: str = Field(pattern="^bert$")


@dataclass(frozen=True, slots=True)
class TextGraph:
    """A BERT, read from a checkpoint, that can be written into a graph."""

    shape: _Shape
    weights: Weights
    layers: int
    """Hidden layers that are read, counted from the last."""
    stacked: bool
    """Whether they stand side by side; else they are summed."""

    @property
    def dim(self) -> int:
        """Features a token as it comes out."""
        return self.shape.hidden_size * (self.layers if self.stacked else 1)

    @property
    def weights_a_token(self) -> int:
        """So many weights each token is multiplied with; what is looked up for it is not."""
        return sum(array.size for name, array in self.weights.tensors.items() if name.startswith("encoder."))

    @classmethod
    def read(cls, folder: Path, *, layers: int, stacked: bool = False) -> TextGraph:
        """Reads a checkpoint in the hub's format; neither PyTorch nor transformers is needed.

        Args:
            folder: with `config.json` and `model.safetensors`.
            layers: hidden layers that are read, counted from the last.
            stacked: whether they stand side by side.

        Raises:
            WeightsError: it cannot be read, or is no BERT with as many layers.
        """
        shape = read_description(_Shape, folder / CONFIG_FILE, "only BERT is written")
        if not 1 <= layers <= shape.num_hidden_layers:
            raise WeightsError(f"{folder} has {shape.num_hidden_layers} hidden layers, {layers} are to be read")
        return cls(shape, Weights.read(folder, "bert.", ("embeddings.", "encoder.")), layers, stacked)


def emit_text_encoder(graph: Graph, text: TextGraph, tokens: Value, lengths: Value) -> Value:
    """Writes an encoder.

    Args:
        graph: to add to.
        text: what to write.
        tokens: `[batch, time]`, opened and closed by special tokens, int64, anything where there is padding.
        lengths: `[batch]`, tokens between the special ones; 0 where there is no text.

    Returns:
        `[batch, time - 2, dim]`, without the tokens that open and close.

    Raises:
        WeightsError: the checkpoint lacks a tensor.
    """
    return _Emitter(graph, text, tokens, lengths).features()


class _Emitter:
    def __init__(self, graph: Graph, text: TextGraph, tokens: Value, lengths: Value) -> None:
        self._graph = graph
        self._text = text
        self._tokens = tokens
        self._write = Layers(graph, text.weights, text.shape.layer_norm_eps)
        self._batch, self._time = graph.size(tokens, 0), graph.size(tokens, 1)
        # Between the special tokens there are `length`, so that `length + 2` are real.
        real = graph.op("Add", lengths, graph.constant(np.array(SPECIAL_TOKENS, dtype=np.int64)))
        self._bias = key_mask(graph, there(graph, self._time, real))
        self._heads = text.shape.num_attention_heads
        self._width = text.shape.hidden_size

    def features(self) -> Value:
        graph, text = self._graph, self._text
        hidden = [self._embedded()]
        for layer in range(text.shape.num_hidden_layers):
            hidden.append(self._layer(f"encoder.layer.{layer}", hidden[-1]))
        shape = (self._batch, self._time, self._width)
        shaped = read_last(graph, hidden, text.layers, stacked=text.stacked, shape=shape)
        return graph.op("Slice", shaped, graph.constant([1]), graph.constant([-1]), graph.constant([1]))

    def _embedded(self) -> Value:
        graph, weights = self._graph, self._text.weights
        words = graph.op("Gather", graph.constant(weights["embeddings.word_embeddings.weight"]), self._tokens)
        # Every token is of the first segment: what that adds is added to the positions once.
        kind = weights["embeddings.token_type_embeddings.weight"][0]
        places = graph.constant(weights["embeddings.position_embeddings.weight"] + kind)
        own = graph.op("Slice", places, graph.constant([0]), self._time, graph.constant([0]))
        flat = graph.reshape(graph.op("Add", words, own), (-1, self._width))
        return self._write.norm("embeddings.LayerNorm", flat)

    def _layer(self, name: str, x: Value) -> Value:
        graph, write = self._graph, self._write
        attended = write.attention(
            f"{name}.attention.self",
            x,
            shape=(self._batch, self._time, self._heads, self._width // self._heads),
            added=lambda _name, _x: self._bias,
            parts=("query", "key", "value"),
        )
        projected = write.linear(f"{name}.attention.output.dense", attended)
        x = write.norm(f"{name}.attention.output.LayerNorm", graph.op("Add", x, projected))
        inner = write.gelu(write.linear(f"{name}.intermediate.dense", x))
        return write.norm(f"{name}.output.LayerNorm", graph.op("Add", x, write.linear(f"{name}.output.dense", inner)))
