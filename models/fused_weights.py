"""Trained members' weights, brought into the form in which they are computed together.

Two things happen to them, once, in double precision:

- **Side by side.** Members of one shape are stacked along a leading member axis, so that one batched product does what
  a linear layer did in each. A weight stands as `[members, in, out]`.
- **Folded.** Of an attention's four matrices only two products are ever seen: `Wq Wk^T` in its scores, `Wv Wo` in its
  output. With few heads these are smaller than their factors, and are kept instead. The bias of keys shifts all scores
  of a query alike and is nothing to a softmax; that of values comes out as it went in, since attention sums to one: it
  is added at the end.

Members are ordered by shape and by what they read: what a fusion encoder needs of the encoders below it is a slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from models.deepser import DeepSERConfig

Array = NDArray[np.floating]
State = Mapping[str, Array]

FOLDED_HEADS: Final = 2
"""So many heads at most are folded: with more, the factors are the smaller ones."""


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer a member."""

    weight: Array
    """`[members, in, out]`."""
    bias: Array
    """`[members, 1, out]`."""


@dataclass(frozen=True, slots=True)
class Norm:
    """One layer normalisation a member."""

    weight: Array
    """`[members, 1, width]`."""
    bias: Array
    """The same."""


@dataclass(frozen=True, slots=True)
class Attention:
    """One self-attention a member; scores need no scaling."""

    heads: int
    query: Array
    """`[members, heads, width, key]`; `key` is the width where folded."""
    query_bias: Array
    """`[members, heads, 1, key]`."""
    key: Array | None
    """`[members, heads, width, key]`; None where folded: the keys are the frames themselves."""
    value: Array
    """`[members, heads, width, value]`; `value` is the width where folded."""
    out: Array | None
    """`[members, heads, value, width]`; None where folded: heads are summed as they are."""
    out_bias: Array
    """`[members, 1, width]`."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer a member."""

    attention: Attention
    attention_norm: Norm
    expand: Linear
    contract: Linear
    output_norm: Norm


@dataclass(frozen=True, slots=True)
class Pooling:
    """One attentive statistics pooling a member."""

    hidden: Linear
    score: Linear
    merge: Linear


@dataclass(frozen=True, slots=True)
class Encoder:
    """One encoder a member."""

    first_projection: Linear
    second_projection: Linear
    first: tuple[Layer, ...]
    second: tuple[Layer, ...]
    pooling: Pooling | None
    """None where it is the mean."""

    @property
    def members(self) -> int:
        """How many stand side by side."""
        return len(self.second_projection.weight)


@dataclass(frozen=True, slots=True)
class Reader:
    """The encoders of one modality, over all members of a shape that read it."""

    modality: str
    mean: Array
    """`[dim]`, subtracted from every frame."""
    scale: Array
    """`[dim]`, by which it is then multiplied."""
    layers: Array | None
    """`[members, layers]`, weights of a backbone's hidden layers; None where there is one."""
    encoder: Encoder


@dataclass(frozen=True, slots=True)
class Fusion:
    """What members of a shape that read the same do with what their encoders say."""

    modalities: tuple[str, ...]
    rows: dict[str, tuple[int, int, int]]
    """Per modality which reader of the shape, and from which member to which."""
    first: Encoder | None
    """None where fusion is late."""
    second: Encoder | None
    latent: Linear
    to_logits: Linear
    to_attributes: Linear

    @property
    def members(self) -> int:
        """How many stand side by side."""
        return len(self.latent.weight)


@dataclass(frozen=True, slots=True)
class Stack:
    """All members of one shape."""

    places: tuple[int, ...]
    """Where each answer belongs among the ensemble's members, in the order of `fusions`."""
    readers: tuple[Reader, ...]
    fusions: tuple[Fusion, ...]


@dataclass(frozen=True, slots=True)
class _Member:
    place: int
    config: DeepSERConfig
    state: State

    def tensor(self, name: str) -> Array:
        return np.asarray(self.state[name], dtype=np.float64)

    def standardisation(self, modality: str) -> bytes:
        return self.state[f"{modality}_mean"].tobytes() + self.state[f"{modality}_scale"].tobytes()


def fused_weights(members: Iterable[tuple[DeepSERConfig, State]]) -> tuple[Stack, ...]:
    """Sorts members by shape and puts their weights side by side.

    Args:
        members: configuration and weights of each, as `DeepSER.state_dict` names them.

    Returns:
        A stack for every shape, weights in single precision.
    """
    placed = [_Member(place, config, state) for place, (config, state) in enumerate(members)]
    placed.sort(key=lambda member: (repr(_shape(member.config)), member.config.modalities, _alike(member)))
    return tuple(_stack(list(group)) for _, group in groupby(placed, key=lambda member: _shape(member.config)))


def _shape(config: DeepSERConfig) -> tuple[object, ...]:
    """What two members must have in common to be computed together."""
    return (config.width, config.heads, config.feed_forward, config.depth, config.fusion, config.pooling)


def _alike(member: _Member) -> bytes:
    """Two members that read the same and are alike in this read it standardised alike, from as many hidden layers."""
    return b"".join(member.standardisation(name) for name in member.config.modalities) + bytes(member.config.layers)


def _stack(members: list[_Member]) -> Stack:
    readers: list[Reader] = []
    reading: dict[tuple[str, bytes, int], tuple[int, list[_Member]]] = {}
    for modality in dict.fromkeys(name for member in members for name in member.config.modalities):
        own = [member for member in members if modality in member.config.modalities]
        for key in dict.fromkeys(_reads(member, modality) for member in own):
            alike = [member for member in own if _reads(member, modality) == key]
            reading[key] = (len(readers), alike)
            readers.append(_reader(modality, alike))
    fusions = []
    for _, group in groupby(members, key=lambda member: (member.config.modalities, _alike(member))):
        together = list(group)
        rows = {}
        for modality in together[0].config.modalities:
            reader, alike = reading[_reads(together[0], modality)]
            start = alike.index(together[0])
            rows[modality] = (reader, start, start + len(together))
        fusions.append(_fusion(together, rows))
    return Stack(tuple(member.place for member in members), tuple(readers), tuple(fusions))


def _reads(member: _Member, modality: str) -> tuple[str, bytes, int]:
    layers = member.config.layers[member.config.modalities.index(modality)]
    return modality, member.standardisation(modality), layers


def _reader(modality: str, members: Sequence[_Member]) -> Reader:
    first = members[0]
    name = f"layer_mixes.{modality}.scores"
    return Reader(
        modality,
        _single(first.tensor(f"{modality}_mean")),
        _single(first.tensor(f"{modality}_scale")),
        _single(np.stack([_softmax(member.tensor(name)) for member in members])) if name in first.state else None,
        _encoder(members, f"encoders.{modality}"),
    )


def _fusion(members: Sequence[_Member], rows: dict[str, tuple[int, int, int]]) -> Fusion:
    deep = members[0].config.fusion == "deep"
    return Fusion(
        members[0].config.modalities,
        rows,
        _encoder(members, "first_fusion") if deep else None,
        _encoder(members, "second_fusion") if deep else None,
        _linear(members, "latent"),
        _linear(members, "to_logits"),
        _linear(members, "to_attributes"),
    )


def _encoder(members: Sequence[_Member], name: str) -> Encoder:
    config = members[0].config
    attentive = config.pooling == "attentive_statistics"
    return Encoder(
        _linear(members, f"{name}.project.0"),
        _linear(members, f"{name}.project.2"),
        tuple(_layer(members, f"{name}.first.{i}") for i in range(config.depth)),
        tuple(_layer(members, f"{name}.second.{i}") for i in range(config.depth)),
        Pooling(*(_linear(members, f"{name}.pool.{part}") for part in ("hidden", "score", "merge")))
        if attentive
        else None,
    )


def _layer(members: Sequence[_Member], name: str) -> Layer:
    return Layer(
        _attention(members, name),
        _norm(members, f"{name}.attention_norm"),
        _linear(members, f"{name}.expand"),
        _linear(members, f"{name}.contract"),
        _norm(members, f"{name}.output_norm"),
    )


def _attention(members: Sequence[_Member], name: str) -> Attention:
    heads, width = members[0].config.heads, members[0].config.width
    each = width // heads
    # PyTorch holds [out, in]; out is query, key, value, and each of them heads times features.
    inward = np.stack([member.tensor(f"{name}.query_key_value.weight") for member in members])
    query, key, value = inward.reshape(-1, 3, heads, each, width).transpose(1, 0, 2, 4, 3)
    biases = np.stack([member.tensor(f"{name}.query_key_value.bias") for member in members])
    query_bias, _, value_bias = biases.reshape(-1, 3, heads, 1, each).transpose(1, 0, 2, 3, 4)
    outward = np.stack([member.tensor(f"{name}.attended.weight").T for member in members])
    out = outward.reshape(-1, heads, each, width)
    out_bias = np.stack([member.tensor(f"{name}.attended.bias") for member in members])[:, None]
    out_bias = out_bias + (value_bias @ out).sum(axis=1)
    query, query_bias = query / np.sqrt(each), query_bias / np.sqrt(each)
    if heads > FOLDED_HEADS:
        return Attention(heads, *map(_single, (query, query_bias, key, value, out, out_bias)))
    back = key.swapaxes(-1, -2)
    return Attention(
        heads,
        _single(query @ back),
        _single(query_bias @ back),
        None,
        _single(value @ out),
        None,
        _single(out_bias),
    )


def _linear(members: Sequence[_Member], name: str) -> Linear:
    weight = np.stack([member.tensor(f"{name}.weight").T for member in members])
    bias = np.stack([member.tensor(f"{name}.bias") for member in members])[:, None]
    return Linear(_single(weight), _single(bias))


def _norm(members: Sequence[_Member], name: str) -> Norm:
    weight, bias = (np.stack([m.tensor(f"{name}.{part}") for m in members])[:, None] for part in ("weight", "bias"))
    return Norm(_single(weight), _single(bias))


def _softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max())
    return np.asarray(raised / raised.sum())


def _single(array: Array) -> Array:
    return np.ascontiguousarray(array, dtype=np.float32)
