"""The live table: every channel's speech, words and emotion, from events to something a terminal can draw."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streaming.events import (
    Degraded,
    EmotionEvent,
    ErrorEvent,
    Event,
    SessionEnded,
    SessionStarted,
    SpeechEnded,
    SpeechEvent,
    SpeechStarted,
    TranscriptEvent,
)
from streaming.plain_lines import NOT_SURE, NOT_UNDERSTOOD, plain_line
from streaming.printable import printable

COLOURS: Final = {
    "angry": "red",
    "sad": "blue",
    "happy": "green",
    "surprise": "yellow",
    "fear": "magenta",
    "disgust": "dark_olive_green3",
    "contempt": "orange3",
    "neutral": "grey62",
}
_UNKNOWN: Final = "white"
_LABEL_WIDTH: Final = 9
_BAR_WIDTH: Final = 12
_PERCENT_WIDTH: Final = 5
_WHO_WIDTH: Final = 14
_SAID_SEGMENTS: Final = 3
"""Finished segments that stay in sight."""
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_FULL: Final = "█"


class State(StrEnum):
    """What a channel is doing."""

    SILENT = "silent"
    SPEAKING = "speaking"
    RECOGNISING = "recognising"
    """Speech has ended, its final is on its way."""


_MARKS: Final = {
    State.SILENT: ("○", "dim"),
    State.SPEAKING: ("●", "bold green"),
    State.RECOGNISING: ("◐", "yellow"),
}


@dataclass(slots=True)
class _Said:
    segment: int
    words: str
    label: str | None = None


@dataclass(slots=True)
class _Channel:
    role: str
    state: State = State.SILENT
    segment: int = 0
    """The newest that began."""
    committed: str = ""
    tentative: str = ""
    said: list[_Said] = field(default_factory=list)
    emotion: EmotionEvent | None = None
    answered_ms: tuple[float, float] | None = None
    """Of the last final emotion: the pause that ended its segment, and what came after."""


class LiveTable:
    """Takes events in their order, gives what to show; keeps no clock and no screen."""

    def __init__(self) -> None:
        """Starts with nothing heard."""
        self._channels: dict[int, _Channel] = {}
        self._labels: tuple[str, ...] = ()
        self._title = "waiting for audio"
        self._time_s = 0.0
        self._note = ""

    @property
    def tentative(self) -> bool:
        """Whether words are in sight that may still change."""
        return any(channel.tentative for channel in self._channels.values())

    def take(self, event: Event) -> None:
        """Follows one event."""
        self._time_s = max(self._time_s, event.time_s)
        match event:
            case SessionStarted():
                self._channels.clear()  # of a session before it, whose segments had the same numbers
                self._time_s = event.time_s
                self._labels = tuple(map(printable, event.model.labels))
                self._title = f"session {event.session}, ensemble {printable(event.model.bundle)}"
            case SpeechStarted():
                channel = self._channel(event)
                channel.state, channel.segment = State.SPEAKING, event.segment
                channel.committed = channel.tentative = ""
            case TranscriptEvent():
                self._hear(self._channel(event), event)
            case EmotionEvent():
                self._feel(self._channel(event), event)
            case SpeechEnded():
                channel = self._channel(event)
                if channel.segment == event.segment:
                    channel.state = State.RECOGNISING
            case Degraded() | ErrorEvent():
                self._note = plain_line(event) or ""
                if isinstance(event, ErrorEvent) and event.channel in self._channels:
                    self._channels[event.channel].state = State.SILENT
            case SessionEnded():
                self._title += f", ended: {printable(event.reason)}"

    def render(self) -> RenderableType:
        """What to show now."""
        table = Table(
            expand=True,
            title=f"{self._title}, {self._time_s:.1f} s",
            title_justify="left",
            title_style="bold",
            show_lines=True,
        )
        table.add_column("channel", width=_WHO_WIDTH)
        table.add_column("words", ratio=1)
        table.add_column("emotion", width=_LABEL_WIDTH + _BAR_WIDTH + _PERCENT_WIDTH + 1)
        for number, channel in sorted(self._channels.items()):
            table.add_row(_who(number, channel), _words(channel), self._emotion(channel))
        return Group(table, Text(self._note, style="yellow")) if self._note else table

    def _channel(self, event: SpeechEvent) -> _Channel:
        return self._channels.setdefault(event.channel, _Channel(event.role))

    @staticmethod
    def _hear(channel: _Channel, event: TranscriptEvent) -> None:
        if event.final:
            channel.said = [*channel.said, _Said(event.segment, printable(event.committed))][-_SAID_SEGMENTS:]
        if event.segment < channel.segment:
            return  # a later segment is being spoken: its words stay
        channel.segment = event.segment
        if event.final:
            channel.state = State.SILENT
            channel.committed = channel.tentative = ""
        else:
            channel.committed, channel.tentative = printable(event.committed), printable(event.tentative)

    @staticmethod
    def _feel(channel: _Channel, event: EmotionEvent) -> None:
        channel.emotion = event
        if not event.final:
            return
        channel.answered_ms = (event.latency.endpoint_ms, event.latency.total_ms - event.latency.endpoint_ms)
        for said in channel.said:
            if said.segment == event.segment:
                said.label = event.label

    def _emotion(self, channel: _Channel) -> RenderableType:
        emotion = channel.emotion
        if emotion is None:
            return Text("not scored" if channel.said else "", style="dim")
        headline = _headline(emotion)
        lines = [headline]
        for label in self._labels:
            score = emotion.scores.get(label, 0.0)
            style = "bold" if label == emotion.label else "dim"
            line = Text(f"{label:<{_LABEL_WIDTH}} ", style=style)
            line.append(_bar(score), style=_colour(label))
            line.append(f"{score:{_PERCENT_WIDTH}.0%}", style=style)
            lines.append(line)
        return Group(*lines)


def _who(number: int, channel: _Channel) -> Text:
    mark, style = _MARKS[channel.state]
    who = Text(f"{mark} ", style=style)
    who.append(f"{channel.role}\n", style="bold")
    who.append(f"  channel {number}\n  {channel.state}\n", style="dim")
    if channel.answered_ms is not None:
        pause_ms, answer_ms = channel.answered_ms
        who.append(f"\n{pause_ms + answer_ms:.0f} ms after", style="bold")
        who.append(f"\n{pause_ms:.0f} pause\n{answer_ms:.0f} answer", style="dim")
    return who


def _words(channel: _Channel) -> Text:
    text = Text()
    for said in channel.said:
        text.append(said.words or NOT_UNDERSTOOD, style="" if said.words else "dim")
        if said.label is not None:
            text.append(f" {said.label}", style=_colour(said.label))
        text.append("\n")
    text.append(channel.committed, style="bold")
    if channel.tentative:
        text.append(f"{' ' if channel.committed else ''}{channel.tentative}", style="dim italic")
    return text


def _headline(emotion: EmotionEvent) -> Text:
    headline = Text(printable(emotion.label or NOT_SURE), style=f"bold {_colour(emotion.label)}")
    if emotion.label is not None:
        headline.append(f" {emotion.confidence:.0%}", style="bold")
    elif emotion.scores:
        best = max(emotion.scores, key=lambda label: emotion.scores[label])
        headline.append(f" ({printable(best)} {emotion.confidence:.0%})", style="dim")
    if not emotion.final:
        headline.append(" so far", style="dim")
    return headline


def _bar(score: float) -> str:
    eighths = round(min(1.0, max(0.0, score)) * _BAR_WIDTH * 8)
    full, rest = divmod(eighths, 8)
    return (_FULL * full + (_EIGHTHS[rest] if rest else "")).ljust(_BAR_WIDTH)


def _colour(label: str | None) -> str:
    return COLOURS.get(label or "", _UNKNOWN)
