"""The life of segments as a picture: SVG, legible on light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import accumulate
from math import ceil, floor, log10
from types import MappingProxyType
from typing import Final

from streaming.printable import printable
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
_TICKS: Final = 5
_LETTER: Final = 6.6
"""Width of a character of the legend, about."""
_MOST_LETTERS: Final = 150
"""Of words in a row."""
_FONT: Final = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
_COLOURS: Final = MappingProxyType(
    {
        "page": ("#ffffff", "#0d1117"),
        "ink": ("#1f2328", "#e6edf3"),
        "muted": ("#59636e", "#9198a1"),
        "grid": ("#d8dee4", "#30363d"),
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
"""By what it stands for: on a light page, on a dark one."""
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
    seconds = _Axis(_NAMES, _SPEECH, max((life.duration_s for life in segments), default=0.0), "s of speech")
    after = _Axis(
        _NAMES + _SPEECH + _GAP,
        _AFTER,
        max((life.total_ms for life in segments), default=0.0),
        "ms after the last speech arrived",
    )
    note = f", {left_out} earlier ones left out" if left_out else ""
    parts = [
        _text(12, 24, title, "ink", size=16, bold=True),
        _text(12, 44, f"{len(segments)} segments{note}", "muted"),
        *_legend(12, 66),
        *seconds.draw(_HEAD, bottom),
        *after.draw(_HEAD, bottom),
    ]
    for top, life in zip(tops, segments, strict=True):
        parts += _row(life, top, seconds, after, words=words)
    height = bottom + _FOOT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
            f'height="{height}" role="img" font-family="{_FONT}" font-size="12">',
            f"<title>{_safe(title)}</title>",
            f"<style>{_style()}</style>",
            _box(0, 0, _WIDTH, height, "page"),
            *parts,
            "</svg>\n",
        ]
    )


class _Axis:
    """A panel's scale."""

    def __init__(self, left: float, width: float, most: float, unit: str) -> None:
        self._left = left
        self._width = width
        self._step = _round_step(most / _TICKS)
        self._most = max(1, ceil(most / self._step)) * self._step
        self._unit = unit

    def at(self, value: float) -> float:
        """Where a value lies; never outside the panel."""
        return self._left + self._width * min(1.0, max(0.0, value / self._most))

    def draw(self, top: float, bottom: float) -> Iterator[str]:
        for tick in range(round(self._most / self._step) + 1):
            value = tick * self._step
            x = self.at(value)
            yield f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" {_stroke("grid")}/>'
            yield _text(x, bottom + 16, f"{value:g}", "muted", anchor="middle", size=11)
        yield _text(self._left, bottom + 34, self._unit, "muted", size=11)


def _row(life: SegmentTrace, top: float, seconds: _Axis, after: _Axis, *, words: bool) -> Iterator[str]:
    yield _text(12, top + 15, f"{life.channel}.{life.segment} {life.role}", "ink")
    yield _text(12, top + 29, f"from {life.start_s:.2f} s", "muted", size=10)
    start, end = seconds.at(0), seconds.at(life.duration_s)
    yield _box(start, top + 11, end - start, 14, "speech", f"speech: {life.duration_s:.2f} s")
    for told_s in life.interims_s:
        x = seconds.at(told_s - life.start_s)
        told = f"interim told {told_s - life.start_s:.2f} s after the segment began"
        yield f'<path d="M{x:.1f} {top + 6}l4 -5h-8z" {_fill("ink")}><title>{told}</title></path>'
        yield f'<line x1="{x:.1f}" y1="{top + 6}" x2="{x:.1f}" y2="{top + 25}" {_stroke("ink")}/>'
    for span in life.spans():
        kind = _KINDS[span.stage]
        y, height = {Stage.SILENCE: (6, 9), Stage.EMIT: (6, 23)}.get(span.stage, (18, 11))
        x, width = after.at(span.start_ms), after.at(span.end_ms) - after.at(span.start_ms)
        hint = f"{span.stage.value}: {span.end_ms - span.start_ms:.1f} ms, from {span.start_ms:.1f} ms on"
        yield _box(x, top + y, max(1.0, width), height, kind, hint)
    x = after.at(float("inf")) + _GAP
    yield _text(x, top + 15, life.outcome, "ink", bold=True)
    if life.latency is not None:
        yield _text(
            x, top + 29, f"{life.total_ms:.0f} ms, {life.latency.endpoint_ms:.0f} of them silence", "muted", size=10
        )
    if words and life.text:
        said = life.text if len(life.text) <= _MOST_LETTERS else life.text[: _MOST_LETTERS - 1] + "…"
        yield _text(_NAMES, top + _ROW + 8, said, "muted", size=11)


def _legend(x: float, y: float) -> Iterator[str]:
    for kind, name in (("speech", "speech"), *((_KINDS[stage], stage.value) for stage in Stage)):
        yield _box(x, y - 9, 10, 10, kind)
        yield _text(x + 15, y, name, "muted")
        x += 15 + _LETTER * len(name) + 16
    yield f'<path d="M{x + 5:.1f} {y}l4 -7h-8z" {_fill("ink")}/>'
    yield _text(x + 15, y, "interim", "muted")


def _round_step(least: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    if least <= 0:
        return 1.0
    power = 10.0 ** floor(log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least)


def _box(x: float, y: float, width: float, height: float, kind: str, hint: str = "") -> str:
    shape = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" {_fill(kind)}'
    return f"{shape}><title>{_safe(hint)}</title></rect>" if hint else f"{shape}/>"


def _text(
    x: float, y: float, text: str, kind: str, *, size: int = 12, bold: bool = False, anchor: str = "start"
) -> str:
    weight = ' font-weight="600"' if bold else ""
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f"<text {place}{weight} {_fill(kind)}>{_safe(text)}</text>"


def _fill(kind: str) -> str:
    # The attribute serves programs that know no style sheets; the class, dark pages.
    return f'class="{kind}" fill="{_COLOURS[kind][0]}"'


def _stroke(kind: str) -> str:
    return f'class="{kind}-line" stroke="{_COLOURS[kind][0]}"'


def _style() -> str:
    rules = "".join(f".{kind}{{fill:{dark}}}.{kind}-line{{stroke:{dark}}}" for kind, (_, dark) in _COLOURS.items())
    return f"@media (prefers-color-scheme: dark) {{{rules}}}"


def _safe(text: str) -> str:
    return escape(printable(text))
