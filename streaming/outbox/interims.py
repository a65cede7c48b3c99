"""Interims on their way: of each kind and channel the latest alone, and none that was overtaken."""

from __future__ import annotations

from streaming.events import EmotionEvent, Event, SessionEnded, SpeechEnded, TranscriptEvent
from streaming.outbox.rows import Entry


class LatestInterims:
    """Holds at most one interim transcript and one interim emotion of every channel that speaks.

    A newer one takes an older one's place; the end of the segment, its finals and the end of the session take it away.
    """

    def __init__(self) -> None:
        self._held: dict[str, dict[tuple[int, str], tuple[int, Entry]]] = {}
        self.superseded = 0
        """Interims that were never handed out, because something newer came first."""

    def follow(self, event: Event, entry: Entry) -> None:
        """Takes the next event of a session: holds an interim, lets go of what any other event overtakes."""
        match event:
            case TranscriptEvent(final=False) | EmotionEvent(final=False):
                held = self._held.setdefault(event.session, {})
                self.superseded += (event.channel, event.type) in held
                held[event.channel, event.type] = event.segment, entry
            case TranscriptEvent() | EmotionEvent() | SpeechEnded():
                held = self._held.get(event.session, {})
                overtaken = [
                    key for key, (segment, _) in held.items() if key[0] == event.channel and segment <= event.segment
                ]
                for key in overtaken:
                    del held[key]
                self.superseded += len(overtaken)
            case SessionEnded():
                self.superseded += len(self._held.pop(event.session, {}))
            case _:
                pass

    def take(self, through: float) -> list[Entry]:
        """Hands out those up to a position, once."""
        taken = []
        for held in self._held.values():
            due = [key for key, (_, entry) in held.items() if entry.position <= through]
            taken += [held.pop(key)[1] for key in due]
        self._held = {session: held for session, held in self._held.items() if held}
        return taken

    def __len__(self) -> int:
        """Interims that wait."""
        return sum(len(held) for held in self._held.values())
