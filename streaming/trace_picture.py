"""The life of segments as a picture: SVG, legible on light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Final

from streaming.svg import LETTER, Axis, Pen
from streaming.trace import SegmentTrace, Stage

_WIDTH: Final = 1080
_NAMES: Final = 150
"""Width of the names at the left."""
_SPEECH: Final = 280
"""Width of the panel of speech."""
_AFTER: Final = 440
"""Width of the panel of what came after it."""
_GAP: Final = 20
_HEAD: Final = 84
_ROW: Final = 36
_WORDS: Final = 18
"""What words add to a row."""
_FOOT: Final = 44
_MOSTLETTERS: Final = 150
"""Of words in a row."""
_PEN: Final = Pen(
    {
        "speech": ("#4c78a8", "#6ea0d6"),
        "silence": ("#b4bcc6", "#59636e"),
        "queue": ("#d39e00", "#e3b341"),
        "encode": ("#2a9d8f", "#3fb8a9"),
        "decode": ("#8e6bbf", "#a98ae0"),
        "emotion": ("#d1495b", "#f0707f"),
        "rest": ("#8c959f", "#7d8590"),
        "emit": ("#1f2328", "#e6edf3"),
    }
)
_KINDS: Final = MappingProxyType({stage: stage.name.lower() for stage in Stage})


def trace_picture(segments: Sequence[SegmentTrace], *, title: str, words: bool = False, left_out: int = 0) -> str:
    """Draws a row a segment, all on the same two axes: seconds of its speech, milliseconds after its end.

    Args:
        segments: in the order to draw them.
        title: of the picture.
        words: whether what was said stands under each row.
        left_out: older segments to mention.
    """
    heights = [_ROW + (_WORDS if words and life.text else 0) for life in segments]
    *tops, bottom = accumulate(heights, initial=_HEAD)
    seconds = Axis(_NAMES, _SPEECH, max((life.duration_s for life in segments), default=0.0), "s of speech")
    after = Axis(
        _NAMES + _SPEECH + _GAP,
        _AFTER,
        max((life.total_ms for life in segments), default=0.0),
        "ms after the last speech arrived",
    )
    note = f", {left_out} earlier ones left out" if left_out else ""
    parts = [
        _PEN.text(12, 24, title, "ink", size=16, bold=True),
        _PEN.text(12, 44, f"{len(segments)} segments{note}", "muted"),
        *_legend(12, 66),
        *seconds.draw(_PEN, _HEAD, bottom),
        *after.draw(_PEN, _HEAD, bottom),
    ]
    for top, life in zip(tops, segments, strict=True):
        parts += _row(life, top, seconds, after, words=words)
    return _PEN.picture(title, _WIDTH, bottom + _FOOT, parts)


def _row(life: SegmentTrace, top: float, seconds: Axis, after: Axis, *, words: bool) -> Iterator[str]:
    yield _PEN.text(12, top + 15, f"{life.channel}.{life.segment} {life.role}", "ink")
    yield _PEN.text(12, top + 29, f"from {life.start_s:.2f} s", "muted", size=10)
    start, end = seconds.at(0), seconds.at(life.duration_s)
    yield _PEN.box(start, top + 11, end - start, 14, "speech", f"speech: {life.duration_s:.2f} s")
    for told_s in life.interims_s:
        x = seconds.at(told_s - life.start_s)
        told = f"interim told {told_s - life.start_s:.2f} s after the segment began"
        yield f'<path d="M{x:.1f} {top + 6}l4 -5h-8z" {_PEN.fill("ink")}><title>{told}</title></path>'
        yield f'<line x1="{x:.1f}" y1="{top + 6}" x2="{x:.1f}" y2="{top + 25}" {_PEN.stroke("ink")}/>'
    for span in life.spans():
        kind = _KINDS[span.stage]
        y, height = {Stage.SILENCE: (6, 9), Stage.EMIT: (6, 23)}.get(span.stage, (18, 11))
        x, width = after.at(span.start_ms), after.at(span.end_ms) - after.at(span.start_ms)
        hint = f"{span.stage.value}: {span.end_ms - span.start_ms:.1f} ms, from {span.start_ms:.1f} ms on"
        yield _PEN.box(x, top + y, max(1.0, width), height, kind, hint)
    x = after.at(float("inf")) + _GAP
    yield _PEN.text(x, top + 15, life.outcome, "ink", bold=True)
    if life.latency is not None:
        yield _PEN.text(
            x, top + 29, f"{life.total_ms:.0f} ms, {life.latency.endpoint_ms:.0f} of them silence", "muted", size=10
        )
    if words and life.text:
        said = life.text if len(life.text) <= _MOSTLETTERS else life.text[: _MOSTLETTERS - 1] + "…"
        yield _PEN.text(_NAMES, top + _ROW + 8, said, "muted", size=11)


def _legend(x: float, y: float) -> Iterator[str]:
    for kind, name in (("speech", "speech"), *((_KINDS[stage], stage.value) for stage in Stage)):
        yield _PEN.box(x, y - 9, 10, 10, kind)
        yield _PEN.text(x + 15, y, name, "muted")
        x += 15 + LETTER * len(name) + 16
    yield f'<path d="M{x + 5:.1f} {y}l4 -7h-8z" {_PEN.fill("ink")}/>'
    yield _PEN.text(x + 15, y, "interim", "muted")
