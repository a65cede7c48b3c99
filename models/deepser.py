"""DeepSER: deep fusion of any number of modalities (arXiv 2506.09556, Algorithms 1 and 2).

Padding never counts: attention and pooling see real frames only, so a segment scores the same alone and in any batch.
A modality that is missing gives no frames to fusion and a zero vector to the latent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN, ATTRIBUTE_NAMES
from models.errors import FeatureError

# Finite, so that a row without any real frame averages padding instead of giving NaN; pooling then drops it.
MASKED: Final = -1e9
LEAST_VARIANCE: Final = 1e-6

Pooling = Literal["mean", "attentive_statistics"]
Fusion = Literal["deep", "late"]


@dataclass(frozen=True, slots=True)
class DeepSERConfig:
    """The shape of a member."""

    modalities: tuple[str, ...]
    """What it reads, in the order in which streams are concatenated."""
    dims: tuple[int, ...]
    """Features a frame of each modality."""
    labels: int
    width: int = 512
    heads: int = 1
    feed_forward: int = 2048
    depth: int = 1
    """Transformer layers behind each of h1 and h2."""
    dropout: float = 0.1
    input_dropout: float = 0.0
    """Share of the input features zeroed in training."""
    pooling: Pooling = "mean"
    """How frames become one vector: their mean, as in the paper, or `AttentiveStatistics`."""
    fusion: Fusion = "deep"
    """`late` leaves both fusion encoders out: the latent reads the modalities' h3 alone. To compare with."""
    layers: tuple[int, ...] = ()
    """Hidden layers of a backbone that stand side by side in each of `dims`, to be weighed; 1 each by default."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers) or (1,) * len(self.dims))
        if not self.modalities or len(self.modalities) != len(self.dims):
            raise FeatureError(f"{len(self.modalities)} modalities and {len(self.dims)} dims do not pair up")
        if len(set(self.modalities)) != len(self.modalities):
            raise FeatureError(f"modalities repeat in {self.modalities}")
        for name in self.modalities:
            # What PyTorch can take as the name of a part.
            if not re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", name) or hasattr(nn.ModuleDict(), name):
                raise FeatureError(f"{name!r} cannot name a modality: use letters, digits, - and _, no word of PyTorch")
        sizes = {name: getattr(self, name) for name in ("labels", "width", "heads", "feed_forward", "depth")}
        sizes |= {f"dim of {name}": dim for name, dim in zip(self.modalities, self.dims, strict=True)}
        wrong = [f"{name}={value!r}" for name, value in sizes.items() if type(value) is not int or value < 1]
        if wrong:
            raise FeatureError(f"every size must be a whole number of at least 1, got {', '.join(wrong)}")
        shares = zip(self.dims, self.layers, strict=False)
        if len(self.layers) != len(self.dims) or any(n < 1 or dim % n for dim, n in shares):
            raise FeatureError(f"dims {list(self.dims)} do not hold {list(self.layers)} layers side by side")
        if self.width % self.heads:
            raise FeatureError(f"width {self.width} cannot be shared by {self.heads} heads: it must be a multiple")
        if self.pooling not in get_args(Pooling) or self.fusion not in get_args(Fusion):
            raise FeatureError(f"unknown pooling {self.pooling!r} or fusion {self.fusion!r}")
        if not 0 <= self.dropout < 1 or not 0 <= self.input_dropout < 1:
            raise FeatureError("dropout must lie in [0, 1)")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a manifest; `layers` only where there are any to weigh."""
        values = {**asdict(self), "modalities": list(self.modalities), "dims": list(self.dims)}
        layers = values.pop("layers")
        return values if set(layers) == {1} else {**values, "layers": list(layers)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The reverse of `to_dict`.

        Raises:
            FeatureError: a key is unknown, missing, or its value out of bounds.
        """
        if isinstance(values.get("modalities"), str):
            raise FeatureError(f"not a DeepSER configuration: modalities must be a list, got {values['modalities']!r}")
        try:
            return cls(**{**values, "modalities": tuple(values["modalities"]), "dims": tuple(values["dims"])})
        except (TypeError, KeyError) as error:
            raise FeatureError(f"not a DeepSER configuration: {error}") from error


class DeepSEROutput(NamedTuple):
    """What a member says of a batch."""

    logits: Tensor
    """`[batch, labels]`."""
    attributes: Tensor
    """`[batch, 3]`: arousal, valence, dominance, each 1 to 7."""


def drop_features(x: Tensor, share: float, training: bool) -> Tensor:
    """Dropout of whole features: one that is dropped is dropped in every frame of its sequence.

    A frame resembles its neighbours, which would give away what was dropped from it alone; and a mask as long as the
    sequence costs a CPU more than the layer it guards.
    """
    if not training or share == 0.0:
        return x
    kept = functional.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), share)
    return x * kept


class TransformerLayer(nn.Module):
    """A post-norm transformer layer with ReLU, safe for rows without frames.

    It computes what `nn.TransformerEncoderLayer` does, but for dropout inside the attention weights, which it has not.
    """

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        """Builds the layer; sizes as in `DeepSERConfig`."""
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.expand = nn.Linear(width, feed_forward)
        self.contract = nn.Linear(feed_forward, width)
        self.attention_norm = nn.LayerNorm(width)
        self.output_norm = nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.query_key_value.weight)
        nn.init.zeros_(self.query_key_value.bias)
        nn.init.zeros_(self.attended.bias)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """One layer.

        Args:
            x: `[batch, time, width]`.
            bias: `[batch, 1, 1, time]`, 0 on real frames and `MASKED` on padding, added to attention scores.

        Returns:
            `[batch, time, width]`.
        """
        heads = self.query_key_value(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2], attn_mask=bias)
        attended = self._drop(self.attended(attended.transpose(1, 2).flatten(2)))
        x = self.attention_norm(x + attended)
        expanded = self._drop(functional.relu(self.expand(x)))
        out: Tensor = self.output_norm(x + self._drop(self.contract(expanded)))
        return out

    def _drop(self, x: Tensor) -> Tensor:
        return drop_features(x, self.dropout, self.training)


class EncoderStates(NamedTuple):
    """What an encoder returns: two sequences and their summary."""

    h1: Tensor
    """`[batch, time, width]`."""
    h2: Tensor
    """`[batch, time, width]`."""
    h3: Tensor
    """`[batch, width]`: summary of h2 over real frames, zero where there are none."""


class MeanPooling(nn.Module):
    """The mean over real frames (paper, Algorithm 1)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """One vector a row.

        Args:
            x: `[batch, time, width]`.
            mask: `[batch, time]`, True on real frames.

        Returns:
            `[batch, width]`, zero where there is no real frame.
        """
        weights = mask.to(x.dtype).unsqueeze(-1)
        pooled: Tensor = (x * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
        return pooled


class AttentiveStatistics(nn.Module):
    """Mean and deviation over frames, weighted by learnt attention (Okabe et al. 2018), brought back to one width."""

    def __init__(self, width: int) -> None:
        """Starts as an even weighting.

        Args:
            width: features a frame.
        """
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.score = nn.Linear(width, 1)
        self.merge = nn.Linear(2 * width, width)
        nn.init.zeros_(self.score.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """As `MeanPooling.forward`."""
        scores = self.score(torch.tanh(self.hidden(x))).masked_fill(~mask.unsqueeze(-1), MASKED)
        weights = torch.softmax(scores, dim=1)
        mean = (x * weights).sum(dim=1)
        variance = ((x - mean.unsqueeze(1)).square() * weights).sum(dim=1)
        deviation = variance.clamp(min=LEAST_VARIANCE).sqrt()
        heard = mask.any(dim=1, keepdim=True).to(x.dtype)
        pooled: Tensor = self.merge(torch.cat([mean, deviation], dim=-1)) * heard
        return pooled


class Encoder(nn.Module):
    """Algorithm 1: Linear, ReLU, Linear, transformer -> h1, transformer -> h2, pooled over time -> h3."""

    def __init__(self, dim: int, config: DeepSERConfig) -> None:
        """Builds the encoder.

        Args:
            dim: features a frame of its input.
            config: the member's shape.
        """
        super().__init__()
        self.project = nn.Sequential(nn.Linear(dim, config.width), nn.ReLU(), nn.Linear(config.width, config.width))
        shape = (config.width, config.heads, config.feed_forward, config.dropout)
        self.first = nn.ModuleList(TransformerLayer(*shape) for _ in range(config.depth))
        self.second = nn.ModuleList(TransformerLayer(*shape) for _ in range(config.depth))
        self.pool = MeanPooling() if config.pooling == "mean" else AttentiveStatistics(config.width)

    def forward(self, x: Tensor, mask: Tensor) -> EncoderStates:
        """Encodes a padded batch.

        Args:
            x: `[batch, time, dim]`.
            mask: `[batch, time]`, True on real frames.
        """
        bias = torch.where(mask, 0.0, MASKED).to(x.dtype)[:, None, None, :]
        h1 = self.project(x)
        for layer in self.first:
            h1 = layer(h1, bias)
        h2 = h1
        for layer in self.second:
            h2 = layer(h2, bias)
        return EncoderStates(h1, h2, self.pool(h2, mask))


class LayerMix(nn.Module):
    """A learnt average of a backbone's hidden layers; equal weights at first."""

    def __init__(self, layers: int) -> None:
        """Takes how many layers stand side by side."""
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, time, layers * dim]` to `[batch, time, dim]`."""
        layers = x.reshape(x.shape[0], x.shape[1], self.scores.numel(), -1)
        return (layers * self.scores.softmax(dim=0)[:, None]).sum(dim=-2)


class DeepSER(nn.Module):
    """Algorithm 2: an encoder a modality, two fusion encoders over concatenated states, a latent, two heads."""

    def __init__(self, config: DeepSERConfig) -> None:
        """Builds a member with random weights.

        Args:
            config: its shape.
        """
        super().__init__()
        self.config = config
        shapes = list(zip(config.modalities, config.dims, config.layers, strict=True))
        self.encoders = nn.ModuleDict({name: Encoder(dim // layers, config) for name, dim, layers in shapes})
        self.layer_mixes = nn.ModuleDict({name: LayerMix(layers) for name, _, layers in shapes if layers > 1})
        summaries = len(config.modalities)
        if config.fusion == "deep":
            self.first_fusion = Encoder(config.width, config)
            self.second_fusion = Encoder(config.width, config)
            summaries += 1
        self.latent = nn.Linear(config.width * summaries, config.width)
        self.to_logits = nn.Linear(config.width, config.labels)
        self.to_attributes = nn.Linear(config.width, len(ATTRIBUTE_NAMES))
        for name, dim in zip(config.modalities, config.dims, strict=True):
            self.register_buffer(f"{name}_mean", torch.zeros(dim))
            self.register_buffer(f"{name}_scale", torch.ones(dim))

    def set_standardisation(self, modality: str, mean: Tensor, deviation: Tensor) -> None:
        """Fixes what is subtracted from a modality's features, and what they are divided by.

        Args:
            modality: which.
            mean: `[dim]`.
            deviation: `[dim]`, positive.

        Raises:
            FeatureError: the member does not read it, a shape does not fit, or a deviation is not positive.
        """
        if modality not in self.config.modalities:
            raise FeatureError(f"this member reads {', '.join(self.config.modalities)}, not {modality}")
        own: Tensor = getattr(self, f"{modality}_mean")
        if mean.shape != own.shape or deviation.shape != own.shape or not bool((deviation > 0).all()):
            raise FeatureError(f"standardisation of {modality} needs {own.numel()} means and positive deviations")
        own.copy_(mean)
        getattr(self, f"{modality}_scale").copy_(1.0 / deviation)

    def fuse(self, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
        """Everything before the head.

        Args:
            inputs: per modality `[batch, time, dim]`, time at least 1.
            masks: per modality `[batch, time]`, True on real frames; all False where the modality is missing.

        Returns:
            The latent z, `[batch, width]`, where Manifold MixUp mixes.
        """
        states: list[EncoderStates] = []
        for name in self.config.modalities:
            x = (inputs[name] - getattr(self, f"{name}_mean")) * getattr(self, f"{name}_scale")
            if name in self.layer_mixes:
                x = self.layer_mixes[name](x)
            x = drop_features(x, self.config.input_dropout, self.training)
            states.append(self.encoders[name](x, masks[name]))
        summaries = [s.h3 for s in states]
        if self.config.fusion == "deep":
            mask = torch.cat([masks[name] for name in self.config.modalities], dim=1)
            first = self.first_fusion(torch.cat([s.h1 for s in states], dim=1), mask)
            second_input = torch.cat([*(s.h2 for s in states), first.h2], dim=1)
            summaries.append(self.second_fusion(second_input, torch.cat([mask, mask], dim=1)).h3)
        latent: Tensor = self.latent(torch.cat(summaries, dim=1))
        return latent

    def classify(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """The head: ReLU, then class logits, and attributes as 1 + 6 * sigmoid.

        Args:
            latent: `[batch, width]`.

        Returns:
            Logits `[batch, labels]` and attributes `[batch, 3]`.
        """
        hidden = functional.dropout(functional.relu(latent), self.config.dropout, self.training)
        span = ATTRIBUTE_MAX - ATTRIBUTE_MIN
        return self.to_logits(hidden), ATTRIBUTE_MIN + span * torch.sigmoid(self.to_attributes(hidden))

    def numpy_state(self) -> dict[str, NDArray[np.floating]]:
        """All weights by name, off whatever device they are on."""
        return {name: value.numpy(force=True) for name, value in self.state_dict().items()}

    def forward(self, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> DeepSEROutput:
        """`fuse`, then `classify`."""
        return DeepSEROutput(*self.classify(self.fuse(inputs, masks)))
