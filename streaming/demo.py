"""The demo: the real server, a real client at the pace of speech, and a second one that checks what it is told."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import AudioFormat
from streaming.client import EventsClient, ListenClient
from streaming.config import Settings
from streaming.conversation import Clip, Conversation
from streaming.events import EmotionEvent, Event, TranscriptEvent
from streaming.recognition.recognizer import Recognizer
from streaming.server import RunningServer, running_server
from streaming.word_errors import word_error_rate

Follow = Callable[[Event], None]


@dataclass(slots=True)
class DemoResult:
    """What came of a demo."""

    events: list[Event] = field(default_factory=list)
    """That the audio's own socket carried."""
    followed: list[Event] = field(default_factory=list)
    """That the subscriber saw."""
    silent_clips: list[Clip] = field(default_factory=list)
    """Spoken, but without a final emotion event."""
    word_error_rate: float = 1.0
    compute_ms: list[float] = field(default_factory=list)
    """Of each final: from the end of the pause that ended the segment to the event."""

    @property
    def finals(self) -> int:
        """Final emotion events."""
        return sum(isinstance(event, EmotionEvent) and event.final for event in self.events)

    @property
    def gaps(self) -> int:
        """Places where the sequence of either socket breaks, and events that one of them alone saw."""
        broken = 0
        for events in (self.events, self.followed):
            numbers = [event.seq for event in events]
            broken += sum(number != place for place, number in enumerate(numbers, start=1))
        return broken + abs(len(self.events) - len(self.followed))

    @property
    def failures(self) -> list[str]:
        """What went wrong, in words; empty where nothing did."""
        found = []
        if self.silent_clips:
            clips = ", ".join(f"channel {clip.channel} at {clip.start_s:.1f} s" for clip in self.silent_clips)
            found.append(f"{len(self.silent_clips)} spoken clips got no final emotion event: {clips}")
        if self.gaps:
            found.append(f"the event sequence has {self.gaps} gaps")
        if any(event.type == "error" for event in self.events):
            found.append("the server reported errors")
        return found

    def summary(self) -> str:
        """One line."""
        median = f"{statistics.median(self.compute_ms):.0f} ms" if self.compute_ms else "not measured"
        return (
            f"{self.finals} final emotion events, word error rate {self.word_error_rate:.1%}, "
            f"median latency behind the endpoint {median}, {len(self.events)} events in sequence on both sockets, "
            f"{self.gaps} gaps"
        )

    def as_mapping(self) -> dict[str, object]:
        """For JSON."""
        return {
            "finals": self.finals,
            "word_error_rate": round(self.word_error_rate, 4),
            "median_compute_ms": round(statistics.median(self.compute_ms), 1) if self.compute_ms else None,
            "events": len(self.events),
            "gaps": self.gaps,
            "failures": self.failures,
        }


async def run_demo(
    settings: Settings,
    conversation: Conversation,
    load: Callable[[], Recognizer],
    *,
    follow: Follow = lambda _event: None,
    on_ready: Callable[[RunningServer], None] = lambda _server: None,
    paced: bool = True,
) -> DemoResult:
    """Plays the conversation through a server of its own.

    Args:
        settings: of the server; its port 0 takes a free one.
        conversation: what is played.
        load: makes the recogniser.
        follow: told of every event as it comes.
        on_ready: called when the server takes sessions.
        paced: at the pace of speech; else as fast as the server takes it.

    Raises:
        ServerError: the server cannot listen.
        StreamingError: the recogniser cannot be loaded, or the connection is lost.
    """
    result = DemoResult()
    async with running_server(settings, load) as server:
        await server.service.warm()
        on_ready(server)
        subscribed = asyncio.Event()
        following = asyncio.create_task(_subscribe(server.url, subscribed, result))
        await subscribed.wait()
        audio = AudioFormat(Encoding.PCM16, conversation.rate_hz, conversation.samples.shape[0])
        data = encode(conversation.samples.T.reshape(-1), audio.encoding)
        async with ListenClient(server.url, audio, roles=conversation.roles, language="en") as client:
            sending = asyncio.create_task(_send(client, data, paced=paced))
            async for event in client:
                result.events.append(event)
                follow(event)
            await sending
        await asyncio.wait_for(following, settings.server.shutdown_grace_s)
    _judge(result, conversation)
    return result


async def _send(client: ListenClient, data: bytes, *, paced: bool) -> None:
    await (client.send_paced(data) if paced else client.send(data))
    await client.finish()


async def _subscribe(url: str, subscribed: asyncio.Event, result: DemoResult) -> None:
    async with EventsClient(url) as client:
        subscribed.set()
        async for event in _until_ended(client):
            result.followed.append(event)


async def _until_ended(client: EventsClient) -> AsyncIterator[Event]:
    async for event in client:
        yield event
        if event.type == "session.ended":
            return


def _judge(result: DemoResult, conversation: Conversation) -> None:
    finals = [event for event in result.events if isinstance(event, EmotionEvent) and event.final]
    result.compute_ms = [event.latency.total_ms - event.latency.endpoint_ms for event in finals]
    result.silent_clips = [
        clip for clip in conversation.clips if not any(_overlap(event, clip) for event in finals if event.scores)
    ]
    said = [event for event in result.events if isinstance(event, TranscriptEvent) and event.final]
    pairs = []
    for channel in range(conversation.samples.shape[0]):
        wanted = " ".join(clip.words for clip in conversation.clips if clip.channel == channel)
        pairs.append((wanted, " ".join(event.committed for event in said if event.channel == channel)))
    result.word_error_rate = word_error_rate(pairs)


def _overlap(event: EmotionEvent, clip: Clip) -> bool:
    return event.channel == clip.channel and event.start_s < clip.end_s and event.end_s > clip.start_s


def summary_json(result: DemoResult) -> str:
    """The summary as one line of JSON."""
    return json.dumps({"summary": result.as_mapping()})
