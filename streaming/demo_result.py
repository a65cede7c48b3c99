"""What came of a demo, judged by its script."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from streaming.conversation import Clip, Conversation
from streaming.events import EmotionEvent, ErrorEvent, Event, TranscriptEvent
from streaming.word_errors import word_error_rate


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What came of a demo."""

    events: tuple[Event, ...]
    """That the audio's own socket carried."""
    followed: tuple[Event, ...]
    """That the subscriber saw."""
    clips: int
    """That were spoken."""
    silent_clips: tuple[Clip, ...]
    """Spoken, but without a final emotion event of their own."""
    word_error_rate: float
    answer_ms: tuple[float, ...]
    """Of each final emotion: from the decision that its segment had ended to the event."""
    unpublished: int = 0
    """Events that the broker did not take."""
    verbatim: bool = True
    """Whether events told the words as recognised; otherwise `word_error_rate` says nothing."""

    @classmethod
    def of(
        cls,
        conversation: Conversation,
        events: Sequence[Event],
        followed: Sequence[Event],
        *,
        unpublished: int = 0,
        verbatim: bool = True,
    ) -> Self:
        """Judges a demo.

        Args:
            conversation: what was played.
            events: on the audio's own socket, in order.
            followed: at the subscriber, in order.
            unpublished: events that the broker did not take.
            verbatim: whether events tell the words as recognised, see `[privacy] transcripts`.
        """
        finals = [event for event in events if isinstance(event, EmotionEvent) and event.final]
        heard = {_spoken_in(event, conversation.clips) for event in finals if event.scores}
        said = [event for event in events if isinstance(event, TranscriptEvent) and event.final]
        pairs = []
        for channel in range(len(conversation.roles)):
            wanted = " ".join(clip.words for clip in conversation.clips if clip.channel == channel)
            pairs.append((wanted, " ".join(event.committed for event in said if event.channel == channel)))
        return cls(
            events=tuple(events),
            followed=tuple(followed),
            clips=len(conversation.clips),
            silent_clips=tuple(clip for clip in conversation.clips if clip not in heard),
            word_error_rate=word_error_rate(pairs),
            answer_ms=tuple(event.latency.total_ms - event.latency.endpoint_ms for event in finals),
            unpublished=unpublished,
            verbatim=verbatim,
        )

    @property
    def finals(self) -> int:
        """Final emotion events."""
        return len(self.answer_ms)

    @property
    def gaps(self) -> int:
        """Events missing from the sequence of either socket, or not the same on both."""
        last = max((event.seq for event in (*self.events, *self.followed)), default=0)
        mine, theirs = ({event.seq: event for event in events} for events in (self.events, self.followed))
        return sum(mine.get(seq) is None or mine.get(seq) != theirs.get(seq) for seq in range(1, last + 1))

    @property
    def in_order(self) -> bool:
        """Whether both sockets carried every event once and in the order of `seq`."""
        return all(
            [event.seq for event in events] == sorted({event.seq for event in events})
            for events in (self.events, self.followed)
        )

    @property
    def median_answer_ms(self) -> float | None:
        """The median of `answer_ms`; None without finals."""
        return statistics.median(self.answer_ms) if self.answer_ms else None

    @property
    def failures(self) -> list[str]:
        """What went wrong, in words; empty where nothing did."""
        found = []
        if self.silent_clips:
            places = ", ".join(f"channel {clip.channel} at {clip.start_s:.1f} s" for clip in self.silent_clips)
            found.append(f"{len(self.silent_clips)} of {self.clips} clips got no final emotion: {places}")
        if self.gaps:
            found.append(f"{self.gaps} events are missing on a socket, or differ between the two")
        if not self.in_order:
            found.append("events came out of order")
        if not self.events or self.events[-1].type != "session.ended":
            found.append("the session did not end in order")
        if self.unpublished:
            found.append(f"the MQTT broker did not take {self.unpublished} events")
        found += [f"the server reported: {event.message}" for event in self.events if isinstance(event, ErrorEvent)]
        return found

    def summary(self) -> str:
        """One line."""
        median = "not measured" if self.median_answer_ms is None else f"{self.median_answer_ms:.0f} ms"
        words = f"{self.word_error_rate:.1%}" if self.verbatim else "not measured, since words are not told as they are"
        return (
            f"{self.finals} final emotion events for {self.clips} spoken clips; word error rate {words}; "
            f"median latency after the endpoint {median}; {len(self.events)} events on each of two sockets, "
            f"{self.gaps} gaps"
        )

    def as_mapping(self) -> dict[str, Any]:
        """For JSON."""
        median = self.median_answer_ms
        return {
            "finals": self.finals,
            "clips": self.clips,
            "word_error_rate": round(self.word_error_rate, 4) if self.verbatim else None,
            "median_answer_ms": None if median is None else round(median, 1),
            "events": len(self.events),
            "gaps": self.gaps,
            "failures": self.failures,
        }


def _spoken_in(event: EmotionEvent, clips: Sequence[Clip]) -> Clip | None:
    """The clip that most of an event's speech lies in, so that one event never stands for two clips."""
    shared = [(min(event.end_s, clip.end_s) - max(event.start_s, clip.start_s), clip) for clip in clips]
    longest_s, clip = max(
        ((length, clip) for length, clip in shared if clip.channel == event.channel),
        key=lambda pair: pair[0],
        default=(0.0, None),
    )
    return clip if longest_s > 0 else None
