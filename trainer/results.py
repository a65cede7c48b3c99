"""Everything measured of one model on one set, computed together so that no figure is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.emotions import ATTRIBUTE_NAMES, LabelSet
from trainer.abstention import Abstention, abstention
from trainer.bootstrap import Interval, bootstrap_interval
from trainer.errors import MetricError
from trainer.metrics import (
    ClassScores,
    Indices,
    Reliability,
    RiskCoverage,
    calibration_error_of,
    calibration_gaps,
    class_scores,
    concordance,
    confusion_cells,
    confusion_matrix,
    reliability,
    risk_coverage,
)

_SUM_TOLERANCE: Final = 1e-3
_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class Result:
    """What one model scored."""

    name: str
    """Of the model: `ensemble`, or a member's."""
    labels: LabelSet
    confusion: Indices
    """`[labels, labels]`, rows the truth."""
    classes: ClassScores
    reliability: Reliability
    risk_coverage: RiskCoverage
    macro_f1_interval: Interval | None = None
    """By speaker; None where there are fewer than two."""
    ece_interval: Interval | None = None
    """Of the expected calibration error, by speaker; None where there are fewer than two."""
    abstention: Abstention | None = None
    """At the model's threshold; None where it has none."""
    concordance: Mapping[str, float] = field(default_factory=dict)
    """By attribute; empty where nobody rated them."""

    @property
    def examples(self) -> int:
        """How many were scored."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of examples predicted rightly."""
        return float(np.trace(self.confusion) / self.examples)

    def as_mapping(self) -> dict[str, Any]:
        """For JSON; figures rounded to four digits."""
        interval, ece_interval = self.macro_f1_interval, self.ece_interval
        return {
            "name": self.name,
            "examples": self.examples,
            "labels": list(self.labels),
            "macro_f1": _rounded(self.classes.macro_f1),
            "macro_f1_low": None if interval is None else _rounded(interval.low),
            "macro_f1_high": None if interval is None else _rounded(interval.high),
            "uar": _rounded(self.classes.unweighted_average_recall),
            "accuracy": _rounded(self.accuracy),
            "ece": _rounded(self.reliability.expected_calibration_error),
            "ece_low": None if ece_interval is None else _rounded(ece_interval.low),
            "ece_high": None if ece_interval is None else _rounded(ece_interval.high),
            "abstention": None if self.abstention is None else self.abstention.as_mapping(),
            "risk_coverage_area": _rounded(self.risk_coverage.area),
            "ccc": {name: _rounded(value) for name, value in self.concordance.items()},
            "per_class": {
                name: {
                    "precision": _rounded(self.classes.precision[i]),
                    "recall": _rounded(self.classes.recall[i]),
                    "f1": _rounded(self.classes.f1[i]),
                    "support": int(self.classes.support[i]),
                }
                for i, name in enumerate(self.labels)
            },
            "confusion": self.confusion.tolist(),
        }


def score(
    name: str,
    probabilities: NDArray[np.floating],
    true: NDArray[np.integer],
    labels: LabelSet,
    *,
    speakers: Sequence[str] | None = None,
    attributes: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
    abstain_below: NDArray[np.floating] | None = None,
    seed: int = 0,
) -> Result:
    """Measures a model.

    Args:
        name: of the model.
        probabilities: `[examples, labels]`, rows sum to 1.
        true: `[examples]`, index of the right class.
        labels: what the positions mean.
        speakers: of each example, for the intervals; none gives no interval.
        attributes: rated and predicted, each `[examples, 3]`, rows of NaN where an example was not rated.
        abstain_below: `[examples]`, confidence from which on the model claims a label; none for a model without
            a threshold.
        seed: of the intervals' draws.

    Raises:
        MetricError: no example, shapes that do not fit, or rows that are no distribution.
    """
    if probabilities.ndim != 2 or probabilities.shape != (true.shape[0], len(labels)):
        raise MetricError(
            f"{name}: probabilities of shape {probabilities.shape} for {true.shape[0]} examples, {len(labels)} labels"
        )
    if not (np.abs(probabilities.sum(axis=1) - 1) < _SUM_TOLERANCE).all():
        raise MetricError(f"{name}: a row of probabilities does not sum to 1")
    predicted = probabilities.argmax(axis=1)
    confidence, correct = probabilities.max(axis=1), predicted == true
    confusion = confusion_matrix(true, predicted, len(labels))
    if speakers is not None and len(speakers) != true.shape[0]:
        raise MetricError(f"{name}: {len(speakers)} speakers for {true.shape[0]} examples")
    by_speaker = speakers if speakers is not None and len(set(speakers)) > 1 else None
    return Result(
        name=name,
        labels=labels,
        confusion=confusion,
        classes=class_scores(confusion),
        reliability=reliability(confidence, correct),
        risk_coverage=risk_coverage(confidence, correct),
        macro_f1_interval=None
        if by_speaker is None
        else bootstrap_interval(_macro_f1_of, confusion_cells(true, predicted, len(labels)), by_speaker, seed=seed),
        ece_interval=None
        if by_speaker is None
        else bootstrap_interval(calibration_error_of, calibration_gaps(confidence, correct), by_speaker, seed=seed),
        abstention=None
        if abstain_below is None
        else abstention(confidence, correct, abstain_below, speakers=by_speaker, seed=seed),
        concordance={} if attributes is None else _concordance(*attributes),
    )


def _macro_f1_of(confusion: NDArray[np.float64]) -> float:
    return class_scores(confusion).macro_f1


def restrict(probabilities: NDArray[np.floating], labels: LabelSet, kept: LabelSet) -> NDArray[np.float64]:
    """Probabilities over fewer labels, renormalised: for a corpus that has not all of a model's classes.

    Args:
        probabilities: `[examples, labels]`.
        labels: what the positions mean.
        kept: the labels wanted, each one of `labels`.

    Returns:
        `[examples, kept]`; a row with nothing on any of them becomes uniform.

    Raises:
        FeatureError: a label of `kept` is not one of `labels`.
    """
    chosen = np.asarray(probabilities, dtype=np.float64)[:, [labels.index(name) for name in kept]]
    mass = chosen.sum(axis=1, keepdims=True)
    return np.where(mass > 0, chosen / np.where(mass > 0, mass, 1.0), 1.0 / len(kept))


def _concordance(rated: NDArray[np.floating], predicted: NDArray[np.floating]) -> dict[str, float]:
    if rated.shape != predicted.shape or rated.ndim != 2 or rated.shape[1] != len(ATTRIBUTE_NAMES):
        raise MetricError(f"attributes must be [examples, 3] twice, got {rated.shape} and {predicted.shape}")
    known = np.isfinite(rated).all(axis=1)
    if not known.any():
        return {}
    return {name: concordance(rated[known, i], predicted[known, i]) for i, name in enumerate(ATTRIBUTE_NAMES)}


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)
