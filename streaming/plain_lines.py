"""Events as lines of text, for where there is no terminal to draw on."""

from __future__ import annotations

from typing import Final

from streaming.events import Degraded, EmotionEvent, ErrorEvent, Event, SpeechEvent, TranscriptEvent
from streaming.printable import printable

NOT_SURE: Final = "not sure"
NOT_UNDERSTOOD: Final = "(no words)"


def plain_line(event: Event) -> str | None:
    """One line for a final emotion, a final transcript, or something that went wrong; None for any other event."""
    match event:
        case EmotionEvent(final=True):
            latency = event.latency
            judged = f"{event.label or NOT_SURE:<9} {event.confidence:4.0%}"
            waited = f"{latency.total_ms:5.0f} ms ({latency.endpoint_ms:.0f} pause)"
            return f"{_span(event.start_s, event.end_s)}  {_who(event)}  {judged}  {waited}  {_words(event.text)}"
        case TranscriptEvent(final=True):
            start_s, end_s = (event.words[0].start_s, event.words[-1].end_s) if event.words else (event.time_s,) * 2
            return f"{_span(start_s, end_s)}  {_who(event)}  {_words(event.committed)}"
        case Degraded():
            late = f"results {event.lag_ms:.0f} ms late"
            return f"degraded ({event.reason}): {event.dropped_interims} interims dropped, {late}"
        case ErrorEvent():
            return f"error ({event.code}): {printable(event.message)}"
        case _:
            return None


def _span(start_s: float, end_s: float) -> str:
    return f"{start_s:7.2f} to {end_s:7.2f} s"


def _who(event: SpeechEvent) -> str:
    return f"{event.channel} {event.role:<9}"


def _words(text: str) -> str:
    return printable(text) or NOT_UNDERSTOOD
