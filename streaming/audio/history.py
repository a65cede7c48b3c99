"""The latest stretch of a stream, addressed by its position in the whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streaming.errors import StreamingError


class AudioHistory:
    """Samples by their number in the stream, from the oldest kept to the newest."""

    def __init__(self) -> None:
        """Starts empty, at sample 0."""
        self._buffer = np.zeros(0, dtype=np.float32)
        self._start = 0
        self._length = 0

    @property
    def start(self) -> int:
        """The oldest sample kept."""
        return self._start

    @property
    def end(self) -> int:
        """One behind the newest."""
        return self._start + self._length

    def append(self, samples: NDArray[np.float32]) -> None:
        """Takes the next samples."""
        needed = self._length + samples.size
        if needed > self._buffer.size:
            grown = np.zeros(max(needed, 2 * self._length), dtype=np.float32)
            grown[: self._length] = self._buffer[: self._length]
            self._buffer = grown
        self._buffer[self._length : needed] = samples
        self._length = needed

    def drop_before(self, sample: int) -> None:
        """Forgets what lies before `sample`."""
        gone = min(max(0, sample - self._start), self._length)
        if gone:
            kept = self._buffer[gone : self._length].copy()
            self._buffer[: kept.size] = kept
            self._start += gone
            self._length -= gone

    def between(self, start: int, end: int) -> NDArray[np.float32]:
        """A copy of the samples from `start` up to `end`.

        Raises:
            StreamingError: some of them are no longer, or not yet, there.
        """
        if not self._start <= start <= end <= self.end:
            raise StreamingError(f"samples {start} to {end} are not held: {self._start} to {self.end} are")
        return self._buffer[start - self._start : end - self._start].copy()
