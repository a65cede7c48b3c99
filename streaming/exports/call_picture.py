"""A recording as a picture: waveform, emotions, curves and words, in lines as music is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import ceil
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN, ATTRIBUTE_NAMES
from streaming.audio.loudness import LOUDNESS_STEP_S, Loudness
from streaming.svg import LETTER, Colours, Pen

_LINE_S: Final = 30.0
"""Audio in one line of the picture."""
_LEFT: Final = 92
_WIDTH: Final = 1000
"""Of a line, from its first to its last second."""
_RIGHT: Final = 20
_HEAD: Final = 76
_FOOT: Final = 12
_WAVE: Final = 44
_CURVES: Final = 44
_WORD_LINES: Final = 3
_WORD_HEIGHT: Final = 11
_CHANNEL: Final = _WAVE + _CURVES + _WORD_LINES * _WORD_HEIGHT + 16
_LINE_GAP: Final = 30
_TICK_S: Final = 5
_LEAST_PEAK: Final = 0.05
"""Recordings are drawn as loud as their loudest moment, but noise no louder than this makes it."""
_WORD_LETTER: Final = 4.9
"""Width of a character of the words, about."""
_NOT_SURE: Final = "not sure"
_EMOTIONS: Final[Mapping[str, Colours]] = MappingProxyType(
    {
        "angry": ("#d1495b", "#f0707f"),
        "sad": ("#4c78a8", "#6ea0d6"),
        "happy": ("#d39e00", "#e3b341"),
        "surprise": ("#c26a1b", "#e8924a"),
        "fear": ("#8e6bbf", "#a98ae0"),
        "disgust": ("#5b8c3a", "#7fb45c"),
        "contempt": ("#8a5a44", "#b98a72"),
        "neutral": ("#8c959f", "#7d8590"),
    }
)
_UNSURE: Final = "unsure"
_UNSCORED: Final = "unscored"
_PEN: Final = Pen(
    {
        **_EMOTIONS,
        _UNSURE: ("#c9d1d9", "#484f58"),
        _UNSCORED: ("#eaeef2", "#21262d"),
        "wave": ("#59636e", "#9198a1"),
        "arousal": ("#d1495b", "#f0707f"),
        "valence": ("#2a9d8f", "#3fb8a9"),
        "dominance": ("#8e6bbf", "#a98ae0"),
    }
)


def call_picture(title: str, loudness: Loudness, rows: Sequence[Mapping[str, Any]], duration_s: float) -> str:
    """Draws a recording, a line every half a minute and a staff for each channel.

    Behind the waveform of each channel stand its segments in the colour of their emotion, the stronger the surer;
    under it arousal, valence and dominance, and what was said. A pointer that rests on a segment shows all of it.

    Args:
        title: of the picture.
        loudness: of all channels.
        rows: what was found, as `medusa analyze --json` has it.
        duration_s: of the recording.
    """
    channels = len(loudness.peaks)
    lines = max(1, ceil(duration_s / _LINE_S))
    peaks = loudness.peaks / max(_LEAST_PEAK, loudness.peaks.max(initial=0.0))
    height = _HEAD + lines * (channels * _CHANNEL + _LINE_GAP) + _FOOT
    found = [row for row in rows if row["channel"] is not None]
    roles = {row["channel"]: row["role"] for row in found}
    parts = [_PEN.text(12, 24, title, "ink", size=16, bold=True), *_legend(found)]
    for number in range(lines):
        line = _Line(number * _LINE_S, min(duration_s, (number + 1) * _LINE_S))
        top = _HEAD + number * (channels * _CHANNEL + _LINE_GAP)
        parts += _seconds(line, top, top + channels * _CHANNEL)
        for channel in range(channels):
            own = [row for row in found if row["channel"] == channel and line.shows(row)]
            parts += _staff(line, top + channel * _CHANNEL, peaks[channel], own)
            parts.append(_PEN.text(12, top + channel * _CHANNEL + 16, roles.get(channel, f"channel {channel}"), "ink"))
    return _PEN.picture(title, _LEFT + _WIDTH + _RIGHT, height, parts)


@dataclass(frozen=True, slots=True)
class _Line:
    start_s: float
    end_s: float

    def at(self, second: float) -> float:
        """Where a second of the recording lies; never outside the line."""
        return _LEFT + _WIDTH * min(1.0, max(0.0, (second - self.start_s) / _LINE_S))

    def shows(self, row: Mapping[str, Any]) -> bool:
        return bool(row["start_s"] < self.end_s and row["end_s"] > self.start_s)


def _legend(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    told = {row["label"] for row in rows}
    names = [(name, name) for name in _EMOTIONS if name in told]
    if any(row["scores"] and row["label"] is None for row in rows):
        names.append((_UNSURE, _NOT_SURE))
    x = 12.0
    for colour, name in names:
        yield _PEN.box(x, 39, 10, 10, colour)
        yield _PEN.text(x + 15, 48, name, "muted")
        x += 15 + LETTER * len(name) + 16
    x = 12.0
    for name in ATTRIBUTE_NAMES:
        yield _PEN.line(x, 62, x + 12, 62, name)
        yield _PEN.text(x + 17, 66, name, "muted")
        x += 17 + LETTER * len(name) + 16
    yield _PEN.text(x, 66, f"{ATTRIBUTE_MIN:g} to {ATTRIBUTE_MAX:g}", "muted")


def _seconds(line: _Line, top: float, bottom: float) -> Iterator[str]:
    tick = int(line.start_s)
    while tick <= line.end_s:
        x = line.at(tick)
        yield _PEN.line(x, top, x, bottom, "grid")
        yield _PEN.text(x, bottom + 13, f"{tick // 60}:{tick % 60:02}", "muted", size=11, anchor="middle")
        tick += _TICK_S


def _staff(line: _Line, top: float, peaks: NDArray[np.float32], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        x, end = line.at(row["start_s"]), line.at(row["end_s"])
        colour = row["label"] or (_UNSURE if row["scores"] else _UNSCORED)
        strength = 0.25 + 0.55 * row["confidence"] if row["label"] else 0.6
        band = _PEN.box(x, top, max(1.0, end - x), _WAVE, colour, _hint(row))
        yield f'<g fill-opacity="{strength:.2f}">{band}</g>'
    yield _waveform(line, top, peaks)
    yield from _curves(line, top + _WAVE + 6, rows)
    for row, after in zip_longest(rows, rows[1:]):
        if row["start_s"] >= line.start_s:
            until_s = line.end_s if after is None else after["start_s"]
            yield from _words(line, top + _WAVE + _CURVES + 18, row, until_s)


def _waveform(line: _Line, top: float, peaks: NDArray[np.float32]) -> str:
    first, last = round(line.start_s / LOUDNESS_STEP_S), round(line.end_s / LOUDNESS_STEP_S)
    middle, half = top + _WAVE / 2, _WAVE / 2
    strokes = "".join(
        f"M{line.at((first + step) * LOUDNESS_STEP_S):.1f} {middle - half * peak:.1f}v{2 * half * peak:.1f}"
        for step, peak in enumerate(peaks[first:last].tolist())
        if peak * half >= 0.1  # what would not be seen is not drawn
    )
    silence = f"M{line.at(line.start_s):.1f} {middle:.1f}H{line.at(line.end_s):.1f}"
    return f'<path d="{silence}{strokes}" {_PEN.stroke("wave")}/>'


def _curves(line: _Line, top: float, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A step for each segment, joined where one follows another on the line."""
    scored = [row for row in rows if row["attributes"]]
    for name in ATTRIBUTE_NAMES:
        points = []
        for row in scored:
            share = (row["attributes"][name] - ATTRIBUTE_MIN) / (ATTRIBUTE_MAX - ATTRIBUTE_MIN)
            y = top + _CURVES * (1 - min(1.0, max(0.0, share)))
            points.append(f"{line.at(row['start_s']):.1f} {y:.1f}H{line.at(row['end_s']):.1f}")
        if points:
            yield f'<path d="M{"L".join(points)}" fill="none" stroke-width="1.5" {_PEN.stroke(name)}/>'


def _words(line: _Line, top: float, row: Mapping[str, Any], until_s: float) -> Iterator[str]:
    """As much of the words as there is room for before the next."""
    letters = int((line.at(until_s) - line.at(row["start_s"])) / _WORD_LETTER) - 1
    written = [""]
    for word in row["text"].split():
        longer = f"{written[-1]} {word}".strip()
        if len(longer) <= letters:
            written[-1] = longer
        elif len(written) < _WORD_LINES:
            written.append(word[:letters])
        else:
            written[-1] = f"{written[-1][: max(0, letters - 1)]}…"
            break
    for number, text in enumerate(filter(None, written)):
        yield _PEN.text(line.at(row["start_s"]), top + number * _WORD_HEIGHT, text, "ink", size=9)


def _hint(row: Mapping[str, Any]) -> str:
    times = f"{row['start_s']:.2f} to {row['end_s']:.2f} s"
    if not row["scores"]:
        return f"{times}: {row['text']}"
    scores = ", ".join(f"{name} {share:.2f}" for name, share in sorted(row["scores"].items(), key=lambda one: -one[1]))
    return f"{row['label'] or _NOT_SURE}, {times}: {row['text']} ({scores})"
