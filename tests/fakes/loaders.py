"""Backbones that cost nothing, opened by functions that can be handed to another process."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.backbones.registry import BACKBONES
from models.weights import WeightsSettings
from tests.fakes.extractors import FakeExtractor
from trainer.extractors import Clip, Extractor

POISON = "made_up/2"
"""The clip on which `load_poisoned` fails."""
FATAL = "made_up/7"
"""The clip on which `load_deadly` kills its process."""


class _Deadly(FakeExtractor):
    def encode(self, clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
        if any(clip.id == FATAL for clip in clips):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(clips)


def load_poisoned(name: str, weights: WeightsSettings | None) -> Extractor:
    """Fails on one clip."""
    return FakeExtractor(BACKBONES[name].dim, batch=3, poison=frozenset({POISON}))


def load_deadly(name: str, weights: WeightsSettings | None) -> Extractor:
    """Dies on one clip."""
    return _Deadly(BACKBONES[name].dim, batch=1)
