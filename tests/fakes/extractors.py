"""A backbone that costs nothing, for the tests of what surrounds backbones."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.errors import FeatureError
from trainer.extractors import Clip


class FakeExtractor:
    """Gives a frame per 100 ms of audio, or per word, filled with the clip's mean level or the text's length.

    Attributes:
        batches: ids of every batch it was asked for.
    """

    def __init__(self, dim: int, *, batch: int = 4, poison: frozenset[str] = frozenset()) -> None:
        """Takes the width of its features and the ids on which it fails."""
        self.batches: list[list[str]] = []
        self._batch = batch
        self._dim = dim
        self._poison = poison

    def room(self, clip: Clip) -> int:
        """As many as it was told."""
        return self._batch

    def bucket(self, clip: Clip) -> Hashable:
        """One bucket for a second of audio; clips above three seconds fit none."""
        if clip.samples is None:
            return len(clip.text)
        if clip.samples.size > 48_000:
            raise FeatureError(f"{clip.samples.size} samples do not fit")
        return clip.samples.size // 16_000

    def encode(self, clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
        """Fails as a whole where one of the clips is poisonous."""
        self.batches.append([clip.id for clip in clips])
        if any(clip.id in self._poison for clip in clips):
            raise FeatureError("poison")
        return [self._features(clip) for clip in clips]

    def _features(self, clip: Clip) -> NDArray[np.float32]:
        if clip.samples is None:
            return np.full((len(clip.text.split()), self._dim), len(clip.text), dtype=np.float32)
        level = float(np.abs(clip.samples).mean())
        return np.full((-(-clip.samples.size // 1600), self._dim), level, dtype=np.float32)
