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

_FIVE: Final = 5.0
_SUM_ROUNDING: Final = len(MSP_NAMES) * float(np.finfo(np.float32).eps)

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
    distribution = _distribution(weights)
    ambiguous = consensus in (OTHER, NO_AGREEMENT)
    if consensus is None:
        ambiguous = _agreed(weights, distribution) in (None, OTHER)
    elif not ambiguous and _leader(distribution) != consensus:
        raise CorpusError(f"label {label!r} is not the strongest class of what the raters said, or shares that place")
    return Ratings(distribution, None if votes is None else weights, ambiguous)


def tally(votes: Mapping[str, float], consensus: str | None = None) -> Ratings:
    """Raters' votes as a target, next to what the corpus says they agreed on.

    Args:
        votes: raters by class: MSP's eight and `other`.
        consensus: the class that the corpus states, `other` or `no_agreement`; None where it states none.

    Returns:
        Ambiguous where the votes have no single strongest class, where that is `other`, and where the corpus says
        anything else than the votes do.

    Raises:
        CorpusError: nobody voted for any of the eight.
    """
    distribution = _distribution(votes)
    agreed = _agreed(votes, distribution)
    ambiguous = agreed in (None, OTHER) or (consensus is not None and consensus != agreed)
    return Ratings(distribution, dict(votes), ambiguous)


def strongest(weights: Mapping[str, float]) -> str | None:
    """The class with the greatest weight; None where several share that place, or there is none."""
    return None if no_majority(weights) else max(weights, key=weights.__getitem__)


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
    values = {name: parse_number(name, written[name]) for name in ATTRIBUTE_NAMES}
    for name, value in values.items():
        if not ATTRIBUTE_MIN <= value <= ATTRIBUTE_MAX:
            raise CorpusError(f"{name} {value:g} lies outside {ATTRIBUTE_MIN:g} to {ATTRIBUTE_MAX:g}")
    return Attributes(**values)


def five_points(written: str | float) -> float:
    """A rating from 1 to 5 on our scale from 1 to 7.

    Raises:
        CorpusError: it is no number, or lies outside 1 to 5.
    """
    value = parse_number("a rating", written)
    if not ATTRIBUTE_MIN <= value <= _FIVE:
        raise CorpusError(f"a rating must lie within {ATTRIBUTE_MIN:g} to {_FIVE:g}, got {value:g}")
    return ATTRIBUTE_MIN + (value - ATTRIBUTE_MIN) * (ATTRIBUTE_MAX - ATTRIBUTE_MIN) / (_FIVE - ATTRIBUTE_MIN)


def parse_number(what: str, written: object) -> float:
    """Reads a finite number.

    Args:
        what: what it is, for the message.
        written: a number, or text that is one.

    Raises:
        CorpusError: it is neither.
    """
    if isinstance(written, bool) or not isinstance(written, int | float | str):
        raise CorpusError(f"{what} must be a number, got {written!r}")
    try:
        value = float(written)
    except (ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise CorpusError(f"{what} must be a finite number, got {written!r}")
    return value


def _distribution(weights: Mapping[str, float]) -> NDArray[np.float32]:
    """Weights normalised; those that sum to 1 as closely as 32-bit floats can are kept to the bit."""
    over_labels = [weights.get(name, 0.0) for name in MSP8]
    if abs(math.fsum(over_labels) - 1.0) <= _SUM_ROUNDING:
        return np.asarray(over_labels, dtype=np.float32)
    try:
        return soft_target(over_labels, MSP8)
    except FeatureError as error:
        raise CorpusError(str(error)) from None


def _agreed(weights: Mapping[str, float], distribution: NDArray[np.float32]) -> str | None:
    """What most say; None also where the lead is lost among 32-bit floats, since they are all that a target keeps."""
    agreed = strongest(weights)
    return agreed if agreed in (None, OTHER) else _leader(distribution)


def _leader(distribution: NDArray[np.float32]) -> str | None:
    return strongest(dict(zip(MSP8, distribution.tolist(), strict=True)))


def _weights(what: str, written: object) -> dict[str, float]:
    if not isinstance(written, Mapping) or not written:
        raise CorpusError(f"{what} must be a number by class, got {written!r}")
    weights: dict[str, float] = {}
    for key, value in written.items():
        label = _spelt(key)
        if label == NO_AGREEMENT:
            raise CorpusError(f"{what}: no rater can choose {key!r}")
        weight = parse_number(f"{what} of {key}", value)
        if weight < 0:
            raise CorpusError(f"{what} of {key} must not be negative, got {weight:g}")
        weights[label] = weights.get(label, 0.0) + weight
    return weights


def known_class(written: str) -> str | None:
    """One of MSP's eight by another of its names, such as `anger`; None where it is none of them."""
    known = _SPELLINGS.get(written.strip().lower())
    return None if known in (OTHER, NO_AGREEMENT) else known


def _spelt(label: object) -> str:
    if not isinstance(label, str):
        raise CorpusError(f"a class must be text, got {label!r}")
    known = _SPELLINGS.get(label.strip().lower())
    if known is None:
        raise CorpusError(f"unknown class {label!r}; known are {', '.join((*MSP_NAMES, OTHER, NO_AGREEMENT))}")
    return known
