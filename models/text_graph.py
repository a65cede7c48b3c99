"""A text encoder as ONNX nodes: tokens in, representations of them out, so that one engine call reads words too.

Read from a checkpoint in the hub's format, without PyTorch and transformers. Its hidden layers are those that
`models.backbones.text.TextEncoder` reads in PyTorch; a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from models.errors import WeightsError
from models.graph import Graph, Value
from models.text_graph_bert import BertShape, RobertaShape
from models.text_graph_layers import TextLayers, TextShape, TextWeights
from models.text_graph_modernbert import ModernBertShape

ARCHITECTURES: Final[Mapping[str, type[TextShape]]] = MappingProxyType(
    {"bert": BertShape, "roberta": RobertaShape, "modernbert": ModernBertShape}
)
"""What can be written, by `model_type`."""

_CONFIG_FILE: Final = "config.json"
_WEIGHTS_FILE: Final = "model.safetensors"


@dataclass(frozen=True, slots=True)
class TextGraph:
    """A text encoder, read from a checkpoint, that can be written into a graph."""

    shape: TextShape
    weights: TextWeights
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
        tensors = self.weights.tensors
        return sum(array.size for name, array in tensors.items() if name.startswith(self.shape.layers_prefix))

    @classmethod
    def read(cls, folder: Path, *, layers: int, stacked: bool = False) -> TextGraph:
        """Reads a checkpoint in the hub's format; neither PyTorch nor transformers is needed.

        Args:
            folder: with `config.json` and `model.safetensors`.
            layers: hidden layers that are read, counted from the last.
            stacked: whether they stand side by side.

        Raises:
            WeightsError: it cannot be read, is of an architecture or has a setting that is not written, or has fewer
                layers.
        """
        try:
            shape = _shape(folder / _CONFIG_FILE)
            tensors = load_file(folder / _WEIGHTS_FILE)
        except (OSError, ValueError, TypeError, AttributeError, SafetensorError) as error:
            # A type that NumPy has not is one of the two in the middle.
            raise WeightsError(f"no text encoder in {folder}: {error}") from error
        if not 1 <= layers <= shape.num_hidden_layers:
            raise WeightsError(f"{folder} has {shape.num_hidden_layers} hidden layers, {layers} are to be read")
        own = {name.removeprefix(shape.task_prefix): array for name, array in tensors.items()}
        return cls(shape, TextWeights(folder / _WEIGHTS_FILE, own), layers, stacked)


def emit_text_encoder(graph: Graph, text: TextGraph, tokens: Value, lengths: Value) -> Value:
    """Writes an encoder.

    Args:
        graph: to add to.
        text: what to write.
        tokens: `[batch, time]`, opened and closed by special tokens, int64, any token where there is padding.
        lengths: `[batch]`, tokens between the special ones; 0 where there is no text.

    Returns:
        `[batch, time - 2, dim]`, without the tokens that open and close.

    Raises:
        WeightsError: the checkpoint lacks a tensor.
    """
    layers = TextLayers(graph, text.shape, text.weights, tokens, lengths)
    read = text.shape.hidden(layers)[-text.layers :]
    if text.stacked:
        together = graph.op("Concat", *read, axis=-1) if len(read) > 1 else read[0]
    else:
        together = graph.op("Sum", *read) if len(read) > 1 else read[0]
    shaped = graph.reshape(together, (layers.batch, layers.time, text.dim))
    return graph.op("Slice", shaped, graph.constant([1]), graph.constant([-1]), graph.constant([1]))


def _shape(path: Path) -> TextShape:
    config = json.loads(path.read_text(encoding="utf-8"))
    kind = str(config.get("model_type")) if isinstance(config, dict) else "none"
    if kind not in ARCHITECTURES:
        raise WeightsError(f"{path}: model_type {kind} is not written as a graph, only {', '.join(ARCHITECTURES)}")
    try:
        return ARCHITECTURES[kind].model_validate(config)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        found = f", got {fault['input']!r}" if where and fault["type"] != "missing" else ""
        raise WeightsError(
            f"{path}: {where + ': ' if where else ''}{fault['msg']}{found}; no other {kind} is written as a graph"
        ) from error
