"""Speaker standardisation: features relative to how this speaker, on this line, has sounded so far.

A microphone, a room and a voice shift acoustic features by more than an emotion does. What is left when the speaker's
own mean and deviation are taken out carries over to voices and rooms that no training clip had. The statistics are
running ones: those of the segments that came before, blended with the training set's as a prior, so that the first
segment of a call is scored too. Members are trained on the same blend.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from models.errors import FeatureError

_LEAST_VARIANCE: Final = 1e-6

Vector = NDArray[np.float64]
Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """How many frames were heard, their sum and their sum of squares."""

    frames: float
    total: Vector
    """`[dim]`."""
    squares: Vector
    """`[dim]`."""
    memory_frames: float = math.inf
    """What was heard weighs at most as many: what was long ago counts less and less."""

    @classmethod
    def of(cls, features: NDArray[np.floating], memory_frames: float = math.inf) -> Self:
        """Of one segment, `[frames, dim]`."""
        wide = features.astype(np.float64)
        return cls(float(wide.shape[0]), wide.sum(axis=0), np.square(wide).sum(axis=0), memory_frames)

    def plus(self, later: Moments) -> Moments:
        """Of both together, as far as memory reaches."""
        frames = self.frames + later.frames
        memory = min(self.memory_frames, later.memory_frames)
        share = min(1.0, memory / frames) if frames > 0 else 1.0
        return Moments(
            frames * share, (self.total + later.total) * share, (self.squares + later.squares) * share, memory
        )


SpeakerMoments = Mapping[str, Moments]
"""By modality; one that is not there has not been heard."""

UNHEARD: Final[SpeakerMoments] = MappingProxyType({})


def remember(heard: SpeakerMoments, segment: SpeakerMoments) -> SpeakerMoments:
    """What is known of a speaker after one more segment; nothing given is changed."""
    after = dict(heard)
    for modality, moments in segment.items():
        before = heard.get(modality)
        after[modality] = moments if before is None else before.plus(moments)
    return MappingProxyType(after)


@dataclass(frozen=True, slots=True, eq=False)
class SpeakerPrior:
    """What is assumed of a modality before anything was heard of a speaker."""

    mean: Vector
    """`[dim]`, of the training set."""
    deviation: Vector
    """`[dim]`, positive."""
    weight_frames: float
    """How many frames of a speaker weigh as much as the prior."""
    memory_frames: float
    """What was heard weighs at most as many frames."""

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.deviation.shape or not (self.deviation > 0).all():
            raise FeatureError("a speaker prior needs means and positive deviations of one width")
        if self.weight_frames <= 0 or self.memory_frames <= 0:
            raise FeatureError("a speaker prior needs positive weights")

    def standardise(self, features: NDArray[np.floating], heard: Moments | None) -> Features:
        """Features less the blended mean, over the blended deviation.

        Args:
            features: of one segment, `[frames, dim]`.
            heard: of the speaker's earlier segments; None for the first.

        Returns:
            `[frames, dim]`.

        Raises:
            FeatureError: another width than the prior's.
        """
        if features.ndim != 2 or features.shape[1] != self.mean.size:
            raise FeatureError(f"features of shape {features.shape} do not fit a prior of {self.mean.size}")
        mean, deviation = self.mean, self.deviation
        if heard is not None and heard.frames > 0:
            weight = self.weight_frames + heard.frames
            mean = (self.weight_frames * self.mean + heard.total) / weight
            second = (self.weight_frames * (self.deviation**2 + self.mean**2) + heard.squares) / weight
            deviation = np.sqrt(np.maximum(second - mean**2, _LEAST_VARIANCE))
        return np.asarray((features - mean) / deviation, dtype=np.float32)


class SpeakerStandardisation:
    """The priors of a bundle, by modality; modalities without one are left as they are."""

    def __init__(self, priors: Mapping[str, SpeakerPrior]) -> None:
        """Takes the priors."""
        self.priors: Mapping[str, SpeakerPrior] = MappingProxyType(dict(priors))

    def standardise(self, modality: str, features: Features, heard: SpeakerMoments) -> Features:
        """One segment's features of one modality, `[frames, dim]`, at the members' rate."""
        prior = self.priors.get(modality)
        return features if prior is None else prior.standardise(features, heard.get(modality))

    def moments(self, modality: str, features: Features) -> Moments | None:
        """What a segment adds to what is known of its speaker; None where the modality has no prior."""
        prior = self.priors.get(modality)
        return None if prior is None else Moments.of(features, prior.memory_frames)
