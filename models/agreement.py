"""How far two engines' answers to the same rows lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN
from models.engines.base import EngineOutput


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an engine's answers compare with PyTorch's."""

    largest_difference: float
    """Of any probability, or attribute divided by its range."""
    label_agreement: float
    """Share of rows with the same most probable label."""
    rows: int
    clips: int = 0
    """How many of them are the bundle's own clips; 0 where it has none, and random inputs alone decided."""


def differences(reference: EngineOutput, found: EngineOutput) -> NDArray[np.float64]:
    """Largest difference of any score in each row, attributes divided by their range, `[rows]`."""
    scores = np.abs(reference.probabilities - found.probabilities).max(axis=1)
    attributes = np.abs(reference.attributes - found.attributes).max(axis=1) / (ATTRIBUTE_MAX - ATTRIBUTE_MIN)
    return np.asarray(np.maximum(scores, attributes), dtype=np.float64)


def agreement(reference: EngineOutput, found: EngineOutput, clips: int = 0) -> Agreement:
    """How far two answers to the same rows lie apart; `clips` of these are a bundle's."""
    agreed = reference.probabilities.argmax(axis=1) == found.probabilities.argmax(axis=1)
    return Agreement(float(differences(reference, found).max()), float(agreed.mean()), len(agreed), clips)


def joined(outputs: Sequence[EngineOutput]) -> EngineOutput:
    """Answers to several batches, one behind the other."""
    return EngineOutput(
        np.concatenate([output.probabilities for output in outputs]),
        np.concatenate([output.attributes for output in outputs]),
    )
