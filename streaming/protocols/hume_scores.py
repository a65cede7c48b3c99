"""What an emotion is in a measurement of Hume's: lists of names with their probabilities, the greatest first."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN
from streaming.events import AttributesInfo, EmotionEvent

EXPRESSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "angry": "anger",
        "contempt": "contempt",
        "disgust": "disgust",
        "fear": "fear",
        "happy": "joy",
        "neutral": "neutral",
        "sad": "sadness",
        "surprise": "surprise",
    }
)
"""What our classes are called there, where names are nouns in lower case."""
_DIGITS: Final = 4
"""Probabilities are rounded to so many there."""


def expressions(event: EmotionEvent) -> list[dict[str, Any]]:
    """Classes more probable than by chance; none where the ensemble is not sure enough to name one."""
    if event.abstained:
        return []
    chance = 1 / len(event.scores)
    return _ranked({EXPRESSIONS[label]: score for label, score in event.scores.items() if score > chance})


def voice_attributes(attributes: AttributesInfo | None) -> list[dict[str, Any]]:
    """The attributes from 0 (low) to 1 (high)."""
    if attributes is None:
        return []
    span = ATTRIBUTE_MAX - ATTRIBUTE_MIN
    return _ranked(
        {name: round((value - ATTRIBUTE_MIN) / span, _DIGITS) for name, value in attributes.model_dump().items()}
    )


def _ranked(scores: Mapping[str, float]) -> list[dict[str, Any]]:
    ranked = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"name": name, "probability": probability} for name, probability in ranked]
