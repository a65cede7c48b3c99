"""What it buys to claim no label where confidence lies under a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.bootstrap import Floats, Interval, bootstrap_interval
from trainer.errors import MetricError


@dataclass(frozen=True, slots=True)
class Abstention:
    """Accuracy where the threshold sits against accuracy with a label claimed for everything."""

    lowest_threshold: float
    highest_threshold: float
    """Differs from the lowest where several ensembles were scored, each with a threshold of its own."""
    coverage: float
    """Share of examples with a claimed label."""
    accuracy: float | None
    """Share of claimed labels that are right; None where none is claimed."""
    accuracy_of_all: float
    gain_interval: Interval | None = None
    """By speaker; None where there are fewer than two, or no label is claimed."""

    @property
    def gain(self) -> float | None:
        """How much more of what is claimed is right; None where nothing is claimed."""
        return None if self.accuracy is None else self.accuracy - self.accuracy_of_all

    def as_mapping(self) -> dict[str, Any]:
        """For JSON; shares of 1, not points."""
        interval = self.gain_interval
        return {
            "lowest_threshold": round(self.lowest_threshold, 4),
            "highest_threshold": round(self.highest_threshold, 4),
            "coverage": round(self.coverage, 4),
            "accuracy": None if self.accuracy is None else round(self.accuracy, 4),
            "accuracy_of_all": round(self.accuracy_of_all, 4),
            "gain": None if self.gain is None else round(self.gain, 4),
            "gain_low": None if interval is None else round(interval.low, 4),
            "gain_high": None if interval is None else round(interval.high, 4),
        }


def abstention(
    confidence: NDArray[np.floating],
    correct: NDArray[np.bool_],
    thresholds: NDArray[np.floating],
    *,
    speakers: Sequence[str] | None = None,
    seed: int = 0,
) -> Abstention:
    """Measures what a threshold buys.

    Args:
        confidence: `[examples]`, probability given to the predicted class.
        correct: `[examples]`, whether that class was right.
        thresholds: `[examples]`, of the ensemble that scored each; a label is claimed from there on.
        speakers: of each example, for the interval of the gain; none gives no interval.
        seed: of the interval's draws.

    Raises:
        MetricError: no example, or shapes that differ.
    """
    if confidence.ndim != 1 or not confidence.size or not confidence.shape == correct.shape == thresholds.shape:
        raise MetricError(
            "confidence, correctness and thresholds must be rows of one length, got "
            f"{confidence.shape}, {correct.shape} and {thresholds.shape}"
        )
    claimed = confidence >= thresholds
    interval = None
    if speakers is not None and len(set(speakers)) > 1 and claimed.any():
        statistics = np.stack([np.ones(correct.size), correct, claimed, claimed & correct], axis=1)
        interval = bootstrap_interval(_gain, statistics, speakers, seed=seed)
    return Abstention(
        lowest_threshold=float(thresholds.min()),
        highest_threshold=float(thresholds.max()),
        coverage=float(claimed.mean()),
        accuracy=float(correct[claimed].mean()) if claimed.any() else None,
        accuracy_of_all=float(correct.mean()),
        gain_interval=interval,
    )


def _gain(sums: Floats) -> float:
    count, right, claimed, claimed_right = sums
    return float(claimed_right / claimed - right / count) if claimed else float("nan")
