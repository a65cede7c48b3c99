"""A voice activity detector that tests can reason about: loud is speech."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streaming.audio.segmenter import FRAME_SAMPLES
from streaming.config import VadSettings

LOUD = 0.1


class LoudnessVad:
    """Calls a 20 ms frame speech when its root mean square is above `LOUD`."""

    def __init__(self, settings: VadSettings | None = None) -> None:
        self._rest = np.zeros(0, dtype=np.float32)

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        heard = np.concatenate([self._rest, samples])
        whole = len(heard) // FRAME_SAMPLES * FRAME_SAMPLES
        self._rest = heard[whole:]
        frames = heard[:whole].reshape(-1, FRAME_SAMPLES)
        return (np.sqrt((frames**2).mean(axis=1)) > LOUD).astype(np.float32)


class LateVad(LoudnessVad):
    """The same, but it decides on a frame only when it has heard the four after it."""

    LAG_FRAMES = 4

    def __init__(self, settings: VadSettings | None = None) -> None:
        super().__init__(settings)
        self._held = np.zeros(0, dtype=np.float32)

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        held = np.concatenate([self._held, super().push(samples)])
        ready = max(0, len(held) - self.LAG_FRAMES)
        self._held = held[ready:]
        return held[:ready]
