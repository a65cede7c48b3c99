"""The live table: every channel's speech, words and emotion, from events to something a terminal can draw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from rich.console import Group, RenderableType
from rich.panel import Panel
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
    SpeechStarted,
    TranscriptEvent,
)

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
_BAR: Final = 18
_SAID_LINES: Final = 3
_FULL, _EMPTY = "█", "░"


@dataclass(slots=True)
class ChannelView:
    """What is shown of one channel."""

    role: str
    state: str = "silent"
    committed: str = ""
    tentative: str = ""
    said: list[tuple[str, str | None]] = field(default_factory=list)
    """Finished segments, with their label."""
    emotion: EmotionEvent | None = None


class LiveTable:
    """Takes events in their order, gives what to show; keeps no clock and no screen."""

    def __init__(self) -> None:
        """Starts with nothing heard."""
        self._channels: dict[int, ChannelView] = {}
        self._labels: tuple[str, ...] = ()
        self._title = "waiting for audio"
        self._time_s = 0.0
        self._note = ""

    def take(self, event: Event) -> None:
        """Follows one event."""
        self._time_s = max(self._time_s, event.time_s)
        match event:
            case SessionStarted():
                self._labels = event.model.labels
                self._title = f"session {event.session}, bundle {event.model.bundle}"
            case SpeechStarted():
                view = self._view(event.channel, event.role)
                view.state, view.committed, view.tentative = "speaking", "", ""
            case TranscriptEvent():
                view = self._view(event.channel, event.role)
                view.committed, view.tentative = event.committed, event.tentative
                if event.final:
                    view.said.append((event.committed, None))
                    view.committed = view.tentative = ""
            case EmotionEvent():
                view = self._view(event.channel, event.role)
                view.emotion = event
                if event.final and view.said:
                    view.said[-1] = (view.said[-1][0], event.label)
            case SpeechEnded():
                self._view(event.channel, event.role).state = "silent"
            case Degraded():
                self._note = f"degraded: {event.reason}, {event.dropped_interims} interims dropped"
            case ErrorEvent():
                self._note = f"error: {event.message}"
            case SessionEnded():
                self._title += f", ended: {event.reason}"

    def render(self) -> RenderableType:
        """What to show now."""
        table = Table(expand=True, title=f"{self._title}   {self._time_s:6.1f} s", title_justify="left")
        table.add_column("channel", width=11)
        table.add_column("words", ratio=1)
        table.add_column("emotion", width=11 + _BAR + 6)
        table.add_column("latency", width=12, justify="right")
        for number, view in sorted(self._channels.items()):
            table.add_row(self._who(number, view), self._words(view), self._bars(view), self._latency(view))
            table.add_section()
        return Group(table, Text(self._note, style="yellow")) if self._note else table

    def _view(self, channel: int, role: str) -> ChannelView:
        return self._channels.setdefault(channel, ChannelView(role))

    @staticmethod
    def _who(number: int, view: ChannelView) -> Text:
        mark = Text("● ", style="bold green") if view.state == "speaking" else Text("○ ", style="dim")
        return mark + Text(f"{view.role}\n", style="bold") + Text(f"  {number}, {view.state}", style="dim")

    @staticmethod
    def _words(view: ChannelView) -> Text:
        text = Text()
        for said, label in view.said[-_SAID_LINES:]:
            text.append(f"{said or '(nothing understood)'}\n", style=COLOURS.get(label or "", "grey50"))
        text.append(view.committed, style="bold")
        if view.tentative:
            text.append(f" {view.tentative}", style="dim italic")
        return text

    def _bars(self, view: ChannelView) -> RenderableType:
        if view.emotion is None:
            return Text("not scored yet" if view.state == "speaking" else "", style="dim")
        lines = Text()
        for label in self._labels:
            score = view.emotion.scores.get(label, 0.0)
            filled = round(score * _BAR)
            shown = label == view.emotion.label
            lines.append(f"{label:<10}", style="bold" if shown else "dim")
            lines.append(_FULL * filled, style=COLOURS.get(label, "white"))
            lines.append(_EMPTY * (_BAR - filled), style="grey23")
            lines.append(f" {score:4.0%}\n", style="bold" if shown else "dim")
        claimed = view.emotion.label or "not sure"
        return Group(lines, Text(f"{claimed}, {'final' if view.emotion.final else 'so far'}", style="italic"))

    @staticmethod
    def _latency(view: ChannelView) -> Text:
        if view.emotion is None:
            return Text("")
        latency = view.emotion.latency
        return Text(f"{latency.total_ms:.0f} ms\n", style="bold") + Text(
            f"pause {latency.endpoint_ms:.0f}\ncompute {latency.compute_ms:.0f}", style="dim"
        )


def summary_panel(text: str, *, failed: bool) -> Panel:
    """The last line of a demo."""
    return Panel(text, border_style="red" if failed else "green")


def plain_line(event: Event) -> str | None:
    """One line for a final emotion or transcript, for where there is no terminal; None for what is not shown."""
    if isinstance(event, EmotionEvent) and event.final:
        label = event.label or "not sure"
        return (
            f"{event.start_s:7.2f} to {event.end_s:6.2f} s  {event.role:<9} {label:<9} {event.confidence:4.0%}  "
            f"{event.latency.total_ms - event.latency.endpoint_ms:5.0f} ms  {event.text}"
        )
    if isinstance(event, ErrorEvent):
        return f"error {event.code}: {event.message}"
    return None
