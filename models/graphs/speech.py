"""Speech encoders as ONNX nodes: a waveform in, representations of it out, so that one engine call hears too.

WavLM (Chen et al. 2022), HuBERT (Hsu et al. 2021) and wav2vec 2.0 (Baevski et al. 2020) in the layout that their large
checkpoints have. Hidden layers are read as `models.backbones.speech.SpeechEncoder` reads them in PyTorch, and a clip
says the same alone and in any batch, as there; tests hold the two together. Whisper is in `models.graphs.whisper`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.errors import WeightsError
from models.graphs.checkpoint import CONFIG_FILE, PREPROCESSOR_FILE, Weights, read_description
from models.graphs.graph import Graph, Value
from models.graphs.layers import AttentionBias, LayerNames, Layers, key_mask, read_last
from models.graphs.precision import Kind
from models.graphs.products import PLAIN, Products
from models.graphs.speech_front import Front, emit_front
from models.graphs.speech_wavlm import GatedBias, largest_exact_distance
from models.windows import SAMPLE_RATE_HZ

_PARTS: Final = ("feature_extractor.", "feature_projection.", "encoder.")
_WRITTEN: Final = (
    "written are WavLM, HuBERT and wav2vec 2.0 as their large checkpoints have them: layer norm in the front end "
    '(feat_extract_norm "layer") and ahead of attention and feed-forward (do_stable_layer_norm true)'
)


class _Shape(BaseModel):
    """What `config.json` says; only what is written here is accepted. What it leaves out is what transformers takes."""

    model_config = ConfigDict(frozen=True)

    model_type: Literal["wavlm", "hubert", "wav2vec2"]
    feat_extract_norm: str = Field(default="group", pattern="^layer$", validate_default=True)
    do_stable_layer_norm: Literal[True]
    feat_extract_activation: Literal["gelu"] = "gelu"
    hidden_act: Literal["gelu"] = "gelu"
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_proj_layer_norm: Literal[True] = True
    conv_pos_batch_norm: Literal[False] = False
    num_conv_pos_embedding_groups: int = Field(default=16, ge=1)
    hidden_size: int = Field(default=768, ge=1)
    num_attention_heads: int = Field(default=12, ge=1)
    num_hidden_layers: int = Field(default=12, ge=1)
    layer_norm_eps: float = Field(default=1e-5, gt=0)
    adapter_attn_dim: None = None
    tie_last_hidden_states: Literal[False] | None = None
    num_buckets: int = Field(default=320, ge=4)
    max_bucket_distance: int = Field(default=800, ge=2)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not 0 < len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride):
            raise ValueError("conv_dim, conv_kernel and conv_stride must be of one length")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"hidden_size {self.hidden_size} does not part into {self.num_attention_heads} heads")
        if self.max_bucket_distance <= largest_exact_distance(self.num_buckets):
            raise ValueError(
                f"max_bucket_distance {self.max_bucket_distance} is too near for {self.num_buckets} buckets"
            )
        return self


class _Preprocessor(BaseModel):
    """What `preprocessor_config.json` says."""

    model_config = ConfigDict(frozen=True)

    feature_extractor_type: Literal["Wav2Vec2FeatureExtractor"] = "Wav2Vec2FeatureExtractor"
    sampling_rate: int = SAMPLE_RATE_HZ
    do_normalize: bool = True


@dataclass(frozen=True, slots=True)
class SpeechGraph:
    """A waveform encoder, read from a checkpoint, that can be written into a graph."""

    shape: _Shape
    weights: Weights
    layers: int
    """Hidden layers that are read, counted from the last."""
    stacked: bool
    """Whether they stand side by side; else they are summed."""
    normalised: bool
    """Whether each clip is brought to mean 0 and variance 1 before anything else hears it."""
    products: Products = PLAIN
    """How linear maps are written."""
    front_products: Products = PLAIN
    """Likewise, of the one behind its convolutions."""
    kind: Kind = np.float32
    """Precision of products and attention in its layers."""
    front_kind: Kind = np.float32
    """Precision of its convolutions."""

    @property
    def dim(self) -> int:
        """Features a frame as it comes out."""
        return self.shape.hidden_size * (self.layers if self.stacked else 1)

    @property
    def weights_a_frame(self) -> int:
        """So many weights each frame is multiplied with; those of the front end as often as one frame takes them."""
        tensors = self.weights.tensors.items()
        count = sum(array.size for name, array in tensors if not name.startswith("feature_extractor."))
        return count + sum(
            array.size * often
            for layer, often in enumerate(self._often())
            for name, array in tensors
            if name.startswith(f"feature_extractor.conv_layers.{layer}.")
        )

    @classmethod
    def read(cls, folder: Path, *, layers: int, stacked: bool = False) -> SpeechGraph:
        """Reads a checkpoint in the hub's format; neither PyTorch nor transformers is needed.

        Args:
            folder: with `config.json`, `preprocessor_config.json` and `model.safetensors`.
            layers: hidden layers that are read, counted from the last.
            stacked: whether they stand side by side.

        Raises:
            WeightsError: it cannot be read, is of a layout that is not written here, has fewer layers, or is made for
                another sample rate.
        """
        shape, preprocessor = speech_shape(folder, layers)
        weights = Weights.read(folder, f"{shape.model_type}.", _PARTS)
        return cls(shape, weights, layers, stacked, preprocessor.do_normalize)

    def front(self) -> Front:
        """Its convolutions, which give a frame every 20 ms in every checkpoint there is."""
        shape = self.shape
        return Front(
            tuple(zip(shape.conv_kernel, shape.conv_stride, strict=True)),
            shape.conv_bias,
            shape.hidden_size,
            shape.num_conv_pos_embedding_groups,
            self.normalised,
        )

    def _often(self) -> Iterator[int]:
        """For each convolution of the front end, how many of its outputs one frame stands for."""
        strides = self.shape.conv_stride
        for layer in range(len(strides)):
            often = 1
            for stride in strides[layer + 1 :]:
                often *= stride
            yield often


def speech_shape(folder: Path, layers: int) -> tuple[_Shape, _Preprocessor]:
    """What a checkpoint says of itself, its weights unread.

    Args:
        folder: with `config.json` and `preprocessor_config.json`.
        layers: hidden layers that are to be read.

    Raises:
        WeightsError: as `SpeechGraph.read`.
    """
    shape = read_description(_Shape, folder / CONFIG_FILE, _WRITTEN)
    preprocessor = read_description(_Preprocessor, folder / PREPROCESSOR_FILE, _WRITTEN)
    if preprocessor.sampling_rate != SAMPLE_RATE_HZ:
        raise WeightsError(
            f"{folder}: made for audio at {preprocessor.sampling_rate} Hz, clips are at {SAMPLE_RATE_HZ} Hz"
        )
    if not 1 <= layers <= shape.num_hidden_layers:
        raise WeightsError(f"{folder} has {shape.num_hidden_layers} hidden layers, {layers} are to be read")
    return shape, preprocessor


def emit_speech_encoder(graph: Graph, speech: SpeechGraph, waveform: Value, samples: Value) -> tuple[Value, Value]:
    """Writes an encoder.

    Args:
        graph: to add to.
        speech: what to write.
        waveform: `[batch, time]`, float32 at 16 kHz, anything where there is padding.
        samples: `[batch]`, int64, samples of each clip; 0 where there is none.

    Returns:
        Features `[batch, frames, dim]`, at least one frame of room, and how many of them are each clip's own,
        `[batch]`: none where a clip is shorter than what a frame hears, 25 ms. What stands in the others means nothing.

    Raises:
        WeightsError: the checkpoint lacks a tensor.
    """
    shape = speech.shape
    at_front, write = (
        Layers(graph, speech.weights, shape.layer_norm_eps, products=products, kind=kind)
        for products, kind in ((speech.front_products, speech.front_kind), (speech.products, speech.kind))
    )
    hidden, real, frames = emit_front(graph, speech.front(), at_front, speech.weights, waveform, samples)
    heads = shape.num_attention_heads
    batch, time = graph.size(real, 0), graph.size(real, 1)
    parted = (batch, time, heads, shape.hidden_size // heads)
    mask = key_mask(graph, real, speech.kind)
    added: AttentionBias = partial(_same, mask)
    if shape.model_type == "wavlm":
        distances = (shape.num_buckets, shape.max_bucket_distance)
        added = GatedBias(graph, speech.weights, parted, mask, distances, speech.kind).added
    read = []
    for layer in range(shape.num_hidden_layers):
        hidden = write.pre_norm(_names(f"encoder.layers.{layer}"), hidden, shape=parted, added=added)
        read.append(hidden)
    # transformers norms the last layer for who asks for the model's output, not for who reads hidden layers.
    features = read_last(graph, read, speech.layers, stacked=speech.stacked, shape=(batch, time, shape.hidden_size))
    return features, frames


def _same(mask: Value, _name: str, _x: Value) -> Value:
    return mask


def _names(layer: str) -> LayerNames:
    return LayerNames(
        attention=f"{layer}.attention",
        attention_norm=f"{layer}.layer_norm",
        inner=f"{layer}.feed_forward.intermediate_dense",
        outer=f"{layer}.feed_forward.output_dense",
        feed_forward_norm=f"{layer}.final_layer_norm",
    )
