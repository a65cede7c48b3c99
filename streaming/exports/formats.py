"""The formats of findings, and what each of them is good for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from streaming.analyze import FileResult
from streaming.exports.emotionml import EMOTIONML_TAIL, emotionml_body, emotionml_head
from streaming.exports.spreadsheet import csv_body, csv_head
from streaming.exports.subtitles import VTT_HEAD, vtt_body


@dataclass(frozen=True, slots=True)
class Format:
    """A document is its head, a body for each recording, and its tail."""

    suffix: str
    head: Callable[[Sequence[str]], str]
    """Given the names of the emotion classes."""
    body: Callable[[FileResult, Sequence[str]], str]
    """Given a recording and the same names."""
    tail: str = ""
    many: bool = True
    """Whether a document may hold several recordings."""
    tells_errors: bool = False
    """Whether it says what could not be recognised."""


def _jsonl(result: FileResult, _labels: Sequence[str]) -> str:
    """One JSON object a final emotion, and one for what could not be recognised."""
    lines = [json.dumps(row, ensure_ascii=False) for row in result.rows]
    if result.error is not None:
        lines.append(json.dumps({"file": str(result.path), "error": result.error}, ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines)


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "jsonl": Format(".jsonl", lambda _labels: "", _jsonl, tells_errors=True),
        "csv": Format(".csv", csv_head, csv_body),
        "vtt": Format(".vtt", lambda _labels: VTT_HEAD, vtt_body, many=False),
        "emotionml": Format(".emotionml", emotionml_head, emotionml_body, EMOTIONML_TAIL),
    }
)
