"""Whisper's encoder as ONNX nodes: a log-mel spectrogram in, representations of it out, in whatever window it comes.

Radford et al. 2022. Read as `models.backbones.speech_whisper.WhisperReader` reads it in PyTorch, without the 30 s of
padding that the model was made for; a test holds the two together. A frame attends to all of its window, silence
included, so that clips in one batch must come in one window: `models.windows` says in which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.errors import WeightsError
from models.graphs.checkpoint import CONFIG_FILE, Weights, read_description
from models.graphs.graph import Graph, Value
from models.graphs.layers import LayerNames, Layers, read_last
from models.graphs.precision import Kind
from models.graphs.products import PLAIN, Products
from models.windows import ENCODER_HOP_SAMPLES

_EPSILON: Final = 1e-5


class WhisperShape(BaseModel):
    """What `config.json` says; only what is written here is accepted."""

    model_config = ConfigDict(frozen=True)

    model_type: Literal["whisper"]
    activation_function: Literal["gelu"] = "gelu"
    d_model: int = Field(ge=1)
    encoder_attention_heads: int = Field(ge=1)
    encoder_layers: int = Field(ge=1)
    max_source_positions: int = Field(default=1500, ge=1)
    num_mel_bins: int = Field(default=80, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.d_model % self.encoder_attention_heads:
            raise ValueError(f"d_model {self.d_model} does not part into {self.encoder_attention_heads} heads")
        return self


@dataclass(frozen=True, slots=True)
class WhisperGraph:
    """Whisper's encoder, read from a checkpoint, that can be written into a graph."""

    shape: WhisperShape
    weights: Weights
    layers: int
    """Hidden layers that are read, counted from the last."""
    stacked: bool
    """Whether they stand side by side; else they are summed."""
    products: Products = PLAIN
    """How linear maps are written."""
    kind: Kind = np.float32
    """Precision of products and attention in its layers."""
    front_kind: Kind = np.float32
    """Precision of its convolutions."""

    @property
    def dim(self) -> int:
        """Features a frame as it comes out."""
        return self.shape.d_model * (self.layers if self.stacked else 1)

    @property
    def mel_bands(self) -> int:
        """Of the spectrogram that it reads."""
        return self.shape.num_mel_bins

    @property
    def longest_frames(self) -> int:
        """Of a window as they come out, 20 ms each: it knows no more places."""
        return self.shape.max_source_positions

    @property
    def weights_a_frame(self) -> int:
        """So many weights each frame of its window is multiplied with."""
        tensors = self.weights.tensors
        # The first convolution runs twice for every frame that comes out.
        twice = sum(array.size for name, array in tensors.items() if name.startswith("encoder.conv1."))
        looked_up = sum(array.size for name, array in tensors.items() if name.startswith("encoder.embed_positions."))
        return sum(array.size for array in tensors.values()) + twice - looked_up

    @classmethod
    def read(cls, folder: Path, *, layers: int = 1, stacked: bool = False) -> WhisperGraph:
        """Reads a checkpoint in the hub's format, but not its decoder; neither PyTorch nor transformers is needed.

        Args:
            folder: with `config.json` and `model.safetensors`.
            layers: hidden layers that are read, counted from the last.
            stacked: whether they stand side by side.

        Raises:
            WeightsError: it cannot be read, or is no Whisper with as many layers.
        """
        shape = whisper_shape(folder, layers)
        return cls(shape, Weights.read(folder, "model.", ("encoder.",)), layers, stacked)


def whisper_shape(folder: Path, layers: int) -> WhisperShape:
    """What a checkpoint says of itself, its weights unread.

    Args:
        folder: with `config.json`.
        layers: hidden layers that are to be read.

    Raises:
        WeightsError: as `WhisperGraph.read`.
    """
    shape = read_description(WhisperShape, folder / CONFIG_FILE, "only Whisper is written")
    if not 1 <= layers <= shape.encoder_layers:
        raise WeightsError(f"{folder} has {shape.encoder_layers} hidden layers, {layers} are to be read")
    return shape


@dataclass(frozen=True, slots=True)
class HiddenLayers:
    """Layers of an encoder in a graph."""

    values: Sequence[Value]
    """One a layer, `[batch * frames, width]` each; the encoder's last one normed, as a decoder reads it."""
    shape: tuple[Value, Value, int]
    """Batch, frames and width."""


def emit_whisper_layers(graph: Graph, whisper: WhisperGraph, mel: Value, *, count: int | None = None) -> HiddenLayers:
    """Writes an encoder with each of its layers at hand.

    Args:
        graph: to add to.
        whisper: what to write.
        mel: `[batch, mel bands, time]`, see `emit_whisper_encoder`.
        count: so many of its layers, from the first; None for all.

    Raises:
        WeightsError: the checkpoint lacks a tensor.
    """
    shape = whisper.shape
    at_front, write = (
        Layers(graph, whisper.weights, _EPSILON, products=whisper.products, kind=kind)
        for kind in (whisper.front_kind, whisper.kind)
    )
    heads = shape.encoder_attention_heads
    x = _framed(graph, at_front, mel)
    batch, time = graph.size(x, 0), graph.size(x, 1)
    parted = (batch, time, heads, shape.d_model // heads)
    own = whisper.weights["encoder.embed_positions.weight"]
    places = graph.op("Slice", graph.constant(own), graph.constant([0]), time, graph.constant([0]))
    flat = graph.reshape(graph.op("Add", x, places), (-1, shape.d_model))
    hidden = []
    written = shape.encoder_layers if count is None else count
    for layer in range(written):
        flat = write.pre_norm(_names(f"encoder.layers.{layer}"), flat, shape=parted, added=lambda _name, _x: None)
        hidden.append(flat)
    if written == shape.encoder_layers:
        hidden[-1] = write.norm("encoder.layer_norm", flat)
    return HiddenLayers(hidden, (batch, time, shape.d_model))


def emit_whisper_encoder(graph: Graph, whisper: WhisperGraph, mel: Value, samples: Value) -> tuple[Value, Value]:
    """Writes an encoder.

    Args:
        graph: to add to.
        whisper: what to write.
        mel: `[batch, mel bands, time]`, float32, log-mel as the checkpoint's preprocessor makes it of clips padded to
            one window; of an odd number of frames the last is not heard. A window of more frames than
            `whisper.longest_frames` takes fails when the graph runs.
        samples: `[batch]`, int64, samples at 16 kHz of each clip without its padding; 0 where there is none.

    Returns:
        Features `[batch, time / 2, dim]`, and how many frames hold real audio, `[batch]`. Those behind them were
        attended to, but belong to nobody.

    Raises:
        WeightsError: the checkpoint lacks a tensor.
    """
    hidden = emit_whisper_layers(graph, whisper, mel)
    features = read_last(graph, hidden.values, whisper.layers, stacked=whisper.stacked, shape=hidden.shape)
    hop, rest = (np.array(n, dtype=np.int64) for n in (ENCODER_HOP_SAMPLES, ENCODER_HOP_SAMPLES - 1))
    frames = graph.op("Div", graph.op("Add", samples, graph.constant(rest)), graph.constant(hop))
    return features, frames


def _framed(graph: Graph, write: Layers, mel: Value) -> Value:
    """`[batch, frames, width]`."""
    two = graph.constant([2])
    even = graph.op("Mul", graph.op("Div", graph.size(mel, 2), two), two)
    x = write.own(graph.op("Slice", mel, graph.constant([0]), even, two))
    for name, stride in (("conv1", 1), ("conv2", 2)):
        x = write.gelu(write.convolution(f"encoder.{name}", x, bias=True, strides=[stride], pads=[1, 1]))
    return write.single(graph.op("Transpose", x, perm=[0, 2, 1]))


def _names(layer: str) -> LayerNames:
    return LayerNames(
        attention=f"{layer}.self_attn",
        attention_norm=f"{layer}.self_attn_layer_norm",
        inner=f"{layer}.fc1",
        outer=f"{layer}.fc2",
        feed_forward_norm=f"{layer}.final_layer_norm",
        key_bias=False,
    )
