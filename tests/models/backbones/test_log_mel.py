"""The spectrogram that Whisper reads, made without PyTorch and transformers."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import WhisperFeatureExtractor

from models.backbones.log_mel import LogMel
from models.errors import FeatureError
from models.windows import SAMPLE_RATE_HZ


@pytest.mark.parametrize("bands", [8, 80, 128])
@pytest.mark.parametrize("window_s", [3.0, 30.0])
def test_it_is_that_of_whispers_own_preprocessor(bands: int, window_s: float) -> None:
    samples = np.random.default_rng(0).normal(scale=0.1, size=27_001).astype(np.float32)
    theirs = WhisperFeatureExtractor(feature_size=bands)(
        samples,
        sampling_rate=SAMPLE_RATE_HZ,
        padding="max_length",
        max_length=round(window_s * SAMPLE_RATE_HZ),
        truncation=False,
        return_tensors="np",
    )["input_features"][0]
    found = LogMel(bands).of(samples, window_s)
    assert found.shape == (bands, window_s * 100)
    np.testing.assert_allclose(found, theirs, atol=1e-4)


def test_of_a_window_of_an_odd_number_of_frames_the_last_is_left_out() -> None:
    assert LogMel(8).of(np.ones(100, dtype=np.float32), 0.51).shape == (8, 50)


@pytest.mark.parametrize(
    ("samples", "window_s", "message"),
    [
        (np.zeros(0, dtype=np.float32), 1.0, "non-empty row of samples"),
        (np.zeros((2, 3), dtype=np.float32), 1.0, "non-empty row of samples"),
        (np.zeros(16_001, dtype=np.float32), 1.0, "16001 samples do not fit a window of 1 s"),
        (np.zeros(10, dtype=np.float32), 31.0, "do not fit a window of 31 s"),
        (np.full(10, np.nan, dtype=np.float32), 1.0, "not finite"),
    ],
)
def test_what_cannot_be_made_one_of_is_refused(
    samples: np.ndarray[tuple[int, ...], np.dtype[np.float32]], window_s: float, message: str
) -> None:
    with pytest.raises(FeatureError, match=message):
        LogMel(8).of(samples, window_s)
