"""When audio arrived: the bridge from the audio clock to the wall clock, for latency alone."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import Final

RESOLUTION_S: Final = 0.02
"""One frame of audio. Only the first arrival within a frame is kept, so memory does not depend on how small messages
are; where speech ends is decided in whole frames, so nothing is lost."""
_ROUNDING: Final = 1e-6


class Arrivals:
    """Remembers by when each moment of the audio had been received.

    Args:
        horizon_s: how far back on the audio clock `of` must answer exactly.
    """

    def __init__(self, horizon_s: float) -> None:
        entries = int(horizon_s / RESOLUTION_S) + 1
        self._entries: Final[deque[tuple[float, float]]] = deque(maxlen=entries)

    def record(self, audio_s: float, now_s: float) -> None:
        """Notes that all audio up to `audio_s` has arrived by `now_s`; both never go back."""
        if not self._entries or _frame(audio_s) > _frame(self._entries[-1][0]):
            self._entries.append((audio_s, now_s))

    def of(self, audio_s: float) -> float:
        """The wall-clock moment by which the audio up to `audio_s` had arrived.

        Exact at frame boundaries, up to a frame late between them. Moments after all that was received (padding at the
        end of a stream) count as received last, those before the horizon as received first.

        Raises:
            ValueError: nothing has been recorded.
        """
        if not self._entries:
            raise ValueError("no audio has arrived")
        place = bisect_left(self._entries, audio_s, key=lambda entry: entry[0])
        return self._entries[min(place, len(self._entries) - 1)][1]


def _frame(audio_s: float) -> int:
    return int(audio_s / RESOLUTION_S + _ROUNDING)
