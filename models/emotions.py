"""Emotion label sets as data, and the scores a classifier gives.

The eight classes and their order are those of MSP-Podcast as used by the Interspeech 2025 challenge; the three
attributes are rated on the self-assessment manikin scale from 1 to 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import FeatureError

ATTRIBUTE_NAMES: Final = ("arousal", "valence", "dominance")
ATTRIBUTE_MIN: Final = 1.0
ATTRIBUTE_MAX: Final = 7.0


@dataclass(frozen=True, slots=True)
class LabelSet:
    """An ordered set of emotion classes: position in `names` is position in every score vector."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise FeatureError("a label set needs at least one label")
        if len(set(self.names)) != len(self.names):
            raise FeatureError(f"labels repeat in {self.names}: each may stand once")
        unknown = [name for name in self.names if name not in MSP_NAMES]
        if unknown:
            raise FeatureError(f"unknown labels {unknown}: known ones are {', '.join(MSP_NAMES)}")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def index(self, name: str) -> int:
        """Position of `name` in every score vector.

        Raises:
            FeatureError: `name` is not in the set.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise FeatureError(f"label {name!r} is not one of {', '.join(self.names)}") from None

    def without(self, *names: str) -> LabelSet:
        """The same set, in the same order, less `names`."""
        return LabelSet(tuple(name for name in self.names if name not in names))


MSP_NAMES: Final = ("angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral")
MSP8: Final = LabelSet(MSP_NAMES)


@dataclass(frozen=True, slots=True)
class Attributes:
    """Arousal, valence and dominance, each from 1 (low) to 7 (high)."""

    arousal: float
    valence: float
    dominance: float


@dataclass(frozen=True, slots=True)
class EmotionScores:
    """What the ensemble says of one segment."""

    labels: LabelSet
    probabilities: NDArray[np.float32]
    """Calibrated, `[labels]`, sums to 1."""
    attributes: Attributes
    abstained: bool = False
    """True when `confidence` lies under the bundle's threshold: the scores stand, no label is claimed."""

    @property
    def best(self) -> str:
        """The most probable class, abstained or not."""
        return self.labels.names[int(np.argmax(self.probabilities))]

    @property
    def label(self) -> str | None:
        """The class claimed, or None when the ensemble abstains."""
        return None if self.abstained else self.best

    @property
    def confidence(self) -> float:
        """Calibrated probability of the most probable class."""
        return float(np.max(self.probabilities))

    def as_mapping(self, digits: int = 4) -> dict[str, float]:
        """Probabilities by label, rounded for people and wires."""
        return {name: round(float(p), digits) for name, p in zip(self.labels, self.probabilities, strict=True)}


def soft_target(votes: Sequence[float], labels: LabelSet) -> NDArray[np.float32]:
    """Annotators' votes normalised to a distribution over `labels` (paper, section 2.1).

    Args:
        votes: one non-negative count or weight per label, `[labels]`.
        labels: what the positions mean.

    Raises:
        FeatureError: wrong length, a negative vote, or no vote at all.
    """
    counts = np.asarray(votes, dtype=np.float64)
    if counts.shape != (len(labels),):
        raise FeatureError(f"got {counts.size} votes for {len(labels)} labels")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise FeatureError(f"votes must be finite and not negative, got {counts.tolist()}")
    total = counts.sum()
    if total <= 0:
        raise FeatureError("no annotator voted for any of the labels")
    return np.asarray(counts / total, dtype=np.float32)
