"""The log-mel spectrogram that Whisper reads, of a segment padded to its window; neither PyTorch nor transformers."""

from __future__ import annotations

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from models.errors import FeatureError
from models.windows import LONGEST_WINDOW_S, MEL_HOP_SAMPLES, SAMPLE_RATE_HZ


class LogMel:
    """Makes spectrograms of one number of bands; thread-safe."""

    def __init__(self, bands: int) -> None:
        """Prepares the filters.

        Args:
            bands: of the mel scale.
        """
        self.bands = bands
        self._extract = FeatureExtractor(feature_size=bands)

    def of(self, samples: NDArray[np.float32], window_s: float) -> NDArray[np.float32]:
        """Log-mel spectrogram of a segment padded with silence to its window.

        Args:
            samples: `[samples]`, 16 kHz mono.
            window_s: window length in seconds.

        Returns:
            `[mel bands, window frames]` at 100 Hz, the frame count even.

        Raises:
            FeatureError: no audio, audio that is not finite, or longer than the window.
        """
        room = round(window_s * SAMPLE_RATE_HZ)
        if samples.ndim != 1 or samples.size == 0:
            raise FeatureError(f"a segment must be a non-empty row of samples, got shape {samples.shape}")
        if samples.size > room or window_s > LONGEST_WINDOW_S:
            raise FeatureError(f"{samples.size} samples do not fit a window of {window_s:g} s")
        if not np.isfinite(samples).all():
            raise FeatureError("the segment holds samples that are not finite")
        padded = np.zeros(room, dtype=np.float32)
        padded[: samples.size] = samples
        frames = room // MEL_HOP_SAMPLES // 2 * 2
        return np.ascontiguousarray(self._extract(padded, padding=0)[:, :frames], dtype=np.float32)
