"""How good predictions are: classification, calibration, attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.errors import MetricError

CALIBRATION_BINS: Final = 15

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion_matrix(true: NDArray[np.integer], predicted: NDArray[np.integer], labels: int) -> Indices:
    """How often each class was taken for which.

    Args:
        true: `[examples]`, index of the right class.
        predicted: `[examples]`, index of the predicted class.
        labels: how many classes there are.

    Returns:
        `[labels, labels]`: rows are the truth, columns the prediction.

    Raises:
        MetricError: no example, shapes that differ, or an index outside the classes.
    """
    if true.ndim != 1 or true.shape != predicted.shape:
        raise MetricError(f"truth and prediction must be rows of one length, got {true.shape} and {predicted.shape}")
    if true.size == 0:
        raise MetricError("no example to measure on")
    for name, indices in (("truth", true), ("prediction", predicted)):
        if int(indices.min()) < 0 or int(indices.max()) >= labels:
            raise MetricError(f"the {name} holds class indices outside 0 to {labels - 1}")
    cells = true.astype(np.int64) * labels + predicted.astype(np.int64)
    return np.bincount(cells, minlength=labels * labels).reshape(labels, labels).astype(np.int64)


def confusion_cells(true: NDArray[np.integer], predicted: NDArray[np.integer], labels: int) -> NDArray[np.int8]:
    """What each example adds to the confusion matrix, `[examples, labels, labels]`; arguments as there."""
    cells = np.zeros((true.size, labels, labels), dtype=np.int8)
    cells[np.arange(true.size), true, predicted] = 1
    return cells


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Precision, recall and F1 of every class, each `[labels]`; 0 where nothing was predicted or nothing was there."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Indices
    """Examples that truly are of the class."""

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that occur in the truth."""
        return float(self.f1[self.support > 0].mean())

    @property
    def unweighted_average_recall(self) -> float:
        """Mean recall over the classes that occur in the truth (UAR, balanced accuracy)."""
        return float(self.recall[self.support > 0].mean())


def class_scores(confusion: NDArray[np.number]) -> ClassScores:
    """Per-class figures from a confusion matrix, `[labels, labels]`, rows the truth."""
    hits = np.diag(confusion).astype(np.float64)
    support = confusion.sum(axis=1)
    claimed = confusion.sum(axis=0)
    return ClassScores(
        precision=_share(hits, claimed),
        recall=_share(hits, support),
        f1=_share(2 * hits, support + claimed),
        support=support.astype(np.int64),
    )


def _share(part: NDArray[np.number], whole: NDArray[np.number]) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0), dtype=np.float64)


def macro_f1(true: NDArray[np.integer], predicted: NDArray[np.integer], labels: int) -> float:
    """Mean F1 over the classes that occur in the truth; arguments as in `confusion_matrix`."""
    return class_scores(confusion_matrix(true, predicted, labels)).macro_f1


def unweighted_average_recall(true: NDArray[np.integer], predicted: NDArray[np.integer], labels: int) -> float:
    """Mean recall over the classes that occur in the truth; arguments as in `confusion_matrix`."""
    return class_scores(confusion_matrix(true, predicted, labels)).unweighted_average_recall


def accuracy(true: NDArray[np.integer], predicted: NDArray[np.integer], labels: int) -> float:
    """Share of examples predicted rightly; arguments as in `confusion_matrix`."""
    confusion = confusion_matrix(true, predicted, labels)
    return float(np.trace(confusion) / confusion.sum())


def concordance(true: NDArray[np.floating], predicted: NDArray[np.floating]) -> float:
    """Concordance correlation coefficient (Lin 1989), population moments.

    Args:
        true: `[examples]`.
        predicted: `[examples]`.

    Returns:
        -1 to 1; 0 where either does not vary, unless both are the same constant, which agree perfectly.

    Raises:
        MetricError: no example, shapes that differ, or values that are not finite.
    """
    x, y = np.asarray(true, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise MetricError(f"concordance needs two rows of one length, got {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise MetricError("concordance is not defined on values that are not finite")
    covariance = float(np.mean((x - x.mean()) * (y - y.mean())))
    spread = float(x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    return 1.0 if spread == 0.0 else 2 * covariance / spread


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often predictions of like confidence are right; every array is `[bins]`."""

    edges: Floats
    """`[bins + 1]`, from 0 to 1; a bin holds what lies above its lower edge, up to its upper."""
    counts: Indices
    confidence: Floats
    """Mean confidence in a bin; 0 where it is empty."""
    accuracy: Floats
    """Share that is right in a bin; 0 where it is empty."""

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance between confidence and accuracy, weighted by how many fall into each bin (Guo et al. 2017)."""
        return float(np.abs(self.accuracy - self.confidence) @ self.counts / self.counts.sum())


def reliability(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = CALIBRATION_BINS
) -> Reliability:
    """Bins of equal width on confidence.

    Args:
        confidence: `[examples]`, probability given to the predicted class.
        correct: `[examples]`, whether that class was right.
        bins: how many bins.

    Raises:
        MetricError: no example, shapes that differ, or a confidence outside 0 to 1.
    """
    p, right = _confident(confidence, correct)
    place = _bins_of(p, bins)
    counts = np.bincount(place, minlength=bins).astype(np.int64)
    return Reliability(
        edges=_edges(bins),
        counts=counts,
        confidence=_share(np.bincount(place, weights=p, minlength=bins), counts),
        accuracy=_share(np.bincount(place, weights=right, minlength=bins), counts),
    )


def expected_calibration_error(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = CALIBRATION_BINS
) -> float:
    """Expected calibration error; arguments as in `reliability`."""
    return reliability(confidence, correct, bins).expected_calibration_error


def calibration_gaps(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = CALIBRATION_BINS
) -> Floats:
    """What each example adds to the sums that `calibration_error_of` reads, `[examples, bins + 1]`.

    Correct less confident in the example's bin, and a 1 that counts it; arguments and errors as in `reliability`.
    """
    p, right = _confident(confidence, correct)
    gaps = np.zeros((p.size, bins + 1))
    gaps[np.arange(p.size), _bins_of(p, bins)] = right - p
    gaps[:, bins] = 1
    return gaps


def calibration_error_of(gaps: Floats) -> float:
    """Expected calibration error from the sum of some examples' `calibration_gaps`, `[bins + 1]`."""
    return float(np.abs(gaps[:-1]).sum() / gaps[-1])


def _edges(bins: int) -> Floats:
    return np.linspace(0.0, 1.0, bins + 1)


def _bins_of(confidence: Floats, bins: int) -> Indices:
    place = np.searchsorted(_edges(bins), confidence, side="left") - 1
    return np.clip(place, 0, bins - 1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """What abstaining buys: points of falling threshold, every array `[points]`."""

    thresholds: Floats
    """Confidence from which on a label is claimed, falling."""
    coverage: Floats
    """Share of examples with a claimed label, rising to 1."""
    risk: Floats
    """Share of claimed labels that are wrong."""

    @property
    def area(self) -> float:
        """Area under the curve (AURC): mean risk over all coverages, 0 at best."""
        widths = np.diff(self.coverage, prepend=0.0)
        return float(self.risk @ widths)


def risk_coverage(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> RiskCoverage:
    """The risk-coverage curve; arguments and errors as in `reliability`. Equal confidences share one point."""
    p, right = _confident(confidence, correct)
    order = np.argsort(-p, kind="stable")
    last_of_its_kind = np.append(np.flatnonzero(np.diff(p[order])), p.size - 1)
    claimed = last_of_its_kind + 1
    wrong = np.cumsum(~right[order])[last_of_its_kind]
    return RiskCoverage(thresholds=p[order][last_of_its_kind], coverage=claimed / p.size, risk=wrong / claimed)


def _confident(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    p = np.asarray(confidence, dtype=np.float64)
    if p.ndim != 1 or p.shape != correct.shape or p.size == 0:
        raise MetricError(f"confidence and correctness must be rows of one length, got {p.shape} and {correct.shape}")
    # Sums of float32 probabilities may pass 1 by a rounding step.
    if not np.isfinite(p).all() or (p < 0).any() or (p > 1 + 1e-5).any():
        raise MetricError("a confidence lies outside 0 to 1")
    return np.minimum(p, 1.0), np.asarray(correct, dtype=np.bool_)
