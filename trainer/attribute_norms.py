"""Weak attribute targets for corpora that nobody rated: published norms of emotion words.

Russell and Mehrabian (1977, "Evidence for a three-factor theory of emotions") had people rate emotion words on
pleasure, arousal and dominance, each -1 to 1. They stand in for ratings where a corpus has none, mapped onto the 1 to
7 scale. A bundle trained with them says so: its attributes are what the words for the classes mean, not what raters
heard.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN, LabelSet

SOURCE: Final = "norms of emotion words (Russell and Mehrabian, 1977), not ratings of these recordings"

# Arousal, valence (pleasure), dominance. Contempt has none here and leaves the attributes unknown.
NORMS: Final[Mapping[str, tuple[float, float, float]]] = MappingProxyType(
    {
        "angry": (0.59, -0.51, 0.25),
        "sad": (-0.27, -0.63, -0.33),
        "happy": (0.51, 0.81, 0.46),
        "surprise": (0.67, 0.40, -0.13),
        "fear": (0.60, -0.64, -0.43),
        "disgust": (0.35, -0.60, 0.11),
        "neutral": (0.0, 0.0, 0.0),
    }
)


def attributes_of(target: NDArray[np.float32], labels: LabelSet) -> NDArray[np.float32] | None:
    """The norm of a soft target: the mean of its classes' norms, weighted by it.

    Args:
        target: `[labels]`, sums to 1.
        labels: what the positions mean.

    Returns:
        `[3]` on the scale of 1 to 7, or None where a class with weight has no norm.
    """
    weighted = np.zeros(3, dtype=np.float64)
    for share, name in zip(target, labels, strict=True):
        if share <= 0:
            continue
        if name not in NORMS:
            return None
        weighted += float(share) * np.array(NORMS[name])
    centre = (ATTRIBUTE_MAX + ATTRIBUTE_MIN) / 2
    return np.asarray(centre + weighted * (ATTRIBUTE_MAX - ATTRIBUTE_MIN) / 2, dtype=np.float32)
