"""Calibration: a temperature that makes confidence mean what it says, and a threshold for claiming nothing."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import FeatureError

_LOWEST: Final = 0.05
_HIGHEST: Final = 20.0
_GOLDEN: Final = (np.sqrt(5.0) - 1) / 2
_STEPS: Final = 60


def negative_log_likelihood(logits: NDArray[np.floating], targets: NDArray[np.floating], temperature: float) -> float:
    """Mean cross-entropy of soft targets under `softmax(logits / temperature)`.

    Args:
        logits: `[examples, labels]`.
        targets: `[examples, labels]`, rows sum to 1.
        temperature: positive.
    """
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    log_probabilities = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return float(-(targets * log_probabilities).sum(axis=1).mean())


def fit_temperature(logits: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
    """The temperature of least cross-entropy (Guo et al. 2017), by golden-section search on its logarithm.

    Args:
        logits: `[examples, labels]`, of speakers nothing was trained on.
        targets: `[examples, labels]`.

    Raises:
        FeatureError: no examples, or shapes that differ.
    """
    if logits.ndim != 2 or logits.shape != targets.shape or not logits.size:
        raise FeatureError(f"calibration needs logits and targets of one shape, got {logits.shape}, {targets.shape}")
    low, high = np.log(_LOWEST), np.log(_HIGHEST)
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if negative_log_likelihood(logits, targets, float(np.exp(left))) < negative_log_likelihood(
            logits, targets, float(np.exp(right))
        ):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def fit_abstention(confidence: NDArray[np.floating], coverage: float) -> float:
    """The confidence below which a share of 1 - `coverage` lies: there the ensemble abstains.

    Args:
        confidence: `[examples]`, of speakers nothing was trained on.
        coverage: share of segments that shall get a label, 0 to 1.

    Raises:
        FeatureError: no examples, or a coverage outside 0 to 1.
    """
    if confidence.size == 0 or not 0 <= coverage <= 1:
        raise FeatureError(f"abstention needs examples and a coverage of 0 to 1, got {confidence.size}, {coverage}")
    return float(np.quantile(confidence, 1 - coverage))
