"""Findings as WebVTT (https://www.w3.org/TR/webvtt1/): subtitles that say how, for any video player."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from streaming.analyze import FileResult
from streaming.printable import printable

VTT_HEAD: Final = "WEBVTT\n\n"
_MS_PER_S: Final = 1000
_NOT_SURE: Final = "not sure"


def vtt_body(result: FileResult, _labels: Sequence[str]) -> str:
    """A cue for each stretch of speech: who spoke, how it sounded, and what was said.

    The voice is the role, with the channel where one role has several; the emotion is the class of the words, so that
    a style sheet can colour them: `::cue(.angry)`.
    """
    spoken = [row for row in result.rows if row["channel"] is not None]
    channels: dict[str, set[int]] = {}
    for row in spoken:
        channels.setdefault(row["role"], set()).add(row["channel"])
    cues = []
    for row in sorted(spoken, key=lambda row: (row["start_s"], row["channel"])):
        voice = row["role"] if len(channels[row["role"]]) == 1 else f"{row['role']} {row['channel']}"
        times = f"{_timestamp(row['start_s'])} --> {_timestamp(row['end_s'])}"
        cues.append(f"{times}\n<v {voice}>{''.join(_said(row))}\n\n")
    return "".join(cues)


def _said(row: dict[str, Any]) -> Iterator[str]:
    words = _plain(row["text"])
    if not row["scores"]:
        yield words
        return
    name = row["label"] or _NOT_SURE
    sure = f" {row['confidence']:.0%}" if row["label"] else ""
    yield f"<c.{row['label'] or 'unsure'}>[{name}{sure}]{' ' if words else ''}{words}</c>"


def _plain(text: str) -> str:
    """Words on one line, without what WebVTT takes for markup."""
    flat = " ".join(printable(text).split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _timestamp(seconds: float) -> str:
    whole, milliseconds = divmod(round(seconds * _MS_PER_S), _MS_PER_S)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}.{milliseconds:03}"
