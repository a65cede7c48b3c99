"""What was heard of a speaker before: running statistics for evaluation, chance histories for training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models.speaker import UNHEARD, Moments, SpeakerMoments, SpeakerPrior, SpeakerStandardisation, remember
from trainer.recipe import SpeakerRecipe

LONGEST_HISTORY: Final = 20
"""Segments; what lies further back hardly counts."""
FIRST_SEGMENT_SHARE: Final = 0.15
"""How often training sees a segment as its speaker's first."""
RUNNING_SEED: Final = 0
"""Of the order in which evaluation hears a speaker's clips."""


class Heard(Protocol):
    """What a history needs of an example."""

    @property
    def channel(self) -> str:
        """Who speaks, over which line."""
        ...

    @property
    def moments(self) -> SpeakerMoments:
        """What the example adds to what is known of the speaker."""
        ...


class SpeakerHistory:
    """Earlier segments of every example's speaker.

    Evaluation hears each speaker's clips once, in one order drawn from a fixed seed, as a call would bring them: only
    what came before counts. Training draws another history each time, so that members know speakers well and little.
    """

    def __init__(self, examples: Sequence[Heard]) -> None:
        """Sorts examples by speaker.

        Args:
            examples: all of a set.
        """
        self._examples = examples
        self._of_speaker: Mapping[str, list[int]] = defaultdict(list)
        for position, example in enumerate(examples):
            if example.moments:
                self._of_speaker[example.channel].append(position)
        self._running: list[SpeakerMoments] = [UNHEARD] * len(examples)
        rng = np.random.default_rng(RUNNING_SEED)
        for speaker in sorted(self._of_speaker):
            heard = UNHEARD
            for position in rng.permutation(self._of_speaker[speaker]):
                self._running[position] = heard
                heard = remember(heard, examples[position].moments)

    def running(self, position: int) -> SpeakerMoments:
        """What was heard of the speaker before this example, in the order of the evaluation."""
        return self._running[position]

    def drawn(self, position: int, rng: np.random.Generator) -> SpeakerMoments:
        """What might have been heard before: some of the speaker's other examples, or none."""
        others = self._of_speaker.get(self._examples[position].channel, ())
        if len(others) < 2 or rng.random() < FIRST_SEGMENT_SHARE:
            return UNHEARD
        count = int(rng.integers(1, LONGEST_HISTORY + 1))
        heard = UNHEARD
        for other in rng.choice(others, size=min(count, len(others)), replace=False):
            if other != position:
                heard = remember(heard, self._examples[other].moments)
        return heard


def fit_priors(
    examples: Sequence[Heard], recipe: Mapping[str, SpeakerRecipe], dims: Mapping[str, int]
) -> SpeakerStandardisation:
    """Priors from a training split.

    Args:
        examples: of the training split alone.
        recipe: which modalities, and how much the prior weighs.
        dims: features a frame, by modality.
    """
    priors: dict[str, SpeakerPrior] = {}
    for modality, entry in recipe.items():
        heard = [e.moments[modality] for e in examples if modality in e.moments]
        mean: NDArray[np.float64] = np.zeros(dims[modality])
        deviation = np.ones(dims[modality])
        if heard:
            frames = sum(moments.frames for moments in heard)
            mean = np.sum([moments.total for moments in heard], axis=0) / frames
            second = np.sum([moments.squares for moments in heard], axis=0) / frames
            deviation = np.sqrt(np.maximum(second - mean**2, 1e-6))
        priors[modality] = SpeakerPrior(mean, deviation, entry.weight_frames, entry.memory_frames)
    return SpeakerStandardisation(priors)


def moments_of(
    features: Mapping[str, NDArray[np.float16] | None], recipe: Mapping[str, SpeakerRecipe]
) -> dict[str, Moments]:
    """Moments of one example's features, for the modalities that are standardised to the speaker."""
    found: dict[str, Moments] = {}
    for modality, entry in recipe.items():
        values = features.get(modality)
        if values is not None and len(values):
            found[modality] = Moments.of(values, entry.memory_frames)
    return found
