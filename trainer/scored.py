"""Predictions and truth of a set, before they are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.emotions import LabelSet
from trainer.aggregation import AGGREGATIONS, ENSEMBLE
from trainer.dataset import TrainingSet
from trainer.recipe import Recipe
from trainer.results import Result, restrict
from trainer.results import score as measure


@dataclass(frozen=True, slots=True)
class Scored:
    """What every model says of a set, and what is true; all in one order, an id each."""

    ids: list[str]
    speakers: list[str]
    labels: LabelSet
    true: NDArray[np.int64]
    """`[examples]`, over `labels`."""
    speech_s: NDArray[np.float64]
    """`[examples]`, see `speech_seconds`."""
    abstain_below: NDArray[np.float64]
    """`[examples]`, threshold of the ensemble that scored each."""
    probabilities: dict[str, NDArray[np.float64]]
    """By model, each `[examples, labels]`: the ensemble, its members, other aggregations of them."""

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the members."""
        return tuple(name for name in self.probabilities if name != ENSEMBLE and name not in AGGREGATIONS)

    @property
    def present(self) -> LabelSet:
        """The classes the set has, in the order of its labels."""
        return LabelSet(tuple(name for i, name in enumerate(self.labels) if (self.true == i).any()))

    def select(self, positions: Sequence[int]) -> Scored:
        """The examples at these positions, in that order."""
        at = np.asarray(positions, dtype=np.int64)
        return Scored(
            [self.ids[i] for i in at],
            [self.speakers[i] for i in at],
            self.labels,
            self.true[at],
            self.speech_s[at],
            self.abstain_below[at],
            {name: values[at] for name, values in self.probabilities.items()},
        )

    def restricted(self, kept: LabelSet) -> Scored:
        """Over fewer classes, which every model then chooses among: for a corpus that has not all of a recipe's.

        Confidence is taken anew over what is left, so it is higher than in use, where nobody says which classes there
        are.

        Raises:
            FeatureError: the set has a class that is none of `kept`.
        """
        return Scored(
            self.ids,
            self.speakers,
            kept,
            np.array([kept.index(self.labels.names[i]) for i in self.true], dtype=np.int64),
            self.speech_s,
            self.abstain_below,
            {name: restrict(values, self.labels, kept) for name, values in self.probabilities.items()},
        )

    def measured(self) -> list[Result]:
        """Figures of every model; abstention of the ensemble alone, whose confidence the threshold was fitted to."""
        return [
            measure(
                name,
                values,
                self.true,
                self.labels,
                speakers=self.speakers,
                abstain_below=self.abstain_below if name == ENSEMBLE else None,
            )
            for name, values in self.probabilities.items()
        ]


def joined(parts: Sequence[Scored]) -> Scored:
    """Sets that were scored by different ensembles, as one: of the models that all of them have.

    Args:
        parts: at least one, over the same labels.
    """
    shared = [name for name in parts[0].probabilities if all(name in part.probabilities for part in parts)]
    return Scored(
        [i for part in parts for i in part.ids],
        [speaker for part in parts for speaker in part.speakers],
        parts[0].labels,
        np.concatenate([part.true for part in parts]),
        np.concatenate([part.speech_s for part in parts]),
        np.concatenate([part.abstain_below for part in parts]),
        {name: np.concatenate([part.probabilities[name] for part in parts]) for name in shared},
    )


def speech_seconds(data: TrainingSet, recipe: Recipe) -> NDArray[np.float64]:
    """How long each example's speech is, from its stored frames: `[examples]`, NaN where there is text alone.

    Frames are of the clip cut to its speech (`trainer.silence`), so silence before and behind it does not count. Of a
    stream whose frames were averaged in groups the last group may be shorter: half of one is taken off, which is right
    to half a group (80 ms where eight frames of 20 ms are averaged).

    Args:
        data: examples with the features of the recipe's modalities.
        recipe: says which of them are acoustic, and how many frames were averaged.
    """
    streams = {
        name: entry.stride / rate_hz
        for name, entry in recipe.modalities.items()
        if (rate_hz := recipe.backbone_of(name).rate_hz) is not None
    }
    seconds = np.full(len(data), np.nan)
    for name, group_s in sorted(streams.items(), key=lambda stream: stream[1], reverse=True):
        for position, example in enumerate(data.examples):
            features = example.features.get(name)
            if features is not None:
                seconds[position] = (features.shape[0] - 0.5) * group_s
    return seconds
