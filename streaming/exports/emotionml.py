"""Findings as EmotionML 1.0 (https://www.w3.org/TR/emotionml/): for annotation tools and other recognisers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN, ATTRIBUTE_NAMES
from streaming.analyze import FileResult
from streaming.printable import printable

EMOTIONML_TAIL: Final = "</emotionml>\n"
_CATEGORY_SET: Final = "emotions"
_DIMENSION_SET: Final = "attributes"
_SPEECH: Final = "urn:medusa-live:speech"
"""Namespace of what EmotionML has no words for: the words, the role and the channel."""


def emotionml_head(labels: Sequence[str]) -> str:
    """The root element, and the vocabularies that the classes and attributes are taken from."""
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<emotionml version="1.0" xmlns="http://www.w3.org/2009/10/emotionml"',
            f'    category-set="#{_CATEGORY_SET}" dimension-set="#{_DIMENSION_SET}">',
            *_vocabulary("category", _CATEGORY_SET, labels),
            *_vocabulary("dimension", _DIMENSION_SET, ATTRIBUTE_NAMES),
            "",
        ]
    )


def emotionml_body(result: FileResult, _labels: Sequence[str]) -> str:
    """An emotion for each stretch of speech that was scored; where it lies is a media fragment of the recording.

    The value of a category is its calibrated probability, that of a dimension goes from 0 to 1 over the scale of the
    attribute. The class that was claimed carries its confidence; where none does, none was.
    """
    return "".join(f"{line}\n" for row in result.rows if row["scores"] for line in _emotion(row))


def _vocabulary(kind: str, name: str, items: Sequence[str]) -> Iterator[str]:
    yield f'  <vocabulary type="{kind}" id="{name}">'
    yield from (f"    <item name={quoteattr(item)}/>" for item in items)
    yield "  </vocabulary>"


def _emotion(row: dict[str, Any]) -> Iterator[str]:
    yield '  <emotion expressed-through="voice">'
    yield f'    <info><speech xmlns="{_SPEECH}" {_who(row)}>{escape(printable(row["text"]))}</speech></info>'
    for name, value in row["scores"].items():
        sure = f' confidence="{row["confidence"]:.4f}"' if name == row["label"] else ""
        yield f'    <category name={quoteattr(name)} value="{_share(value):.4f}"{sure}/>'
    for name in ATTRIBUTE_NAMES if row["attributes"] else ():
        share = _share((row["attributes"][name] - ATTRIBUTE_MIN) / (ATTRIBUTE_MAX - ATTRIBUTE_MIN))
        yield f'    <dimension name="{name}" value="{share:.4f}"/>'
    place = f"{quote(os.fsencode(row['file']))}#t={row['start_s']:.3f},{row['end_s']:.3f}"
    yield f'    <reference role="expressedBy" uri="{place}"/>'
    yield "  </emotion>"


def _who(row: dict[str, Any]) -> str:
    language = f" xml:lang={quoteattr(row['language'])}" if row["language"] else ""
    return f'role={quoteattr(row["role"])} channel="{row["channel"]}"{language}'


def _share(value: float) -> float:
    """What EmotionML calls a scale value: 0 to 1."""
    return min(1.0, max(0.0, value))
