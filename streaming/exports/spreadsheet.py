"""Findings as CSV (RFC 4180), one row a final emotion: for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

from models.emotions import ATTRIBUTE_NAMES
from streaming.analyze import FileResult
from streaming.printable import printable

_FIELDS: Final = ("channel", "role", "start_s", "end_s", "label", "confidence", "abstained")
_WORDS: Final = ("language", "text")
_SCORE: Final = "score_"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a cell may begin with that a spreadsheet takes for a formula."""


def csv_head(labels: Sequence[str]) -> str:
    """The line of column names: a score a class stands behind the attributes."""
    return _lines([["file", *_FIELDS, *ATTRIBUTE_NAMES, *(f"{_SCORE}{label}" for label in labels), *_WORDS]])


def csv_body(result: FileResult, labels: Sequence[str]) -> str:
    """A recording's rows; what could not be recognised is no row."""
    return _lines(_cells(row, labels) for row in result.rows)


def _cells(row: dict[str, Any], labels: Sequence[str]) -> list[Any]:
    attributes = row["attributes"] or {}
    return [
        _quiet(printable(row["file"])),
        *(_quiet(row[field]) for field in _FIELDS),
        *(attributes.get(name) for name in ATTRIBUTE_NAMES),
        *(row["scores"].get(label) for label in labels),
        *(_quiet(row[field]) for field in _WORDS),
    ]


def _quiet(value: Any) -> Any:
    """A cell that no spreadsheet computes: what people say, and files are called, is nobody's formula."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _lines(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
