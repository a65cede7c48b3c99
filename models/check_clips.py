"""Clips that travel with a bundle, so that engines are checked on what members read in earnest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_safetensors

from models.bundle_files import read_tensors
from models.errors import BundleError
from models.modalities import SPECIAL_TOKENS, Modality, PaddedBatch, TokenBatch, pad, pad_tokens

BATCH_CLIPS: Final = 32
"""Most clips in a batch."""

_FEATURES, _TOKENS, _LENGTHS = "features", "tokens", "lengths"


@dataclass(frozen=True, slots=True, eq=False)
class CheckClips:
    """What members read of some clips: features, brought relative to the speaker, or the tokens of what was said.

    A modality stands either in `features` or in `tokens`.
    """

    features: Mapping[str, Sequence[NDArray[np.float16] | None]]
    """By modality and clip `[frames, dim]`; None where it is missing."""
    tokens: Mapping[str, Sequence[NDArray[np.int64] | None]] = field(default_factory=lambda: MappingProxyType({}))
    """By modality and clip `[tokens]`, opened and closed by special tokens; None where there is no text."""

    def __post_init__(self) -> None:
        both = sorted(self.features.keys() & self.tokens.keys())
        if both:
            raise BundleError(f"clips hold {both[0]} as features and as tokens: one of them is read")
        counts = {len(rows) for rows in self._rows.values()}
        if len(counts) != 1:
            raise BundleError(f"clips need one entry a clip in every modality, got {sorted(counts) or 'no modality'}")
        for clip, held in enumerate(zip(*self._rows.values(), strict=True)):
            if all(row is None for row in held):
                raise BundleError(f"clip {clip} has no modality at all: there is nothing to score")

    def __len__(self) -> int:
        return len(next(iter(self._rows.values())))

    @property
    def _rows(self) -> Mapping[str, Sequence[NDArray[Any] | None]]:
        return {**self.features, **self.tokens}

    def without(self, names: Collection[str]) -> CheckClips | None:
        """The clips that are left when some modalities cannot be read; None where that is none."""
        features = {name: rows for name, rows in self.features.items() if name not in names}
        tokens = {name: rows for name, rows in self.tokens.items() if name not in names}
        readable = [
            clip
            for clip in range(len(self))
            if any(rows[clip] is not None for rows in [*features.values(), *tokens.values()])
        ]
        if not readable:
            return None
        return CheckClips(
            {name: [rows[clip] for clip in readable] for name, rows in features.items()},
            {name: [rows[clip] for clip in readable] for name, rows in tokens.items()},
        )

    def inputs(
        self, modalities: Sequence[Modality], batch_clips: int = BATCH_CLIPS
    ) -> Iterator[dict[str, PaddedBatch | TokenBatch]]:
        """Batches, short clips before long ones so that little is padding.

        Args:
            modalities: of the bundle.
            batch_clips: most clips in one.

        Yields:
            Per modality that is stored a batch: features, or tokens where those are stored.

        Raises:
            FeatureError: features are of another width than the bundle's.
        """
        dims = {modality.name: modality.dim for modality in modalities}
        longest = [
            max(0 if row is None else len(row) for row in held) for held in zip(*self._rows.values(), strict=True)
        ]
        order = np.argsort(longest, kind="stable")
        for start in range(0, len(order), batch_clips):
            chosen = order[start : start + batch_clips]
            batch: dict[str, PaddedBatch | TokenBatch] = {
                name: pad([_single(rows[clip]) for clip in chosen], dims[name]) for name, rows in self.features.items()
            }
            batch |= {name: pad_tokens([rows[clip] for clip in chosen]) for name, rows in self.tokens.items()}
            yield batch


def write_check_clips(path: Path, clips: CheckClips, modalities: Sequence[Modality]) -> None:
    """Writes clips as safetensors: of each modality all clips one behind the other, and how long each is.

    Args:
        path: where.
        clips: of every modality.
        modalities: of the bundle.
    """
    tensors: dict[str, NDArray[Any]] = {}
    for modality in modalities:
        name = modality.name
        if name in clips.tokens:
            texts = clips.tokens[name]
            lengths = [0 if text is None else text.size - SPECIAL_TOKENS for text in texts]
            stored = [text for text in texts if text is not None and text.size > SPECIAL_TOKENS]
            tensors[f"{name}_{_TOKENS}"] = np.concatenate([np.zeros(0, np.int32), *stored]).astype(np.int32)
        elif name in clips.features:
            rows = clips.features[name]
            lengths = [0 if row is None else len(row) for row in rows]
            frames = [np.zeros((0, modality.dim), np.float16), *(row for row in rows if row is not None)]
            tensors[f"{name}_{_FEATURES}"] = np.concatenate(frames).astype(np.float16)
        else:
            raise BundleError(f"clips lack modality {name}, which members read")
        tensors[f"{name}_{_LENGTHS}"] = np.array(lengths, dtype=np.int64)
    path.write_bytes(save_safetensors(tensors))


def read_check_clips(path: Path, modalities: Sequence[Modality]) -> CheckClips:
    """Reads clips and checks that a bundle's members can read them.

    Args:
        path: of the file.
        modalities: of the bundle.

    Raises:
        BundleError: it is no such file, lacks a modality, or its tensors fit neither each other nor the bundle.
    """
    tensors = read_tensors(path, integers=True)
    reader = _Reader(path, tensors)
    features: dict[str, list[NDArray[np.float16] | None]] = {}
    tokens: dict[str, list[NDArray[np.int64] | None]] = {}
    for modality in modalities:
        if modality.kind == "linguistic" and f"{modality.name}_{_TOKENS}" in tensors:
            tokens[modality.name] = reader.tokens(modality.name)
        else:
            features[modality.name] = reader.features(modality)
    if reader.left:
        raise BundleError(f"{path}: tensor {sorted(reader.left)[0]} is of no modality that members read")
    try:
        return CheckClips(features, tokens)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error


class _Reader:
    """Takes the file's tensors apart."""

    def __init__(self, path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._path = path
        self._tensors = tensors
        self.left = set(tensors)
        """Tensors that nobody asked for."""

    def features(self, modality: Modality) -> list[NDArray[np.float16] | None]:
        name = f"{modality.name}_{_FEATURES}"
        frames = self._take(name, np.float16)
        lengths = self._lengths(modality.name)
        if frames.ndim != 2 or frames.shape != (lengths.sum(), modality.dim):
            raise BundleError(
                f"{self._path}: tensor {name} has shape {frames.shape}, expected {(int(lengths.sum()), modality.dim)}"
            )
        return _apart(frames, lengths)

    def tokens(self, modality: str) -> list[NDArray[np.int64] | None]:
        name = f"{modality}_{_TOKENS}"
        tokens = self._take(name, np.integer)
        lengths = self._lengths(modality)
        # Of a text that is missing there are no special tokens either.
        sizes = np.where(lengths > 0, lengths + SPECIAL_TOKENS, 0)
        if tokens.shape != (sizes.sum(),):
            raise BundleError(f"{self._path}: tensor {name} has shape {tokens.shape}, expected {(int(sizes.sum()),)}")
        if (tokens < 0).any():
            raise BundleError(f"{self._path}: tensor {name} holds a negative token")
        return _apart(tokens.astype(np.int64), sizes)

    def _lengths(self, modality: str) -> NDArray[np.int64]:
        name = f"{modality}_{_LENGTHS}"
        lengths = self._take(name, np.integer)
        if lengths.ndim != 1 or (lengths < 0).any():
            raise BundleError(f"{self._path}: tensor {name} must hold a length a clip, 0 or more")
        return lengths.astype(np.int64)

    def _take(self, name: str, kind: type[np.float16] | type[np.integer[Any]]) -> NDArray[Any]:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise BundleError(f"{self._path}: tensor {name} is missing")
        if not np.issubdtype(tensor.dtype, kind):
            raise BundleError(f"{self._path}: tensor {name} holds {tensor.dtype}, expected {kind.__name__}")
        self.left.discard(name)
        return tensor


def _apart(behind: NDArray[Any], sizes: NDArray[np.int64]) -> list[NDArray[Any] | None]:
    """Clips that lie one behind the other, each by itself."""
    ends = np.cumsum(sizes)
    return [behind[end - size : end] if size else None for end, size in zip(ends, sizes, strict=True)]


def _single(row: NDArray[np.float16] | None) -> NDArray[np.float32] | None:
    return None if row is None else row.astype(np.float32)
