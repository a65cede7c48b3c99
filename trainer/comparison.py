"""Two predictions of the same examples, compared pair by pair: what differs between them is not the speakers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.emotions import LabelSet
from trainer.bootstrap import Floats, Interval, bootstrap_interval
from trainer.errors import MetricError
from trainer.metrics import class_scores, confusion_cells, macro_f1


@dataclass(frozen=True, slots=True)
class Difference:
    """Macro-F1 of one prediction less that of another, on the same examples."""

    name: str
    """Of what is compared with the reference."""
    examples: int
    reference_macro_f1: float
    macro_f1: float
    interval: Interval | None = None
    """Of the difference, by speaker; None where there are fewer than two."""

    @property
    def value(self) -> float:
        """Below 0 where the reference is better."""
        return self.macro_f1 - self.reference_macro_f1

    @property
    def loss(self) -> float:
        """Above 0 where the reference is better."""
        return -self.value

    @property
    def loss_interval(self) -> Interval | None:
        """Of the loss."""
        return None if self.interval is None else Interval(-self.interval.high, -self.interval.low, self.interval.level)

    def as_mapping(self) -> dict[str, Any]:
        """For JSON; shares of 1, not points."""
        return {
            "name": self.name,
            "examples": self.examples,
            "reference_macro_f1": round(self.reference_macro_f1, 4),
            "macro_f1": round(self.macro_f1, 4),
            "difference": round(self.value, 4),
            "difference_low": None if self.interval is None else round(self.interval.low, 4),
            "difference_high": None if self.interval is None else round(self.interval.high, 4),
        }


def paired_difference(
    name: str,
    true: NDArray[np.integer],
    reference: NDArray[np.integer],
    predicted: NDArray[np.integer],
    labels: LabelSet,
    speakers: Sequence[str],
    *,
    seed: int = 0,
) -> Difference:
    """Compares two predictions.

    Args:
        name: of what is compared with the reference.
        true: `[examples]`, index of the right class.
        reference: `[examples]`, what the reference predicts.
        predicted: `[examples]`, what it is compared with.
        labels: what the indices mean.
        speakers: of each example; a draw of the interval takes the same speakers for both.
        seed: of the interval's draws.

    Raises:
        MetricError: no example, or lengths that differ.
    """
    if not true.size or not true.shape == reference.shape == predicted.shape or len(speakers) != true.size:
        raise MetricError(
            f"{name}: a comparison needs the same examples twice, got {true.shape}, {reference.shape} and "
            f"{predicted.shape} for {len(speakers)} speakers"
        )
    count = len(labels)
    interval = None
    if len(set(speakers)) > 1:
        both = np.stack([confusion_cells(true, each, count) for each in (reference, predicted)], axis=1)
        interval = bootstrap_interval(_difference, both, speakers, seed=seed)
    return Difference(
        name, int(true.size), macro_f1(true, reference, count), macro_f1(true, predicted, count), interval
    )


def _difference(confusions: Floats) -> float:
    reference, other = (class_scores(confusion).macro_f1 for confusion in confusions)
    return other - reference
