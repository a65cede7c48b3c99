"""Any sample rate to 16 kHz, as a stream: state is kept between chunks, so cuts leave no trace."""

from __future__ import annotations

from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from models.windows import SAMPLE_RATE_HZ
from streaming.errors import AudioFormatError

MIN_RATE_HZ: Final = 8_000
MAX_RATE_HZ: Final = 192_000

_TELEPHONE_RATE_HZ: Final = 8_000
"""Here soxr's ordinary engine waits for up to 115 ms of audio at a time. Its engine for varying rates waits for 30 ms,
and at this ratio, a power of two, it is exact; at others it is not."""


def check_rate(rate_hz: int) -> int:
    """The rate, if it is one we read.

    Raises:
        AudioFormatError: it lies outside 8 to 192 kHz.
    """
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioFormatError(f"a rate of {rate_hz} Hz is outside {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    return rate_hz


class StreamResampler:
    """One channel's samples at its own rate to samples at 16 kHz.

    The k-th sample that comes out belongs to the moment k / 16000 s: the filter's delay shows as samples that come
    later, not as samples that are shifted.
    """

    def __init__(self, rate_hz: int) -> None:
        """Starts a stream.

        Args:
            rate_hz: of what is pushed.

        Raises:
            AudioFormatError: outside 8 to 192 kHz.
        """
        self._stream: soxr.ResampleStream | None = None
        if check_rate(rate_hz) != SAMPLE_RATE_HZ:
            prompt = rate_hz == _TELEPHONE_RATE_HZ
            self._stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", vr=prompt)

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resamples a chunk.

        Args:
            samples: `[samples]` at the stream's rate.

        Returns:
            `[samples]` at 16 kHz: all that can be told by now.
        """
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples), dtype=np.float32)

    def flush(self) -> NDArray[np.float32]:
        """Ends the stream and gives what the filter still held; what is pushed next starts another."""
        if self._stream is None:
            return np.zeros(0, dtype=np.float32)
        rest = np.asarray(self._stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True), dtype=np.float32)
        self._stream.clear()
        return rest
