"""The examples a model is most confidently wrong about: where its data, or ours, deserve a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.emotions import LabelSet
from trainer.errors import MetricError

LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class Mistake:
    """One example that was confidently taken for something else."""

    id: str
    speaker: str
    true: str
    predicted: str
    confidence: float
    text: str | None = None
    """What is said; None unless it was asked for: people's words must not leak into reports by default."""

    def as_mapping(self) -> dict[str, Any]:
        """For JSON; without `text` where there is none."""
        stated = {
            "id": self.id,
            "speaker": self.speaker,
            "true": self.true,
            "predicted": self.predicted,
            "confidence": round(self.confidence, 4),
        }
        return stated if self.text is None else {**stated, "text": self.text}


def most_confident_mistakes(
    ids: Sequence[str],
    speakers: Sequence[str],
    true: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    labels: LabelSet,
    *,
    texts: Mapping[str, str] | None = None,
    most: int = LISTED,
) -> tuple[Mistake, ...]:
    """The wrong predictions of highest confidence, the most confident first, equal ones by id.

    Args:
        ids: of each example.
        speakers: of each example.
        true: `[examples]`, index of the right class.
        probabilities: `[examples, labels]`.
        labels: what the positions mean.
        texts: what is said, by id, only where a reader asked for it.
        most: how many are listed.

    Raises:
        MetricError: lengths differ.
    """
    if not len(ids) == len(speakers) == true.size == probabilities.shape[0]:
        raise MetricError(
            f"{len(ids)} ids, {len(speakers)} speakers, {true.size} truths and {probabilities.shape[0]} predictions "
            "do not belong together"
        )
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = sorted(np.flatnonzero(predicted != true).tolist(), key=lambda at: (-confidence[at], ids[at]))
    return tuple(
        Mistake(
            id=ids[at],
            speaker=speakers[at],
            true=labels.names[true[at]],
            predicted=labels.names[predicted[at]],
            confidence=float(confidence[at]),
            text=None if texts is None else texts.get(ids[at]),
        )
        for at in wrong[:most]
    )
