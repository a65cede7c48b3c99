"""Clips cut to their speech, as the live path cuts its segments: training hears what recognition will hear."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.windows import ENCODER_HOP_SAMPLES, SAMPLE_RATE_HZ

LEAD_S: Final = 0.3
"""Kept before speech, as the segmenter's pre-roll."""
TAIL_S: Final = 0.16
"""Kept behind it, as the segmenter's post-roll."""
SPEECH_BELOW_LOUDEST_DB: Final = 35.0
"""Frames this far under the clip's loud frames are taken for silence."""
TRIM_VERSION: Final = 2
"""Raised when the same clip would be cut elsewhere."""

_LOUD_PERCENTILE: Final = 97
_SMOOTHED_FRAMES: Final = 3
_EPSILON: Final = 1e-10


def trim_silence(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The clip from shortly before its first speech to shortly behind its last, by energy.

    Args:
        samples: `[samples]` at 16 kHz.

    Returns:
        A view of them; all of a clip too short to tell.
    """
    frames = samples.size // ENCODER_HOP_SAMPLES
    if frames < _SMOOTHED_FRAMES:
        return samples
    power = np.square(samples[: frames * ENCODER_HOP_SAMPLES].reshape(frames, -1)).mean(axis=1)
    level = 10 * np.log10(power + _EPSILON)
    # Levels are negative: what `np.convolve` adds at the ends, 0 dB, would be the loudest sound of all.
    padded = np.pad(level, _SMOOTHED_FRAMES // 2, mode="edge")
    smooth = np.convolve(padded, np.full(_SMOOTHED_FRAMES, 1 / _SMOOTHED_FRAMES), mode="valid")
    speech = np.flatnonzero(smooth > np.percentile(smooth, _LOUD_PERCENTILE) - SPEECH_BELOW_LOUDEST_DB)
    start = speech[0] * ENCODER_HOP_SAMPLES - round(LEAD_S * SAMPLE_RATE_HZ)
    end = (speech[-1] + 1) * ENCODER_HOP_SAMPLES + round(TAIL_S * SAMPLE_RATE_HZ)
    return samples[max(0, start) : min(samples.size, end)]
