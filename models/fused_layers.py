"""The layers of DeepSER in PyTorch for all members of one shape at once, from the weights of `models.fused_weights`.

Nothing here is trained, and nothing depends on the values of its input: one capture serves every batch of a shape.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.deepser import LEAST_VARIANCE, MASKED
from models.fused_weights import Array, Attention, Encoder, Layer, Linear, Norm, Pooling

_NORM_EPSILON: Final = 1e-5


class Times:
    """The time axis of one modality, or of several one behind the other: what layers need of its mask, computed once.

    Attributes:
        shape: batch and time.
        padding: `[batch, 1, time]`, added to scores: 0 on real frames, so little on padding that nothing attends to it.
        share: `[batch, 1, time]`, what each real frame is of a mean.
        heard: `[batch, 1]`, 1 where there is a real frame.
    """

    def __init__(self, mask: Tensor, dtype: torch.dtype) -> None:
        """Takes a mask.

        Args:
            mask: `[batch, time]`, True on real frames.
            dtype: of the layers.
        """
        self.shape = (mask.shape[0], mask.shape[1])
        # Finite in every type, with a score added: a row without any frame averages its padding instead of giving NaN.
        masked = max(MASKED, torch.finfo(dtype).min / 2)
        self.padding = torch.where(mask, 0.0, masked).to(dtype)[:, None]
        real = mask.float()
        count = real.sum(dim=1, keepdim=True)
        self.share = (real / count.clamp(min=1.0)).to(dtype)[:, None]
        self.heard = count.clamp(max=1.0).to(dtype)
        self._repeated: dict[int, Tensor] = {}

    def bias(self, members: int) -> Tensor:
        """The padding of so many members, one behind the other: `[members * batch, 1, 1, time]`."""
        if members not in self._repeated:
            one = self.padding[:, None]
            self._repeated[members] = one if members == 1 else one.repeat(members, 1, 1, 1)
        return self._repeated[members]


class States(NamedTuple):
    """What encoders return."""

    h1: Tensor
    """`[members, batch, time, width]`."""
    h2: Tensor
    """The same."""
    h3: Tensor
    """`[members, batch, width]`."""


def buffer(array: Array) -> Tensor:
    """A weight, to be registered as a buffer."""
    return torch.from_numpy(np.ascontiguousarray(array))


class Linears(nn.Module):
    """One linear layer a member, each over its own input."""

    weight: Tensor
    bias: Tensor

    def __init__(self, linear: Linear) -> None:
        """Takes the members' weights."""
        super().__init__()
        alone = len(linear.weight) == 1
        self.register_buffer("weight", buffer(linear.weight[0].T if alone else linear.weight))
        self.register_buffer("bias", buffer(linear.bias[0, 0] if alone else linear.bias))

    def forward(self, x: Tensor) -> Tensor:
        """`[members, rows, in]` to `[members, rows, out]`."""
        if self.weight.dim() == 2:
            return functional.linear(x, self.weight, self.bias)
        return torch.baddbmm(self.bias, x, self.weight)


class SharedLinears(nn.Module):
    """One linear layer a member, all over the same input: one product, as wide as all of them together."""

    weight: Tensor
    bias: Tensor

    def __init__(self, linear: Linear) -> None:
        """Takes the members' weights."""
        super().__init__()
        self.members, width, _ = linear.weight.shape
        self.register_buffer("weight", buffer(linear.weight.transpose(0, 2, 1).reshape(-1, width)))
        self.register_buffer("bias", buffer(linear.bias.reshape(-1)))

    def forward(self, x: Tensor) -> Tensor:
        """`[rows, in]` to `[members, rows, out]`, a view of one matrix."""
        return functional.linear(x, self.weight, self.bias).view(len(x), self.members, -1).transpose(0, 1)


class Norms(nn.Module):
    """One layer normalisation a member."""

    weight: Tensor
    bias: Tensor

    def __init__(self, norm: Norm) -> None:
        """Takes the members' weights."""
        super().__init__()
        alone = len(norm.weight) == 1
        self.register_buffer("weight", buffer(norm.weight[0, 0] if alone else norm.weight))
        self.register_buffer("bias", buffer(norm.bias[0, 0] if alone else norm.bias))

    def forward(self, x: Tensor) -> Tensor:
        """`[members, rows, width]` to the same."""
        if self.weight.dim() == 1:
            return functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, eps=_NORM_EPSILON)
        return torch.addcmul(self.bias, functional.layer_norm(x, x.shape[-1:], eps=_NORM_EPSILON), self.weight)


class FoldedAttentions(nn.Module):
    """Attention whose keys and values are the frames themselves: only queries and outputs have weights.

    Heads are so many queries a frame, and are summed within the product behind them: no axis is ever moved.
    """

    def __init__(self, attention: Attention) -> None:
        """Takes the members' weights, folded."""
        super().__init__()
        self.query = Linears(Linear(_heads_last(attention.query), _heads_last(attention.query_bias)))
        self.out = Linears(Linear(_heads_first(attention.value), attention.out_bias))

    def forward(self, x: Tensor, times: Times) -> Tensor:
        """`[members, batch * time, width]` to the same."""
        members, rows, width = x.shape
        examples = members * times.shape[0]
        query = self.query(x).view(examples, 1, -1, width)
        frames = x.view(examples, 1, -1, width)
        attended = functional.scaled_dot_product_attention(
            query, frames, frames, attn_mask=times.bias(members), scale=1.0
        )
        out: Tensor = self.out(attended.reshape(members, rows, -1))
        return out


class HeadedAttentions(nn.Module):
    """Attention of many heads, with weights for queries, keys, values and outputs."""

    def __init__(self, attention: Attention, key: Array, out: Array) -> None:
        """Takes the members' weights; `key` and `out` are those of `attention`, where it is not folded."""
        super().__init__()
        self.heads = attention.heads
        weights = [_heads_last(part) for part in (attention.query, key, attention.value)]
        bias = _heads_last(attention.query_bias)
        biases = [bias, np.zeros_like(bias), np.zeros_like(bias)]
        self.inward = Linears(Linear(np.concatenate(weights, axis=2), np.concatenate(biases, axis=2)))
        self.out = Linears(Linear(_heads_first(out), attention.out_bias))

    def forward(self, x: Tensor, times: Times) -> Tensor:
        """`[members, batch * time, width]` to the same."""
        members, rows, _ = x.shape
        batch, time = times.shape
        inward = self.inward(x).view(members * batch, time, 3, self.heads, -1)
        query, key, value = inward.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=times.bias(members), scale=1.0)
        out: Tensor = self.out(attended.transpose(1, 2).reshape(members, rows, -1))
        return out


class TransformerLayers(nn.Module):
    """One transformer layer a member."""

    def __init__(self, layer: Layer) -> None:
        """Takes the members' weights."""
        super().__init__()
        self.attention = _attentions(layer.attention)
        self.attention_norm = Norms(layer.attention_norm)
        self.expand = Linears(layer.expand)
        self.contract = Linears(layer.contract)
        self.output_norm = Norms(layer.output_norm)

    def forward(self, x: Tensor, times: Times) -> Tensor:
        """`[members, batch * time, width]` to the same."""
        x = self.attention_norm(self.attention(x, times).add_(x))
        out: Tensor = self.output_norm(self.contract(self.expand(x).relu_()).add_(x))
        return out


class AttentiveStatistics(nn.Module):
    """One attentive statistics pooling a member."""

    def __init__(self, pooling: Pooling) -> None:
        """Takes the members' weights."""
        super().__init__()
        self.hidden = Linears(pooling.hidden)
        self.score = Linears(pooling.score)
        self.merge = Linears(pooling.merge)

    def forward(self, x: Tensor, times: Times) -> Tensor:
        """`[members, batch * time, width]` to `[members, batch, width]`."""
        frames = x.view(len(x), *times.shape, -1)
        scores = self.score(self.hidden(x).tanh_()).view(len(x), times.shape[0], 1, times.shape[1])
        weights = torch.softmax(scores + times.padding, dim=-1)
        mean = torch.matmul(weights, frames)
        variance = torch.matmul(weights, (frames - mean).square_())
        deviation = variance.clamp_(min=LEAST_VARIANCE).sqrt_()
        pooled: Tensor = self.merge(torch.cat([mean, deviation], dim=-1).squeeze(2)) * times.heard
        return pooled


class Encoders(nn.Module):
    """One encoder a member (Algorithm 1)."""

    def __init__(self, encoder: Encoder, *, shared: bool = False) -> None:
        """Takes the members' weights.

        Args:
            encoder: the weights.
            shared: whether all members read the same input.
        """
        super().__init__()
        first = encoder.first_projection
        self.first_projection: Linears | SharedLinears = SharedLinears(first) if shared else Linears(first)
        self.second_projection = Linears(encoder.second_projection)
        self.first = nn.ModuleList(TransformerLayers(layer) for layer in encoder.first)
        self.second = nn.ModuleList(TransformerLayers(layer) for layer in encoder.second)
        self.pooling = None if encoder.pooling is None else AttentiveStatistics(encoder.pooling)

    def forward(self, x: Tensor, times: Times) -> States:
        """Encodes a padded batch.

        Args:
            x: `[batch * time, dim]` where the input is shared, else `[members, batch * time, dim]`.
            times: of x.
        """
        h1 = self.second_projection(self.first_projection(x).relu_())
        for layer in self.first:
            h1 = layer(h1, times)
        h2 = h1
        for layer in self.second:
            h2 = layer(h2, times)
        frames = h2.unflatten(1, times.shape)
        h3 = torch.matmul(times.share, frames).squeeze(2) if self.pooling is None else self.pooling(h2, times)
        return States(h1.unflatten(1, times.shape), frames, h3)


def _attentions(attention: Attention) -> FoldedAttentions | HeadedAttentions:
    if attention.key is None or attention.out is None:
        return FoldedAttentions(attention)
    return HeadedAttentions(attention, attention.key, attention.out)


def _heads_last(array: Array) -> Array:
    """`[members, heads, a, b]` to `[members, a, heads * b]`."""
    members, _, rows, _ = array.shape
    return array.transpose(0, 2, 1, 3).reshape(members, rows, -1)


def _heads_first(array: Array) -> Array:
    """`[members, heads, a, b]` to `[members, heads * a, b]`."""
    return array.reshape(len(array), -1, array.shape[-1])
