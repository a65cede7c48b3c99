"""Ways to make one answer of the members' posteriors, which the ensemble is compared with.

The paper compares its soup with a single meta-classifier and with soft and hard voting; another entry of the same
challenge fused scores with a support vector machine. Best member, voting and machine need posteriors alone and stand
here; the meta-classifiers are trained in `trainer.stages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.calibration import fit_temperature
from trainer.errors import MetricError, TrainerError
from trainer.metrics import macro_f1

ENSEMBLE: Final = "ensemble"
"""The soup of meta-classifiers, calibrated: what a bundle holds."""
SINGLE_META: Final = "single meta-classifier"
SOFT_VOTING: Final = "soft voting"
HARD_VOTING: Final = "hard voting"
SVM: Final = "SVM on scores"
BEST_MEMBER: Final = "best member"
"""Chosen on held-out development speakers, not on what is scored."""
AGGREGATIONS: Final = (SINGLE_META, SOFT_VOTING, HARD_VOTING, SVM, BEST_MEMBER)
"""What the ensemble is compared with, besides its members; the names of members hold no space and no capital."""

_TIE_WEIGHT: Final = 1e-6
"""Of the summed posteriors beside the votes: enough to break a tie, too little to be seen."""
_SVM_FOLDS: Final = 5
_SVM_COST: Final = 1.0
_SVM_STEPS: Final = 10_000

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What members say of speakers they never heard: what aggregations may learn from."""

    posteriors: Floats
    """`[examples, members, labels]`."""
    true: NDArray[np.int64]
    """`[examples]`, index of the right class."""
    speakers: Sequence[str]
    spoken: NDArray[np.bool_]
    """`[examples]`, False where there is text alone."""

    def __post_init__(self) -> None:
        count = self.posteriors.shape[0]
        if self.posteriors.ndim != 3 or not len(self.speakers) == self.true.size == self.spoken.size == count:
            raise MetricError(
                f"posteriors of shape {self.posteriors.shape} for {self.true.size} truths, {len(self.speakers)} "
                f"speakers and {self.spoken.size} kinds: they do not belong together"
            )

    def of_kind(self, spoken: NDArray[np.bool_]) -> HeldOut:
        """Only what is spoken, or only what is not, where a set to be scored is so too and there is any of it."""
        like = np.isin(self.spoken, np.unique(spoken))
        if not like.any():
            return self
        speakers = [speaker for speaker, kept in zip(self.speakers, like, strict=True) if kept]
        return HeldOut(self.posteriors[like], self.true[like], speakers, self.spoken[like])


def soft_voting(posteriors: NDArray[np.floating]) -> Floats:
    """The mean of the members' posteriors.

    Args:
        posteriors: `[examples, members, labels]`.

    Returns:
        `[examples, labels]`.
    """
    return np.asarray(_checked(posteriors).mean(axis=1))


def hard_voting(posteriors: NDArray[np.floating]) -> Floats:
    """The share of the members' votes each class gets; a tie goes to the class of the greatest summed posterior.

    A vote is split between classes a member holds for equally likely, so that one with nothing to read favours none.

    Args:
        posteriors: `[examples, members, labels]`.

    Returns:
        `[examples, labels]`, vote shares but for a millionth that breaks ties.
    """
    checked = _checked(posteriors)
    strongest = checked == checked.max(axis=2, keepdims=True)
    shares = (strongest / strongest.sum(axis=2, keepdims=True)).mean(axis=1)
    return np.asarray((shares + _TIE_WEIGHT * checked.mean(axis=1)) / (1 + _TIE_WEIGHT))


def best_member(held_out: HeldOut) -> int:
    """Position of the member with the best macro-F1 on held-out speakers; of equal ones the first.

    Raises:
        MetricError: there is no held-out example.
    """
    labels = held_out.posteriors.shape[2]
    reached = [macro_f1(held_out.true, member.argmax(axis=1), labels) for member in held_out.posteriors.swapaxes(0, 1)]
    return int(np.argmax(reached))


class ScoreSVM:
    """A linear support vector machine, one class against the rest, on all members' posteriors side by side.

    Its margins become probabilities as logits do: softmax after division by the temperature of least cross-entropy,
    fitted on margins that machines without an example's speaker gave it (cross-validation in groups of speakers).
    Classes count alike, however often each occurs.
    """

    def __init__(self, machine: Any, classes: NDArray[np.int64], temperature: float, labels: int) -> None:
        """Takes what `fit` found."""
        self._machine = machine
        self._classes = classes
        self._labels = labels
        self.temperature = temperature

    @classmethod
    def fit(cls, held_out: HeldOut) -> Self:
        """Fits machine and temperature.

        Raises:
            MetricError: fewer than two speakers or two classes.
            TrainerError: scikit-learn is not installed.
        """
        try:
            from sklearn.model_selection import GroupKFold
            from sklearn.svm import LinearSVC
        except ImportError as error:
            raise TrainerError("an SVM needs scikit-learn: install medusa-live[train]") from error

        def machine_on(rows: NDArray[np.int64] | slice) -> Any:
            # The primal problem is solved without chance, and quicker where there are more examples than scores.
            machine = LinearSVC(C=_SVM_COST, class_weight="balanced", dual=False, max_iter=_SVM_STEPS)
            return machine.fit(scores[rows], held_out.true[rows])

        scores = _side_by_side(held_out.posteriors)
        labels = held_out.posteriors.shape[2]
        classes = np.unique(held_out.true)
        speakers = len(set(held_out.speakers))
        if classes.size < 2 or speakers < 2:
            raise MetricError(f"an SVM needs two classes and two speakers, got {classes.size} and {speakers}")
        margins = np.zeros((scores.shape[0], labels))
        for known, left in GroupKFold(min(_SVM_FOLDS, speakers)).split(scores, groups=list(held_out.speakers)):
            if np.unique(held_out.true[known]).size < 2:
                raise MetricError("an SVM needs two classes whichever speakers are left out")
            margins[left] = _margins(machine_on(known), scores[left], labels)
        seen = margins[:, classes]
        targets = (held_out.true[:, None] == classes[None, :]).astype(np.float64)
        return cls(machine_on(slice(None)), classes, fit_temperature(seen, targets), labels)

    def probabilities(self, posteriors: NDArray[np.floating]) -> Floats:
        """Calibrated posteriors, `[examples, labels]`, from those of the members, `[examples, members, labels]`.

        A class that was never held out gets nothing.
        """
        logits = _margins(self._machine, _side_by_side(posteriors), self._labels)[:, self._classes] / self.temperature
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        found = np.zeros((weights.shape[0], self._labels))
        found[:, self._classes] = weights / weights.sum(axis=1, keepdims=True)
        return found


def _margins(machine: Any, scores: Floats, labels: int) -> Floats:
    """`[examples, labels]`; what the machine was not taught gets the least margin of the row."""
    decided = np.asarray(machine.decision_function(scores), dtype=np.float64)
    taught = np.stack([-decided, decided], axis=1) if decided.ndim == 1 else decided
    margins = np.repeat(taught.min(axis=1, keepdims=True), labels, axis=1)
    margins[:, machine.classes_] = taught
    return margins


def _side_by_side(posteriors: NDArray[np.floating]) -> Floats:
    checked = _checked(posteriors)
    return checked.reshape(checked.shape[0], -1)


def _checked(posteriors: NDArray[np.floating]) -> Floats:
    if posteriors.ndim != 3 or not posteriors.shape[1] or not posteriors.shape[2]:
        raise MetricError(f"posteriors must be [examples, members, labels], got {posteriors.shape}")
    return np.asarray(posteriors, dtype=np.float64)
