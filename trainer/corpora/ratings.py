"""What people said of an utterance, read from however a manifest writes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.emotions import (
    ATTRIBUTE_MAX,
    ATTRIBUTE_MIN,
    ATTRIBUTE_NAMES,
    MSP8,
    MSP_NAMES,
    Attributes,
    soft_target,
)
from models.errors import FeatureError
from trainer.corpora.clips import one_hot
from trainer.corpora.manifest import no_majority
from trainer.errors import CorpusError

OTHER: Final = "other"
NO_AGREEMENT: Final = "no_agreement"

_SPELLINGS: Final = {
    **{name: name for name in MSP_NAMES},
    "anger": "angry",
    "sadness": "sad",
    "happiness": "happy",
    "joy": "happy",
    "surprised": "surprise",
    "fearful": "fear",
    "disgusted": "disgust",
    OTHER: OTHER,
    NO_AGREEMENT: NO_AGREEMENT,
}


@dataclass(frozen=True, slots=True, eq=False)
class Ratings:
    """A target, and how it came about."""

    target: NDArray[np.float32]
    """Over MSP's eight classes, `[8]`."""
    votes: Mapping[str, float] | None
    ambiguous: bool


def parse_ratings(target: object, votes: object, label: object) -> Ratings:
    """Reads the one of them that is there.

    Args:
        target: weight by class, or None.
        votes: raters by class, or None; classes that are none of ours count as `other`.
        label: one class, or None. Next to a target or votes it is the consensus: `other` or `no_agreement` say that
            there is none; any other must be their strongest class.

    Raises:
        CorpusError: none or too many of them, an unknown class, a weight that is no number, or a contradiction.
    """
    if target is not None and votes is not None:
        raise CorpusError("both target and votes; give one of them")
    consensus = None if label is None else _spelt(label)
    if target is None and votes is None:
        if consensus is None:
            raise CorpusError("neither target nor votes nor label")
        if consensus in (OTHER, NO_AGREEMENT):
            raise CorpusError(f"label {label!r} alone is no target; give target or votes with it")
        return Ratings(one_hot(consensus), None, ambiguous=False)
    weights = _weights("target", target) if votes is None else _weights("votes", votes)
    if votes is None and weights.get(OTHER):
        raise CorpusError(f"a target has no class {OTHER!r}; give votes instead")
    try:
        distribution = soft_target([weights.get(name, 0.0) for name in MSP8], MSP8)
    except FeatureError as error:
        raise CorpusError(str(error)) from None
    ambiguous = consensus in (OTHER, NO_AGREEMENT)
    if consensus is None:
        ambiguous = no_majority(weights) or max(weights, key=weights.__getitem__) == OTHER
    elif not ambiguous and weights.get(consensus, 0.0) < max(weights[name] for name in weights if name != OTHER):
        raise CorpusError(f"label {label!r} is not the strongest class of what the raters said")
    return Ratings(distribution, None if votes is None else weights, ambiguous)


def parse_attributes(written: Mapping[str, Any] | None) -> Attributes | None:
    """Reads arousal, valence and dominance.

    Args:
        written: all three by name, or None.

    Raises:
        CorpusError: one of them is missing, unknown, no number, or outside 1 to 7.
    """
    if written is None:
        return None
    if set(written) != set(ATTRIBUTE_NAMES):
        raise CorpusError(f"attributes are {', '.join(ATTRIBUTE_NAMES)}, all or none; got {', '.join(sorted(written))}")
    values = {name: _number(name, written[name]) for name in ATTRIBUTE_NAMES}
    for name, value in values.items():
        if not ATTRIBUTE_MIN <= value <= ATTRIBUTE_MAX:
            raise CorpusError(f"{name} {value:g} lies outside {ATTRIBUTE_MIN:g} to {ATTRIBUTE_MAX:g}")
    return Attributes(**values)


def _weights(what: str, written: object) -> dict[str, float]:
    if not isinstance(written, Mapping) or not written:
        raise CorpusError(f"{what} must be a number by class, got {written!r}")
    weights: dict[str, float] = {}
    for key, value in written.items():
        label = _spelt(key)
        if label == NO_AGREEMENT:
            raise CorpusError(f"{what}: no rater can choose {key!r}")
        weight = _number(f"{what} of {key}", value)
        if weight < 0:
            raise CorpusError(f"{what} of {key} must not be negative, got {weight:g}")
        weights[label] = weights.get(label, 0.0) + weight
    return weights


def _spelt(label: object) -> str:
    if not isinstance(label, str):
        raise CorpusError(f"a class must be text, got {label!r}")
    known = _SPELLINGS.get(label.strip().lower())
    if known is None:
        raise CorpusError(f"unknown class {label!r}; known are {', '.join((*MSP_NAMES, OTHER, NO_AGREEMENT))}")
    return known


def _number(what: str, written: object) -> float:
    if isinstance(written, bool) or not isinstance(written, int | float | str):
        raise CorpusError(f"{what} must be a number, got {written!r}")
    try:
        value = float(written)
    except (ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise CorpusError(f"{what} must be a finite number, got {written!r}")
    return value
