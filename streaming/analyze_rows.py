"""From a file's events to what `medusa analyze --json` writes: one object a final emotion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streaming.events import EmotionEvent, Event, SpeechEnded, TranscriptEvent

Row = dict[str, Any]


def rows_of(file: str, events: Iterable[Event]) -> list[Row]:
    """One row a segment, in the order of events.

    A segment whose channel is transcribed only gives a row with its words, without a label and without scores.

    Args:
        file: what the rows call it.
        events: all of its session, in order.
    """
    rows: dict[tuple[int, int], Row] = {}
    for event in events:
        match event:
            case SpeechEnded():
                row = _row(file, event.start_s, event.end_s)
                row |= {"channel": event.channel, "role": event.role}
                rows[event.channel, event.segment] = row
            case TranscriptEvent(final=True):
                said = {"text": event.committed, "language": event.language}
                rows[event.channel, event.segment] |= {**said, "answered": True}
            case EmotionEvent(final=True):
                rows[event.channel, event.segment] |= {
                    "label": event.label,
                    "scores": event.scores,
                    "attributes": None if event.attributes is None else event.attributes.model_dump(),
                    "confidence": event.confidence,
                    "abstained": event.abstained,
                }
            case _:
                pass
    return [row for row in rows.values() if row.pop("answered", False)]


def nobody_row(file: str, duration_s: float) -> Row:
    """The row of a file in which nobody speaks."""
    return _row(file, 0.0, round(duration_s, 3))


def _row(file: str, start_s: float, end_s: float) -> Row:
    return {
        "file": file,
        "channel": None,
        "role": None,
        "start_s": start_s,
        "end_s": end_s,
        "label": None,
        "scores": {},
        "attributes": None,
        "confidence": 0.0,
        "abstained": True,
        "text": "",
        "language": None,
    }
