"""Few shapes for many batches: sizes are rounded up, so that an engine can be prepared for every shape it meets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import EngineError
from models.modalities import PaddedBatch

BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
# Multiples of 8, and so are their sums: kernels of attention read masks in vectors of so many.
FRAMES: Final = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A shape that batches are padded to."""

    rows: int
    frames: tuple[int, ...]
    """Of each modality, in the engine's order."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """The shapes there are."""

    batch_sizes: tuple[int, ...] = BATCH_SIZES
    """Rows, ascending; a larger batch has to be divided, see `divide`."""
    frames: tuple[int, ...] = FRAMES
    """Frames of any modality, ascending; what is longer than the last is rounded up to a multiple of it."""

    def __post_init__(self) -> None:
        for name in ("batch_sizes", "frames"):
            steps = getattr(self, name)
            if not steps or steps[0] < 1 or any(b <= a for a, b in pairwise(steps)):
                raise EngineError(f"{name} of buckets must be positive and ascend, got {list(steps)}")

    def bucket(self, batches: Sequence[PaddedBatch]) -> Bucket:
        """The smallest that holds all real frames.

        Args:
            batches: of every modality, in the engine's order, all of one size.

        Raises:
            EngineError: there are more rows than the largest bucket has.
        """
        rows = len(batches[0])
        if rows > self.batch_sizes[-1]:
            raise EngineError(f"a batch of {rows} does not fit: the largest bucket has {self.batch_sizes[-1]} rows")
        longest = (int(batch.lengths.max(initial=0)) for batch in batches)
        return Bucket(self.batch_sizes[bisect_left(self.batch_sizes, rows)], tuple(map(self._frames, longest)))

    def divide(self, rows: int) -> list[slice]:
        """Parts that each fit, in order; one where all fits together."""
        most = self.batch_sizes[-1]
        return [slice(start, min(start + most, rows)) for start in range(0, max(rows, 1), most)]

    def _frames(self, longest: int) -> int:
        last = self.frames[-1]
        if longest > last:
            return -(-longest // last) * last
        return self.frames[bisect_left(self.frames, longest)]


def fill(features: NDArray[np.float32], lengths: NDArray[np.int64], batch: PaddedBatch) -> None:
    """Lays a batch into the room of a bucket; rows behind it become examples without the modality.

    Args:
        features: `[rows, frames, dim]`, to be written.
        lengths: `[rows]`, to be written.
        batch: no more rows, and no more real frames, than there is room for.
    """
    rows = len(batch)
    kept = min(batch.features.shape[1], features.shape[1])
    features[:rows, :kept] = batch.features[:, :kept]
    # Nothing attends to it, but a product with zero is zero for finite numbers only.
    features[:rows, kept:] = 0.0
    features[rows:] = 0.0
    lengths[:rows] = batch.lengths
    lengths[rows:] = 0
