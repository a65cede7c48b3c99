"""Which of a session's audio has not been answered yet, as its events tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from streaming.errors import RecognitionError
from streaming.events import (
    EmotionEvent,
    ErrorEvent,
    Event,
    SessionEnded,
    SpeechEnded,
    SpeechStarted,
    TranscriptEvent,
)

UNJUDGED_S: Final = 4.0
"""How far speech may reach back behind the clock without having been announced: pre-roll, onset, the detector's lag."""
EVENTS_LOST: Final = "events_lost"


@dataclass(slots=True)
class _Channel:
    began: dict[int, float] = field(default_factory=dict)
    """Where each segment begins that is not answered, in their order."""
    ended: dict[int, float] = field(default_factory=dict)
    """Where those of them end that are over."""
    answered_s: float = 0.0

    def answer(self, segment: int) -> None:
        self.began.pop(segment, None)
        self.answered_s = max(self.answered_s, self.ended.pop(segment, 0.0))

    def restart_s(self, clock_s: float) -> float:
        return min(self.began.values(), default=max(self.answered_s, clock_s - UNJUDGED_S))


class Unanswered:
    """Follows the events of one session.

    Args:
        channels: of its audio.
    """

    def __init__(self, channels: int) -> None:
        self._channels: Final = {channel: _Channel() for channel in range(channels)}
        self._told: tuple[int, int] | None = None
        self.clock_s = 0.0
        """Audio the server is known to have heard."""

    @property
    def restart_s(self) -> float:
        """Everything before it was answered, or is no speech."""
        return min(channel.restart_s(self.clock_s) for channel in self._channels.values())

    @property
    def announced_s(self) -> float | None:
        """Where the first segment begins that was announced and not answered; None where there is none."""
        return min((start for channel in self._channels.values() for start in channel.began.values()), default=None)

    def take(self, event: Event) -> None:
        """Follows one more."""
        self.clock_s = max(self.clock_s, event.time_s)
        if self._told is not None:  # by a final transcript: if an emotion belongs to it, it is this event
            channel, segment = self._told
            self._told = None
            self._of(channel).answer(segment)
        match event:
            case SpeechStarted():
                self._of(event.channel).began[event.segment] = event.start_s
            case SpeechEnded():
                self._of(event.channel).ended[event.segment] = event.end_s
            case TranscriptEvent(final=True):
                self._told = (event.channel, event.segment)
            case EmotionEvent(final=True):
                self._of(event.channel).answer(event.segment)
            case ErrorEvent(code=RecognitionError.code) if event.channel is not None:
                self._fail(self._of(event.channel))
            case ErrorEvent(code=code) if code == EVENTS_LOST:
                for channel_ in self._channels.values():
                    channel_.began.clear()
            case SessionEnded():
                for channel_ in self._channels.values():
                    channel_.began.clear()
                    channel_.answered_s = event.totals.audio_s
            case _:
                pass

    def _of(self, channel: int) -> _Channel:
        return self._channels.setdefault(channel, _Channel())

    @staticmethod
    def _fail(channel: _Channel) -> None:
        """Finals of a channel come in order, and an error in the place of one."""
        for segment in channel.began:
            channel.answer(segment)
            return
