"""What an outbox holds: events on their way, and how far each open session has come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from streaming.events import Event, SpeechEnded, TranscriptEvent


class Kind(IntEnum):
    """What may happen to an entry when room is needed. Stored as numbers: change none."""

    EVENT = 0
    """May be given up."""
    ENDED = 1
    """The end of a session: stays where all else of the session was given up."""
    NOTICE = 2
    """Stands where events were given up, and says so."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event on its way."""

    position: int
    """Rises in the order of publication, across sessions."""
    session: str
    seq: int
    topic: str
    payload: bytes
    """The event as JSON in UTF-8."""
    kind: Kind = Kind.EVENT
    lost_from: int = 0
    """Of a notice, the `seq` of the first event it stands for."""
    interim: bool = False
    """Whether it is handed out once at most, acknowledged or not."""

    @property
    def size_bytes(self) -> int:
        """What it counts for."""
        return len(self.topic) + len(self.payload)


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that has started and not ended, as far as its events tell."""

    session: str
    seq: int = 0
    """Of its last event."""
    time_s: float = 0.0
    """The session's audio clock at that event."""
    speech_s: float = 0.0
    segments: int = 0
    finals: int = 0
    interims: int = 0

    def after(self, event: Event) -> OpenSession:
        """The session one event later."""
        session = replace(self, seq=event.seq, time_s=event.time_s)
        match event:
            case SpeechEnded(start_s=start_s, end_s=end_s):
                return replace(session, segments=self.segments + 1, speech_s=self.speech_s + end_s - start_s)
            case TranscriptEvent(final=True):
                return replace(session, finals=self.finals + 1)
            case TranscriptEvent():
                return replace(session, interims=self.interims + 1)
            case _:
                return session
