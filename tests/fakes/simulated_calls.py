"""Calls that are simulated event by event, for pages that show many of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from streaming.events import (
    AttributesInfo,
    AudioInfo,
    EmotionEvent,
    Event,
    Latency,
    Limits,
    ModelInfo,
    SessionEnded,
    SessionStarted,
    SpeechEnded,
    SpeechStarted,
    Totals,
    TranscriptEvent,
)
from streaming.hub import EventHub

LABELS: Final = ("angry", "sad", "happy", "surprise", "fear", "disgust", "neutral")
_CALM: Final = (
    "Good morning, I have a question about my last bill.",
    "The parcel came yesterday, thank you, but the box was empty.",
    "The number of the order is four seven one nine.",
    "Could you look at that for me, please?",
    "That would be a great help.",
)
_ANGRY: Final = (
    "I have been waiting for this refund since the second of May.",
    "No, that is not what I asked for at all.",
    "This is the third time that I have to explain it.",
    "You told me the very same thing last week.",
    "I want to speak to somebody who can decide this.",
)
_AGENT: Final = (
    "Let me look at that for you.",
    "Could you give me the number of the order, please?",
    "I see it here, one moment.",
    "I am sorry about that, I will note it down.",
    "Is there anything else that I can do for you?",
)
_ROLES: Final = ("customer", "agent")
_INTERIMS: Final = 4
_ANNOYED: Final = 0.45
_Made = TypeVar("_Made", bound=Event)


class SimulatedCall:
    """A customer and an agent who take turns; the customer's mood drifts. Repeatable from the seed."""

    def __init__(self, session: str, seed: int, *, anger: float | None = None) -> None:
        self.session = session
        self._random = random.Random(seed)
        self._seq = 0
        self._time_s = 0.0
        self._anger = self._random.uniform(0.0, 0.5) if anger is None else anger
        self._drift = self._random.uniform(-0.02, 0.02) if anger is None else 0.02
        self._segments = [0, 0]
        self._events = self._tell()

    def next_event(self, after_s: float) -> Event:
        """What happens next, so much later on the clock of the call."""
        self._time_s += after_s
        return next(self._events)

    def hear(self, text: str) -> Event:
        """The customer says this and nothing else."""
        voice = {"channel": 0, "role": _ROLES[0], "segment": self._segments[0]}
        return self._transcript(voice, text, "", final=True)

    def end(self) -> Event:
        """They hang up."""
        totals = Totals(audio_s=self._time_s, speech_s=self._time_s / 2, segments=1, finals=1, interims=1)
        return self._make(SessionEnded, reason="client_close", totals=totals)

    def _tell(self) -> Iterator[Event]:
        yield self._make(
            SessionStarted,
            audio=AudioInfo(encoding="mulaw", rate_hz=8000, channels=2),
            model=ModelInfo(bundle="base", sha256="0" * 64, profile="base", labels=LABELS),
            limits=Limits(max_message_bytes=1024, max_segment_s=15, idle_timeout_s=60, replay_events=1000),
        )
        channel = 0
        while True:
            yield from self._segment(channel)
            channel = 1 - channel

    def _segment(self, channel: int) -> Iterator[Event]:
        self._segments[channel] += 1
        voice: dict[str, Any] = {"channel": channel, "role": _ROLES[channel], "segment": self._segments[channel]}
        start_s = self._time_s
        said = _AGENT if channel else _ANGRY if self._anger > _ANNOYED else _CALM
        words = self._random.choice(said).split()
        yield self._make(SpeechStarted, start_s=start_s, **voice)
        for part in range(1, _INTERIMS + 1):
            heard = len(words) * part // (_INTERIMS + 1)
            settled, tentative = words[:heard], words[heard : heard + 2]
            yield self._transcript(voice, " ".join(settled), " ".join(tentative), final=False)
            if channel == 0:
                yield self._emotion(voice, start_s, " ".join(settled), final=False)
        end_s = max(self._time_s, start_s + 0.1)
        yield self._make(SpeechEnded, start_s=start_s, end_s=end_s, reason="silence", **voice)
        yield self._transcript(voice, " ".join(words), "", final=True)
        if channel == 0:
            yield self._emotion(voice, start_s, " ".join(words), final=True)

    def _transcript(self, voice: dict[str, Any], committed: str, tentative: str, *, final: bool) -> Event:
        return self._make(
            TranscriptEvent,
            final=final,
            committed=committed,
            tentative=tentative,
            language="en",
            words=(),
            **voice,
        )

    def _emotion(self, voice: dict[str, Any], start_s: float, text: str, *, final: bool) -> Event:
        self._anger = min(0.95, max(0.02, self._anger + self._drift + self._random.gauss(0, 0.05)))
        rest = (1 - self._anger) / (len(LABELS) - 1)
        sure = self._anger > _ANNOYED or self._random.random() < 0.6
        label = "angry" if self._anger > _ANNOYED else self._random.choice(LABELS[1:])
        scores = dict.fromkeys(LABELS, round(rest, 4)) | {"angry": round(self._anger, 4)}
        return self._make(
            EmotionEvent,
            start_s=start_s,
            end_s=max(self._time_s, start_s + 0.1),
            final=final,
            label=label if sure else None,
            abstained=not sure,
            confidence=round(max(self._anger, rest), 4),
            scores=scores,
            attributes=AttributesInfo(
                arousal=3 + 3 * self._anger, valence=max(1.0, 4.5 - 3.3 * self._anger), dominance=4.0
            ),
            text=text,
            latency=Latency(
                endpoint_ms=600 if final else 0, queue_ms=4, compute_ms=120, total_ms=640 if final else 150
            ),
            **voice,
        )

    def _make(self, event: type[_Made], **fields: Any) -> _Made:
        self._seq += 1
        time_s = round(self._time_s, 3)
        return event(session=self.session, seq=self._seq, time_s=time_s, **fields).stamped(datetime.now(UTC))


def simulated_calls(count: int) -> list[SimulatedCall]:
    """So many calls, each with a mood of its own."""
    return [SimulatedCall(f"call-{number:03}", seed=number) for number in range(count)]


async def publish(hub: EventHub, calls: list[SimulatedCall], *, events_per_s: float, for_s: float) -> int:
    """Publishes events of all calls at an even pace: so many a second of each. How many there were."""
    loop = asyncio.get_running_loop()
    begun, published = loop.time(), 0
    while (passed := loop.time() - begun) < for_s:
        due = int(passed * events_per_s * len(calls))
        for number in range(published, due):
            hub.publish(calls[number % len(calls)].next_event(1 / events_per_s))
        published = due
        await asyncio.sleep(0.02)
    return published
