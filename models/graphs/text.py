"""A text encoder as ONNX nodes: tokens in, representations of them out, so that one engine call reads words too.

Read from a checkpoint in the hub's format, without PyTorch and transformers. Its hidden layers are those that
`models.backbones.text.TextEncoder` reads in PyTorch; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from pydantic import BaseModel

from models.errors import WeightsError
from models.graphs.checkpoint import CONFIG_FILE, Weights, read_description
from models.graphs.graph import Graph, Value
from models.graphs.layers import read_last
from models.graphs.products import PLAIN, Products
from models.graphs.text_bert import BertShape, RobertaShape
from models.graphs.text_layers import TextLayers, TextShape
from models.graphs.text_modernbert import ModernBertShape

ARCHITECTURES: Final[Mapping[str, type[TextShape]]] = MappingProxyType(
    {"bert": BertShape, "roberta": RobertaShape, "modernbert": ModernBertShape}
)
"""What can be written, by `model_type`."""


class _Kind(BaseModel):
    model_type: Literal["bert", "roberta", "modernbert"]


@dataclass(frozen=True, slots=True)
class TextGraph:
    """A text encoder, read from a checkpoint, that can be written into a graph."""

    shape: TextShape
    weights: Weights
    layers: int
    """Hidden layers that are read, counted from the last."""
    stacked: bool
    """Whether they stand side by side; else they are summed."""
    products: Products = PLAIN
    """How linear maps are written."""

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
        kind = read_description(_Kind, folder / CONFIG_FILE, "no other text encoder is written as a graph").model_type
        own = ARCHITECTURES[kind]
        shape = read_description(own, folder / CONFIG_FILE, f"no other {kind} is written as a graph")
        if not 1 <= layers <= shape.num_hidden_layers:
            raise WeightsError(f"{folder} has {shape.num_hidden_layers} hidden layers, {layers} are to be read")
        weights = Weights.read(folder, own.task_prefix, (own.layers_prefix, *own.other_prefixes))
        return cls(shape, weights, layers, stacked)


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
    layers = TextLayers(graph, text.shape, text.weights, tokens, lengths, products=text.products)
    shape = (layers.batch, layers.time, text.shape.hidden_size)
    shaped = read_last(graph, text.shape.hidden(layers), text.layers, stacked=text.stacked, shape=shape)
    return graph.op("Slice", shaped, graph.constant([1]), graph.constant([-1]), graph.constant([1]))
