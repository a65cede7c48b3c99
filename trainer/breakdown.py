"""Scores of parts of a set: by speaker, and by how much speech there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.emotions import LabelSet
from trainer.errors import MetricError
from trainer.metrics import accuracy, macro_f1

DURATION_EDGES_S: Final = (1.0, 2.0, 3.0, 5.0)
"""Between the parts of `by_duration`; a part begins with its lower edge."""


@dataclass(frozen=True, slots=True)
class PartScores:
    """How one model did on a part."""

    name: str
    """A speaker, or a range of seconds."""
    examples: int
    classes: int
    """How many occur in the truth: macro-F1 is their mean, so parts with fewer compare badly with the whole."""
    macro_f1: float | None
    """None, like accuracy, of a part without examples."""
    accuracy: float | None

    def as_mapping(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "examples": self.examples,
            "classes": self.classes,
            "macro_f1": None if self.macro_f1 is None else round(self.macro_f1, 4),
            "accuracy": None if self.accuracy is None else round(self.accuracy, 4),
        }


def by_speaker(
    true: NDArray[np.integer], predicted: NDArray[np.integer], labels: LabelSet, speakers: Sequence[str]
) -> tuple[PartScores, ...]:
    """One part a speaker, the worst macro-F1 first.

    Args:
        true: `[examples]`, index of the right class.
        predicted: `[examples]`, index of the predicted class.
        labels: what the indices mean.
        speakers: of each example.

    Raises:
        MetricError: lengths differ.
    """
    if not len(speakers) == true.size == predicted.size:
        raise MetricError(f"{len(speakers)} speakers for {true.size} examples and {predicted.size} predictions")
    names = np.asarray(speakers, dtype=np.str_)
    parts = [_part(str(name), true, predicted, labels, names == name) for name in np.unique(names)]
    return tuple(sorted(parts, key=lambda part: (part.macro_f1, part.accuracy, part.name)))


def by_duration(
    true: NDArray[np.integer], predicted: NDArray[np.integer], labels: LabelSet, speech_s: NDArray[np.floating]
) -> tuple[PartScores, ...]:
    """One part a range of seconds of speech, shortest first; examples without speech are in none.

    Args:
        true: `[examples]`, index of the right class.
        predicted: `[examples]`, index of the predicted class.
        labels: what the indices mean.
        speech_s: `[examples]`, see `trainer.scored.speech_seconds`; NaN where there is text alone.

    Returns:
        A part for each range, empty ones too; none at all where nothing is spoken.

    Raises:
        MetricError: lengths differ.
    """
    if not speech_s.size == true.size == predicted.size:
        raise MetricError(f"{speech_s.size} durations for {true.size} examples and {predicted.size} predictions")
    spoken = np.isfinite(speech_s)
    if not spoken.any():
        return ()
    place = np.searchsorted(DURATION_EDGES_S, speech_s, side="right")
    return tuple(
        _part(name, true, predicted, labels, spoken & (place == number)) for number, name in enumerate(_range_names())
    )


def _range_names() -> tuple[str, ...]:
    between = (f"{low:g} to {high:g} s" for low, high in pairwise(DURATION_EDGES_S))
    return (f"under {DURATION_EDGES_S[0]:g} s", *between, f"over {DURATION_EDGES_S[-1]:g} s")


def _part(
    name: str,
    true: NDArray[np.integer],
    predicted: NDArray[np.integer],
    labels: LabelSet,
    inside: NDArray[np.bool_],
) -> PartScores:
    if not inside.any():
        return PartScores(name, 0, 0, None, None)
    truth, guess = true[inside], predicted[inside]
    return PartScores(
        name=name,
        examples=int(inside.sum()),
        classes=int(np.unique(truth).size),
        macro_f1=macro_f1(truth, guess, len(labels)),
        accuracy=accuracy(truth, guess, len(labels)),
    )
