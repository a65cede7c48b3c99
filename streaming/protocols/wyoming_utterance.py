"""What is told of one utterance over Wyoming: its words as they settle, and how it was said in all.

An assistant takes what lies between `audio-start` and `audio-stop` for one utterance; here it may be several segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from models.emotions import ATTRIBUTE_NAMES
from streaming.events import EmotionEvent, TranscriptEvent
from streaming.recognition.wording import join

_DIGITS: Final = 4


class Utterance:
    """Gathers the answers on one channel, in the order of their events.

    Args:
        session: whose they are.
        language: as it was asked for; None to say what is detected first.
    """

    def __init__(self, session: str, language: str | None) -> None:
        self.session: Final = session
        self._language = language
        self._told = ""
        """All that was told of words, put together."""
        self._told_of_segment = ""
        self._texts: list[str] = []
        self._emotions: list[EmotionEvent] = []
        self._unanswered: list[int] = []
        """Segments that began and have no final yet, in order."""

    @property
    def text(self) -> str:
        """The finals, one behind the other."""
        return join(self._texts)

    @property
    def language(self) -> str | None:
        """ISO 639-1 code."""
        return self._language

    def began(self, segment: int) -> None:
        """Speech began."""
        self._unanswered.append(segment)

    def failed(self) -> None:
        """The earliest segment without a final will have none."""
        del self._unanswered[:1]
        self._told_of_segment = ""

    def heard(self, event: TranscriptEvent) -> str:
        """The words that are settled now and were not before, as they follow what was told; maybe none.

        Only the earliest segment without a final tells of interims, so that words come in the order they were said. A
        final that contradicts what its interims had settled is taken up behind as many words.
        """
        if not event.final:
            return self._tell(event.committed) if self._unanswered[:1] == [event.segment] else ""
        self._language = self._language or event.language
        if event.committed:
            self._texts.append(event.committed)
        if self._unanswered[:1] != [event.segment]:
            self._told_of_segment = ""  # of one that got no final
        self._unanswered = [segment for segment in self._unanswered if segment > event.segment]
        told = self._tell(event.committed)
        self._told_of_segment = ""
        return told

    def _tell(self, settled: str) -> str:
        told = self._told_of_segment
        if settled.startswith(told):
            fresh = settled[len(told) :]
            self._told_of_segment = settled
        else:
            rest = join(settled.split()[len(told.split()) :])
            fresh = join([told, rest])[len(told) :]
            self._told_of_segment = told + fresh
        if not told:
            fresh = join([self._told, fresh])[len(self._told) :]
        self._told += fresh
        return fresh

    def judged(self, event: EmotionEvent) -> None:
        """Takes an emotion into the summary, if it is final."""
        if event.final:
            self._emotions.append(event)

    def summary(self) -> dict[str, Any]:
        """How the utterance was said: its segments, weighed by their length.

        `label` is the class that was claimed for longest, null where none was; `scores` and `attributes` are means.
        """
        scored = [event for event in self._emotions if event.scores]
        labels: dict[str, float] = {}
        for event in scored:
            if event.label is not None:
                labels[event.label] = labels.get(event.label, 0.0) + event.end_s - event.start_s
        label = max(labels, key=lambda name: labels[name], default=None)
        scores = {name: _mean(scored, [event.scores[name] for event in scored]) for name in _classes(scored)}
        felt = [(event, event.attributes) for event in scored if event.attributes is not None]
        attributes = {
            name: _mean([event for event, _ in felt], [getattr(values, name) for _, values in felt])
            for name in ATTRIBUTE_NAMES
        }
        return {
            "session": self.session,
            "label": label,
            "confidence": scores[label] if label is not None else max(scores.values(), default=0.0),
            "scores": scores,
            "attributes": attributes if felt else None,
            "segments": len(self._emotions),
        }


def _classes(events: Sequence[EmotionEvent]) -> Sequence[str]:
    return tuple(events[0].scores) if events else ()


def _mean(events: Sequence[EmotionEvent], values: Sequence[float]) -> float:
    """Weighed by the length of the events' segments."""
    lengths_s = [max(event.end_s - event.start_s, 1e-3) for event in events]
    if not events:
        return 0.0
    weighed = sum(value * length_s for value, length_s in zip(values, lengths_s, strict=True))
    return round(weighed / sum(lengths_s), _DIGITS)
