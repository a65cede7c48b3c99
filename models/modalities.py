"""Modalities, and the one way variable-length input travels: padded, with its lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.audio_batches import AudioBatch, MelBatch
from models.errors import FeatureError

SPECIAL_TOKENS: Final = 2
"""One opens a text, one closes it."""


@dataclass(frozen=True, slots=True)
class Modality:
    """One stream of features that members can read."""

    name: str
    """How members and inputs refer to it: `acoustic`, `prosody`, `text`."""
    kind: Literal["acoustic", "linguistic"]
    backbone: str
    """Name of the frozen encoder in the backbone registry."""
    dim: int
    """Features a frame or token, as the ensemble reads it."""
    stride: int = 1
    """Frames made one before the ensemble sees them (1 keeps the backbone's own rate)."""
    deviations: bool = False
    """Whether the deviations within those frames stand beside their means: the backbone gives half of `dim` then."""

    def group(self, sequence: NDArray[np.float32]) -> NDArray[np.float32]:
        """From what the backbone gives to what the ensemble reads, see `group_frames`."""
        return group_frames(sequence, self.stride, self.deviations)


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """Sequences of different lengths side by side; a length of 0 says that the modality is missing there."""

    features: NDArray[np.float32]
    """`[batch, time, dim]`, zeros where there is padding; time is at least 1."""
    lengths: NDArray[np.int64]
    """`[batch]`, real frames or tokens of each sequence."""

    def __post_init__(self) -> None:
        if self.features.ndim != 3 or self.lengths.shape != (self.features.shape[0],):
            raise FeatureError(
                f"features must be [batch, time, dim] and lengths [batch], got {self.features.shape} "
                f"and {self.lengths.shape}"
            )
        if self.features.shape[1] < 1:
            raise FeatureError("a padded batch needs at least one frame of room, even where all is missing")
        if (self.lengths < 0).any() or (self.lengths > self.features.shape[1]).any():
            raise FeatureError(f"lengths {self.lengths.tolist()} do not fit {self.features.shape[1]} frames")

    @property
    def sequence(self) -> NDArray[np.float32]:
        """What is laid side by side."""
        return self.features

    def rows(self, start: int, stop: int) -> PaddedBatch:
        """Some of the sequences; nothing is copied."""
        return PaddedBatch(self.features[start:stop], self.lengths[start:stop])

    @property
    def mask(self) -> NDArray[np.bool_]:
        """`[batch, time]`, True on real frames."""
        return np.asarray(np.arange(self.features.shape[1])[None, :] < self.lengths[:, None])

    def __len__(self) -> int:
        return int(self.features.shape[0])


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Texts of different lengths side by side, for an engine that has the text encoder inside."""

    tokens: NDArray[np.int64]
    """`[batch, time]`, each text between the special tokens that open and close it, zeros where there is padding."""
    lengths: NDArray[np.int64]
    """`[batch]`, tokens between the special ones; 0 says that the text is missing."""

    def __post_init__(self) -> None:
        if self.tokens.ndim != 2 or self.lengths.shape != (self.tokens.shape[0],):
            raise FeatureError(
                f"tokens must be [batch, time] and lengths [batch], got {self.tokens.shape} and {self.lengths.shape}"
            )
        if self.tokens.shape[1] < SPECIAL_TOKENS + 1:
            raise FeatureError("a batch of tokens needs room for one token between those that open and close it")
        if (self.lengths < 0).any() or (self.lengths > self.tokens.shape[1] - SPECIAL_TOKENS).any():
            raise FeatureError(f"lengths {self.lengths.tolist()} do not fit {self.tokens.shape[1]} tokens")

    @property
    def sequence(self) -> NDArray[np.int64]:
        """What is laid side by side."""
        return self.tokens

    def rows(self, start: int, stop: int) -> TokenBatch:
        """Some of the texts; nothing is copied."""
        return TokenBatch(self.tokens[start:stop], self.lengths[start:stop])

    def __len__(self) -> int:
        return int(self.tokens.shape[0])


EngineBatch = PaddedBatch | TokenBatch | AudioBatch | MelBatch
"""What an engine reads of one modality: features, or what an encoder makes them of that stands inside."""

EngineInputs = Mapping[str, EngineBatch]
"""What an engine reads, by modality, all of one batch size."""


def pad_tokens(sequences: Sequence[NDArray[np.int64] | None]) -> TokenBatch:
    """Lays texts side by side.

    Args:
        sequences: each `[tokens]` with the special tokens that open and close it, or None where the text is missing.

    Raises:
        FeatureError: a sequence is no row of tokens, or too short to be opened and closed.
    """
    lengths = np.zeros(len(sequences), dtype=np.int64)
    room = SPECIAL_TOKENS + 1
    for row, sequence in enumerate(sequences):
        if sequence is None:
            continue
        if sequence.ndim != 1 or sequence.size < SPECIAL_TOKENS:
            raise FeatureError(
                f"sequence {row} has shape {sequence.shape}, expected at least [{SPECIAL_TOKENS}] tokens"
            )
        lengths[row] = sequence.size - SPECIAL_TOKENS
        room = max(room, sequence.size)
    tokens = np.zeros((len(sequences), room), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        if sequence is not None:
            tokens[row, : sequence.size] = sequence
    return TokenBatch(tokens, lengths)


def pad(sequences: Sequence[NDArray[np.float32] | None], dim: int, *, time: int | None = None) -> PaddedBatch:
    """Lays sequences side by side.

    Args:
        sequences: each `[frames, dim]`, or None where the modality is missing.
        dim: features a frame.
        time: room to pad to; the longest sequence by default.

    Raises:
        FeatureError: a sequence has another width, or does not fit into `time`.
    """
    lengths = np.array([0 if s is None else s.shape[0] for s in sequences], dtype=np.int64)
    longest = int(lengths.max(initial=0))
    room = max(1, longest if time is None else time)
    if longest > room:
        raise FeatureError(f"a sequence of {longest} frames does not fit into {room}")
    features = np.zeros((len(sequences), room, dim), dtype=np.float32)
    for row, sequence in enumerate(sequences):
        if sequence is None:
            continue
        if sequence.ndim != 2 or sequence.shape[1] != dim:
            raise FeatureError(f"sequence {row} has shape {sequence.shape}, expected [frames, {dim}]")
        features[row, : sequence.shape[0]] = sequence
    return PaddedBatch(features, lengths)


def grouped_width(dim: int, deviations: bool) -> int:
    """Features a frame after `group_frames`."""
    return 2 * dim if deviations else dim


def group_frames(sequence: NDArray[np.float32], stride: int, deviations: bool = False) -> NDArray[np.float32]:
    """Makes one frame of every `stride`: their mean and, beside it, how far they lie from it; the last may hold fewer.

    Args:
        sequence: `[frames, dim]`.
        stride: frames a group, at least 1.
        deviations: whether each feature's standard deviation within the group follows the means.

    Returns:
        `[ceil(frames / stride), dim]`, twice as wide with deviations.

    Raises:
        FeatureError: a stride below 1, or of 1 with deviations: a single frame has none.
    """
    if stride < 1:
        raise FeatureError(f"stride must be at least 1, got {stride}")
    if deviations and stride == 1:
        raise FeatureError("deviations need a stride of 2 at least: a single frame has none")
    frames = sequence.shape[0]
    if stride == 1:
        return sequence
    if frames == 0:
        return np.zeros((0, grouped_width(sequence.shape[1], deviations)), dtype=np.float32)
    starts = np.arange(0, frames, stride)
    counts = np.diff(np.append(starts, frames))
    weights = counts.astype(np.float32)[:, None]
    own = sequence.astype(np.float32, copy=False)
    means = np.add.reduceat(own, starts, axis=0) / weights
    if not deviations:
        return np.asarray(means, dtype=np.float32)
    squares = np.square(own - np.repeat(means, counts, axis=0))
    spread = np.sqrt(np.add.reduceat(squares, starts, axis=0) / weights)
    return np.concatenate([means, spread], axis=1, dtype=np.float32)
