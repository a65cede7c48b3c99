"""A text encoder as ONNX nodes: tokens in, representations of them out, so that one engine call reads words too.

BERT (Devlin et al. 2019) in the layout that the hub's checkpoints have. Its hidden layers are read as
`models.backbones.text.TextEncoder` reads them in PyTorch; a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from models.errors import WeightsError
from models.graph import Graph, Value

_MASKED: Final = -1e9
_CONFIG_FILE: Final = "config.json"
_WEIGHTS_FILE: Final = "model.safetensors"

Array = NDArray[np.floating[Any]]


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

    folder: Path
    shape: _Shape
    tensors: Mapping[str, Array]
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
        return sum(array.size for name, array in self.tensors.items() if name.startswith("encoder."))

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
        try:
            shape = _Shape.model_validate(json.loads((folder / _CONFIG_FILE).read_text(encoding="utf-8")))
            tensors = load_file(folder / _WEIGHTS_FILE)
        except ValidationError as error:
            fault = error.errors()[0]
            raise WeightsError(
                f"{folder / _CONFIG_FILE}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}; only BERT is written"
            ) from error
        except (OSError, ValueError, SafetensorError) as error:
            raise WeightsError(f"no text encoder in {folder}: {error}") from error
        if not 1 <= layers <= shape.num_hidden_layers:
            raise WeightsError(f"{folder} has {shape.num_hidden_layers} hidden layers, {layers} are to be read")
        # Checkpoints of whole tasks name the encoder in front of each of its tensors.
        own = {name.removeprefix("bert."): array for name, array in tensors.items()}
        return cls(folder, shape, own, layers, stacked)

    def tensor(self, name: str) -> Array:
        """One tensor.

        Raises:
            WeightsError: the checkpoint lacks it.
        """
        try:
            return np.asarray(self.tensors[name], dtype=np.float32)
        except KeyError:
            raise WeightsError(f"{self.folder / _WEIGHTS_FILE}: tensor {name} is missing") from None


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
        self._batch, self._time = graph.size(tokens, 0), graph.size(tokens, 1)
        zero, one = (graph.constant(np.array(number, dtype=np.int64)) for number in (0, 1))
        positions = graph.op("Range", zero, graph.op("Squeeze", self._time, graph.constant([0])), one)
        # Between the special tokens there are `length`, so that `length + 2` are real.
        real = graph.op("Add", graph.reshape(lengths, (-1, 1, 1, 1)), graph.constant(np.array(2, dtype=np.int64)))
        there = graph.op("Less", positions, real)
        self._bias = graph.op("Where", there, graph.constant(0.0), graph.constant(_MASKED))
        self._heads = text.shape.num_attention_heads
        self._width = text.shape.hidden_size

    def features(self) -> Value:
        graph, text = self._graph, self._text
        hidden = [self._embedded()]
        for layer in range(text.shape.num_hidden_layers):
            hidden.append(self._layer(f"encoder.layer.{layer}", hidden[-1]))
        read = hidden[-text.layers :]
        if text.stacked:
            together = graph.op("Concat", *read, axis=-1) if len(read) > 1 else read[0]
        else:
            together = graph.op("Sum", *read) if len(read) > 1 else read[0]
        shaped = graph.reshape(together, (self._batch, self._time, text.dim))
        return graph.op("Slice", shaped, graph.constant([1]), graph.constant([-1]), graph.constant([1]))

    def _embedded(self) -> Value:
        graph, text = self._graph, self._text
        words = graph.op("Gather", graph.constant(text.tensor("embeddings.word_embeddings.weight")), self._tokens)
        # Every token is of the first segment: what that adds is added to the positions once.
        kind = text.tensor("embeddings.token_type_embeddings.weight")[0]
        places = graph.constant(text.tensor("embeddings.position_embeddings.weight") + kind)
        own = graph.op("Slice", places, graph.constant([0]), self._time, graph.constant([0]))
        flat = graph.reshape(graph.op("Add", words, own), (-1, self._width))
        return self._norm("embeddings.LayerNorm", flat)

    def _layer(self, name: str, x: Value) -> Value:
        graph = self._graph
        attended = self._linear(f"{name}.attention.output.dense", self._attention(f"{name}.attention.self", x))
        x = self._norm(f"{name}.attention.output.LayerNorm", graph.op("Add", x, attended))
        inner = self._linear(f"{name}.intermediate.dense", x)
        # GELU (Hendrycks and Gimpel 2016), exact.
        bent = graph.op("Erf", graph.op("Div", inner, graph.constant(float(np.sqrt(2)))))
        half = graph.op("Mul", graph.op("Mul", inner, graph.op("Add", bent, graph.constant(1.0))), graph.constant(0.5))
        return self._norm(f"{name}.output.LayerNorm", graph.op("Add", x, self._linear(f"{name}.output.dense", half)))

    def _attention(self, name: str, x: Value) -> Value:
        graph = self._graph
        each = self._width // self._heads
        shape = (self._batch, self._time, self._heads, each)
        # Scores are scaled in the weights of the query.
        query, key, value = (
            graph.reshape(self._linear(f"{name}.{part}", x, scale), shape)
            for part, scale in (("query", 1 / np.sqrt(each)), ("key", 1.0), ("value", 1.0))
        )
        scores = graph.op(
            "MatMul",
            graph.op("Transpose", query, perm=[0, 2, 1, 3]),
            graph.op("Transpose", key, perm=[0, 2, 3, 1]),
        )
        weights = graph.op("Softmax", graph.op("Add", scores, self._bias), axis=-1)
        attended = graph.op("MatMul", weights, graph.op("Transpose", value, perm=[0, 2, 1, 3]))
        return graph.reshape(graph.op("Transpose", attended, perm=[0, 2, 1, 3]), (-1, self._width))

    def _linear(self, name: str, x: Value, scale: float = 1.0) -> Value:
        graph, text = self._graph, self._text
        weight = (text.tensor(f"{name}.weight").T.astype(np.float64) * scale).astype(np.float32)
        bias = (text.tensor(f"{name}.bias").astype(np.float64) * scale).astype(np.float32)
        return graph.op("Add", graph.op("MatMul", x, graph.constant(weight)), graph.constant(bias))

    def _norm(self, name: str, x: Value) -> Value:
        graph, text = self._graph, self._text
        weight, bias = (graph.constant(text.tensor(f"{name}.{part}")) for part in ("weight", "bias"))
        return graph.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=text.shape.layer_norm_eps)
