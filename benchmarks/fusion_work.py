"""What a call of an ensemble needs, counted from its shape: operations, weights, memory (paper, Algorithms 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from models.deepser import DeepSERConfig
from models.emotions import ATTRIBUTE_NAMES

BYTES: Final = 4
"""Of a number in single precision."""

_ENCODER_STACKS: Final = 2
"""Transformers behind one another: one ends in h1, one in h2."""
_STATES_HELD: Final = 2
"""h1 and h2."""
_ATTENTION_COPIES: Final = 6
"""Sequences an attention holds at a time: what came in, query, key, value, what was attended, what goes out."""
_FEED_FORWARD_COPIES: Final = 3
"""Sequences a feed-forward layer holds beside the wide one: what came in, what goes out, their sum."""
_SCORE_COPIES: Final = 2
"""Of attention scores where they are computed as a matrix: before and after the softmax."""


@dataclass(frozen=True, slots=True)
class Work:
    """Matrix products and weights.

    An attention can be computed as it is written, or with the products `Wq Wk^T` and `Wv Wo` in place of their factors,
    which changes no answer. The least of both is what no engine can do without.
    """

    operations: int = 0
    """Multiplications and additions of all matrix products, as the algorithms are written."""
    least_operations: int = 0
    """The same, each attention in the cheaper form."""
    weights: int = 0
    """Numbers that are read once, as the algorithms are written."""
    least_weights: int = 0
    """The same, each attention in the smaller form."""

    def __add__(self, other: Work) -> Work:
        return Work(
            self.operations + other.operations,
            self.least_operations + other.least_operations,
            self.weights + other.weights,
            self.least_weights + other.least_weights,
        )

    def times(self, rows: int) -> Work:
        """The work of so many rows: weights are read once for all of them."""
        return Work(self.operations * rows, self.least_operations * rows, self.weights, self.least_weights)


def ensemble_work(members: Sequence[DeepSERConfig], frames: Mapping[str, int], batch: int) -> Work:
    """Of all members and the meta-classifier.

    Args:
        members: the shape of each.
        frames: by modality, of every row.
        batch: rows.
    """
    answers = sum(config.labels + len(ATTRIBUTE_NAMES) for config in members)
    meta = _linear(1, answers, members[0].labels + len(ATTRIBUTE_NAMES))
    return sum((member_work(config, frames) for config in members), meta).times(batch)


def member_work(config: DeepSERConfig, frames: Mapping[str, int]) -> Work:
    """Of one member on one row (Algorithm 2).

    Args:
        config: its shape.
        frames: by modality.
    """
    width = config.width
    work = Work()
    for name, dim, layers in zip(config.modalities, config.dims, config.layers, strict=True):
        mix = layers if layers > 1 else 0
        work += _encoder(config, dim // layers, frames[name]) + Work(weights=mix, least_weights=mix)
    summaries = len(config.modalities)
    if config.fusion == "deep":
        together = sum(frames[name] for name in config.modalities)
        work += _encoder(config, width, together) + _encoder(config, width, 2 * together)
        summaries += 1
    heads = _linear(1, width, config.labels) + _linear(1, width, len(ATTRIBUTE_NAMES))
    return work + _linear(1, width * summaries, width) + heads


def _encoder(config: DeepSERConfig, dim: int, time: int) -> Work:
    """Algorithm 1."""
    width = config.width
    work = _linear(time, dim, width) + _linear(time, width, width)
    for _ in range(_ENCODER_STACKS * config.depth):
        work += _attention(width, config.heads, time)
        work += _linear(time, width, config.feed_forward) + _linear(time, config.feed_forward, width)
        norms = 2 * 2 * width
        work += Work(weights=norms, least_weights=norms)
    if config.pooling == "attentive_statistics":
        work += _linear(time, width, width) + _linear(time, width, 1) + _linear(1, 2 * width, width)
    return work


def _linear(rows: int, width_in: int, width_out: int) -> Work:
    operations = 2 * rows * width_in * width_out
    weights = width_in * width_out + width_out
    return Work(operations, operations, weights, weights)


def _attention(width: int, heads: int, time: int) -> Work:
    written = _linear(time, width, 3 * width) + _linear(time, width, width)
    operations = written.operations + 2 * 2 * time * time * width
    # Folded, every head has a query and a value as wide as a frame, and the keys are the frames themselves.
    folded_operations = heads * (2 * 2 * time * width * width + 2 * 2 * time * time * width)
    folded_weights = heads * (2 * width * width + width) + width
    return Work(operations, min(operations, folded_operations), written.weights, min(written.weights, folded_weights))


def working_bytes(
    members: Sequence[DeepSERConfig],
    frames: Mapping[str, int],
    batch: int,
    *,
    side_by_side: bool,
    keeps_scores: bool,
) -> int:
    """Memory that a call takes beside weights and inputs, on the generous side.

    Args:
        members: the shape of each.
        frames: by modality, of every row.
        batch: rows.
        side_by_side: whether all members are computed at once, or one after the other.
        keeps_scores: whether attention scores are held as whole matrices.
    """
    each = [_member_numbers(config, frames, keeps_scores) for config in members]
    return BYTES * batch * (sum(each) if side_by_side else max(each))


def _member_numbers(config: DeepSERConfig, frames: Mapping[str, int], keeps_scores: bool) -> int:
    """Numbers a member holds for one row while its last and longest encoder runs."""
    width = config.width
    own = [frames[name] for name in config.modalities]
    standardised = sum(frames[name] * dim for name, dim in zip(config.modalities, config.dims, strict=True))
    together = sum(own)
    longest = 2 * together if config.fusion == "deep" else max(own)
    held = _STATES_HELD * width * (together + (together if config.fusion == "deep" else 0))
    layer = longest * max(_ATTENTION_COPIES * width, config.feed_forward + _FEED_FORWARD_COPIES * width)
    scores = _SCORE_COPIES * config.heads * longest * longest if keeps_scores else 0
    return standardised + held + layer + scores
