"""The life of segments as bars of text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streaming.printable import printable
from streaming.trace import SegmentTrace, Span, Stage

_SPEECH_WIDTH: Final = 20
_AFTER_WIDTH: Final = 44
_SPEECH: Final = ("█", "cyan")
_INTERIM: Final = ("▏", "bold reverse cyan")
MARKS: Final = MappingProxyType(
    {
        Stage.SILENCE: ("─", "dim"),
        Stage.QUEUE: ("q", "yellow"),
        Stage.ENCODE: ("e", "green"),
        Stage.DECODE: ("d", "magenta"),
        Stage.EMOTION: ("m", "red"),
        Stage.REST: ("r", "dim"),
        Stage.EMIT: (">", "bold"),
    }
)
"""A character and a colour for each stage, so that bars are read without colours too."""


def trace_bars(segments: Sequence[SegmentTrace], *, words: bool = False, left_out: int = 0) -> RenderableType:
    """A row a segment: its speech, and below each other the silence that ended it and what was computed meanwhile.

    Args:
        segments: in the order to draw them.
        words: whether what was said is shown.
        left_out: older segments to mention.
    """
    longest_s = max((life.duration_s for life in segments), default=0.0)
    slowest_ms = max((life.total_ms for life in segments), default=0.0)
    table = Table(title="life of the segments", title_justify="left", show_lines=True, expand=False)
    table.add_column("segment", no_wrap=True)
    table.add_column(f"speech\n0 to {longest_s:.1f} s", width=_SPEECH_WIDTH, no_wrap=True)
    table.add_column(f"after the last speech\n0 to {slowest_ms:.0f} ms", width=_AFTER_WIDTH, no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("label" + (" and words" if words else ""))
    for life in segments:
        table.add_row(
            f"{life.channel}.{life.segment} {life.role}\n{life.start_s:.1f} s",
            _speech(life, longest_s),
            _after(tuple(life.spans()), slowest_ms),
            "" if life.latency is None else f"{life.total_ms:.0f}",
            printable(life.outcome) + (f"\n{printable(life.text)}" if words and life.text else ""),
        )
    return Group(table, _legend(), *([Text(f"{left_out} earlier segments are not shown")] if left_out else []))


def _speech(life: SegmentTrace, longest_s: float) -> Text:
    if not longest_s:
        return Text("")
    scale = _SPEECH_WIDTH / longest_s
    cells = [_SPEECH] * max(1, round(life.duration_s * scale))
    for told_s in life.interims_s:
        place = int((told_s - life.start_s) * scale)
        if 0 <= place < len(cells):
            cells[place] = _INTERIM
    return _text(cells)


def _after(spans: Sequence[Span], slowest_ms: float) -> Text:
    waited = [span for span in spans if span.stage in {Stage.SILENCE, Stage.EMIT}]
    computed = [span for span in spans if span not in waited]
    lines = [_line(lane, slowest_ms) for lane in (waited, computed)]
    return lines[0].append("\n").append_text(lines[1]) if spans else Text("")


def _line(spans: Iterable[Span], slowest_ms: float) -> Text:
    cells = [(" ", "")] * _AFTER_WIDTH
    scale = _AFTER_WIDTH / slowest_ms
    for span in spans:
        first = min(_AFTER_WIDTH - 1, int(span.start_ms * scale))
        past = min(_AFTER_WIDTH, max(first + 1, round(span.end_ms * scale)))
        cells[first:past] = [MARKS[span.stage]] * (past - first)
    return _text(cells)


def _text(cells: Iterable[tuple[str, str]]) -> Text:
    text = Text()
    for mark, style in cells:
        text.append(mark, style=style)
    return text


def _legend() -> Text:
    legend = Text()
    for stage, (mark, style) in MARKS.items():
        legend.append(f"{mark} ", style=style)
        legend.append(f"{stage.value}  ")
    legend.append(_INTERIM[0], style=_INTERIM[1])
    return legend.append(" interim")
