"""Which of a channel's latest frames were speech, so that the speech inside a segment can be told from its margins."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streaming.audio.segmenter import FRAME_SAMPLES


class VoicedFrames:
    """Remembers the detector's decision for each frame, back to a horizon.

    Args:
        horizon_samples: how far back `span` must answer exactly.
    """

    def __init__(self, horizon_samples: int) -> None:
        self._kept: Final = horizon_samples // FRAME_SAMPLES + 1
        self._voiced: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._first_frame = 0

    def push(self, voiced: NDArray[np.bool_]) -> None:
        """Takes the decisions for the next `[frames]`."""
        self._voiced = np.concatenate([self._voiced, voiced])
        surplus = max(0, len(self._voiced) - self._kept - len(voiced))
        self._voiced = self._voiced[surplus:]
        self._first_frame += surplus

    def span(self, start_sample: int, end_sample: int) -> tuple[int, int]:
        """First and one past the last sample of speech in a range, in whole frames but never outside the range.

        The range itself where no frame in it is known to be speech.
        """
        first = start_sample // FRAME_SAMPLES - self._first_frame
        past = -(-end_sample // FRAME_SAMPLES) - self._first_frame
        found = np.flatnonzero(self._voiced[max(0, first) : max(0, past)])
        if not len(found):
            return start_sample, end_sample
        offset = self._first_frame + max(0, first)
        begin, end = offset + int(found[0]), offset + int(found[-1]) + 1
        return max(start_sample, begin * FRAME_SAMPLES), min(end_sample, end * FRAME_SAMPLES)
