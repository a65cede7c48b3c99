"""From the features of single segments to what an engine reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.errors import FeatureError
from models.modalities import EngineInputs, Modality, PaddedBatch, TokenBatch, pad, pad_tokens

Features = NDArray[np.float32]


def prepare(
    segments: Mapping[str, Sequence[Features | None]], modalities: Sequence[Modality]
) -> dict[str, PaddedBatch]:
    """Groups frames by each modality's stride and lays the segments side by side.

    Args:
        segments: per modality one entry a segment, `[frames, dim]` at the backbone's own rate, or None where it is
            missing.
        modalities: what the engine reads; one that `segments` does not name is missing everywhere.

    Returns:
        A padded batch for every modality.

    Raises:
        FeatureError: an unknown modality, or lists of different lengths.
    """
    known = {modality.name for modality in modalities}
    unknown = segments.keys() - known
    if unknown:
        raise FeatureError(f"unknown modalities {sorted(unknown)}: the engine reads {', '.join(sorted(known))}")
    sizes = {len(rows) for rows in segments.values()}
    if len(sizes) != 1:
        raise FeatureError("every modality needs one entry a segment, and there must be one modality at least")
    size = sizes.pop()
    batches: dict[str, PaddedBatch] = {}
    for modality in modalities:
        rows = segments.get(modality.name) or [None] * size
        grouped = [None if row is None or not len(row) else modality.group(row) for row in rows]
        batches[modality.name] = pad(grouped, modality.dim)
    return batches


def complete(
    inputs: EngineInputs, modalities: Sequence[Modality], reads_tokens: frozenset[str] = frozenset()
) -> dict[str, PaddedBatch | TokenBatch]:
    """Checks an engine's inputs and fills in modalities that were left out as missing.

    Args:
        inputs: per modality a batch, all of one size.
        modalities: what the engine reads.
        reads_tokens: those of them that it reads as tokens; the others are features.

    Raises:
        FeatureError: an unknown modality, features for tokens or the other way round, a wrong width or type, values
            that are not finite, batches of different sizes, or a row with nothing to read.
    """
    dims = {modality.name: modality.dim for modality in modalities}
    for name, batch in inputs.items():
        if name not in dims:
            raise FeatureError(f"unknown modality {name!r}: the engine reads {', '.join(dims)}")
        if isinstance(batch, TokenBatch) != (name in reads_tokens):
            wanted = "tokens" if name in reads_tokens else "features"
            raise FeatureError(f"{name} is read as {wanted} by this engine")
        if isinstance(batch, TokenBatch):
            _check_tokens(name, batch)
        else:
            _check_features(name, batch, dims[name])
    sizes = {len(batch) for batch in inputs.values()}
    if len(sizes) != 1:
        raise FeatureError(f"modalities must share one batch size, got {sorted(sizes) or 'no modality at all'}")
    nothing: list[None] = [None] * sizes.pop()
    full = {
        name: inputs.get(name) or (pad_tokens(nothing) if name in reads_tokens else pad(nothing, dim))
        for name, dim in dims.items()
    }
    empty = np.flatnonzero(np.sum([batch.lengths for batch in full.values()], axis=0) == 0)
    if empty.size:
        raise FeatureError(f"row {empty[0]} has no modality at all: there is nothing to score")
    return full


def complete_features(inputs: EngineInputs, modalities: Sequence[Modality]) -> dict[str, PaddedBatch]:
    """As `complete`, for an engine that reads features alone."""
    full = complete(inputs, modalities)
    return {name: batch for name, batch in full.items() if isinstance(batch, PaddedBatch)}


def _check_tokens(name: str, batch: TokenBatch) -> None:
    if batch.tokens.dtype != np.int64 or batch.lengths.dtype != np.int64:
        raise FeatureError(f"{name} must be int64 tokens with int64 lengths")
    if (batch.tokens < 0).any():
        raise FeatureError(f"{name} holds a negative token")


def _check_features(name: str, batch: PaddedBatch, dim: int) -> None:
    if batch.features.shape[2] != dim:
        raise FeatureError(f"{name} has {batch.features.shape[2]} features a frame, the engine reads {dim}")
    if batch.features.dtype != np.float32 or batch.lengths.dtype != np.int64:
        raise FeatureError(f"{name} must be float32 with int64 lengths")
    broken = np.flatnonzero(~np.isfinite(batch.features).all(axis=(1, 2)))
    if broken.size:
        raise FeatureError(f"{name} holds values that are not finite in row {broken[0]}")
