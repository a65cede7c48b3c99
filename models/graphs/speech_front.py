"""What waveform encoders do before their layers: norm the clip, cut it into frames by convolutions, tell places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.errors import WeightsError
from models.graphs.checkpoint import Array, Weights
from models.graphs.graph import Graph, Value
from models.graphs.layers import Layers, there

_CONVOLUTION_EPSILON: Final = 1e-5
"""Of the norms in the front end, whatever the checkpoint says of the others."""
_VARIANCE_FLOOR: Final = 1e-7
"""What transformers adds to a clip's variance, so that silence stays silent."""
_PLACES: Final = "encoder.pos_conv_embed.conv"
_MAGNITUDES: Final = ("parametrizations.weight.original0", "weight_g")
_DIRECTIONS: Final = ("parametrizations.weight.original1", "weight_v")


@dataclass(frozen=True, slots=True)
class Front:
    """What is not told by the weights."""

    convolutions: tuple[tuple[int, int], ...]
    """Kernel and stride of each."""
    bias: bool
    """Whether the convolutions have one."""
    width: int
    """Features a frame in the layers."""
    place_groups: int
    """Of the convolution that tells places."""
    normalised: bool
    """Whether clips are brought to mean 0 and variance 1."""

    @property
    def hears_samples(self) -> int:
        """What the first frame hears."""
        heard = 1
        for kernel, stride in reversed(self.convolutions):
            heard = (heard - 1) * stride + kernel
        return heard


def emit_front(
    graph: Graph, front: Front, write: Layers, weights: Weights, waveform: Value, samples: Value
) -> tuple[Value, Value, Value]:
    """Writes everything in front of the first layer.

    Args:
        graph: to add to.
        front: what to write.
        write: of the checkpoint.
        weights: of the checkpoint.
        waveform: `[batch, time]`, anything where there is padding.
        samples: `[batch]`, of each clip.

    Returns:
        `[batch * frames, width]`, zeros in padding but for what places add; which frames are real, `[batch, frames]`;
        and how many, `[batch]`.

    Raises:
        WeightsError: the checkpoint lacks a tensor.
    """
    x = _normed(graph, _with_room(graph, waveform, front.hears_samples), samples, normalised=front.normalised)
    x = graph.op("Unsqueeze", x, graph.constant([1]))
    for layer, (kernel, stride) in enumerate(front.convolutions):
        name = f"feature_extractor.conv_layers.{layer}"
        x = write.own(x)
        if layer:
            x = graph.op("Transpose", x, perm=[0, 2, 1])
        x = write.convolution(f"{name}.conv", x, bias=front.bias, strides=[stride])
        x = write.single(graph.op("Transpose", x, perm=[0, 2, 1]))
        x = write.gelu(write.norm(f"{name}.layer_norm", x, epsilon=_CONVOLUTION_EPSILON), np.float32)
        samples = _left(graph, samples, kernel, stride)
    batch, time = graph.size(x, 0), graph.size(x, 1)
    real = there(graph, time, samples)
    flat = graph.reshape(x, (-1, weights["feature_projection.layer_norm.weight"].size))
    normed = write.own(write.norm("feature_projection.layer_norm", flat))
    projected = write.single(write.linear("feature_projection.projection", normed))
    shaped = graph.reshape(projected, (batch, time, front.width))
    heard = graph.op("Where", graph.op("Unsqueeze", real, graph.constant([2])), shaped, graph.constant(0.0))
    placed = graph.op("Add", heard, _places(graph, front, write, weights, heard))
    return graph.reshape(placed, (-1, front.width)), real, samples


def _with_room(graph: Graph, waveform: Value, least: int) -> Value:
    """Padded to what a frame hears, so that there is one even where nobody spoke."""
    lacking = graph.op("Sub", graph.constant([least]), graph.size(waveform, 1))
    more = graph.op("Max", lacking, graph.constant([0]))
    return graph.op("Pad", waveform, graph.op("Concat", graph.constant([0, 0, 0]), more, axis=0))


def _normed(graph: Graph, waveform: Value, samples: Value, *, normalised: bool) -> Value:
    """As `Wav2Vec2FeatureExtractor` does it, over real samples; zeros behind them."""
    silence, last = graph.constant(0.0), graph.constant([1])
    real = there(graph, graph.size(waveform, 1), samples)
    own = graph.op("Where", real, waveform, silence)
    if not normalised:
        return own
    count = graph.op("Max", graph.cast(graph.reshape(samples, (-1, 1)), np.float32), graph.constant(1.0))
    mean = graph.op("Div", graph.op("ReduceSum", own, last, keepdims=1), count)
    centred = graph.op("Where", real, graph.op("Sub", own, mean), silence)
    squares = graph.op("ReduceSum", graph.op("Mul", centred, centred), last, keepdims=1)
    variance = graph.op("Add", graph.op("Div", squares, count), graph.constant(_VARIANCE_FLOOR))
    return graph.op("Div", centred, graph.op("Sqrt", variance))


def _left(graph: Graph, length: Value, kernel: int, stride: int) -> Value:
    """What a convolution leaves of a length; nothing where its kernel does not fit."""
    moved = graph.op("Add", length, graph.constant(np.array(stride - kernel, dtype=np.int64)))
    fits = graph.op("Max", moved, graph.constant(np.array(0, dtype=np.int64)))
    return graph.op("Div", fits, graph.constant(np.array(stride, dtype=np.int64)))


def _places(graph: Graph, front: Front, write: Layers, weights: Weights, x: Value) -> Value:
    """What a frame learns of its place from its neighbours, `[batch, frames, width]`."""
    kernel = _folded(weights)
    size = kernel.shape[-1]
    # Of an even kernel transformers drops what the last place of padding adds.
    pads = [size // 2, size // 2 - (1 - size % 2)]
    convolved = graph.op(
        "Conv",
        graph.op("Transpose", write.own(x), perm=[0, 2, 1]),
        write.constant(kernel),
        write.constant(weights[f"{_PLACES}.bias"]),
        group=front.place_groups,
        kernel_shape=[size],
        pads=pads,
    )
    return write.single(graph.op("Transpose", write.gelu(convolved), perm=[0, 2, 1]))


def _folded(weights: Weights) -> Array:
    """The kernel that weight norm (Salimans and Kingma 2016) keeps as magnitudes, one a place, and directions."""
    magnitude, direction = (_named(weights, names).astype(np.float64) for names in (_MAGNITUDES, _DIRECTIONS))
    lengths = np.sqrt(np.square(direction).sum(axis=(0, 1), keepdims=True))
    folded: Array = (magnitude * direction / lengths).astype(np.float32)
    return folded


def _named(weights: Weights, names: tuple[str, str]) -> Array:
    """A tensor under its name of today or the one that older checkpoints have."""
    for name in names:
        if f"{_PLACES}.{name}" in weights.tensors:
            return weights[f"{_PLACES}.{name}"]
    raise WeightsError(f"{weights.folder}: tensor {_PLACES}.{names[0]} is missing, and so is its older name {names[1]}")
