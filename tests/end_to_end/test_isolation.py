"""Two conversations on one recogniser: each gets what it would get alone, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import numpy as np
import pytest

from models.backbones.text_source import text_sources
from models.bundle import load_bundle, shipped_bundle
from models.compile import Order, compile_engine
from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import AudioFormat
from streaming.audio.vad import make_vad
from streaming.client import ListenClient
from streaming.config import Settings
from streaming.conversation import load_conversation
from streaming.events import EmotionEvent, Event
from streaming.hub import EventHub
from streaming.protocols.wyoming import EMOTION
from streaming.recognition.batcher import Batcher, Deliver
from streaming.recognition.recognizer import Recognizer, load_recognizer
from streaming.recognition.request import RecognitionOutcome, RecognitionRequest, RecognitionResult
from streaming.runner import SessionRunner
from streaming.server import RunningServer
from streaming.session import Session
from tests.fakes.servers import a_server
from tests.fakes.wyoming import an_assistant, say, transcript

pytestmark = pytest.mark.weights
SETTINGS = Settings.model_validate({"batcher": {"max_wait_ms": 50}})
"""A request waits a little for company, so that both sessions' share batches whenever they can."""
SECONDS = 20.0
PIECE_S = 0.5
SILENCE_S = 1.0
COMMAND_S = 4.0
PATIENCE_S = 120.0
APART = ("session", "emitted_at", "latency")
"""What may differ: whose it is, and how long it took."""


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    bundle = load_bundle(shipped_bundle())
    compile_engine(Order(bundle, text=text_sources(bundle)))
    loaded = load_recognizer(SETTINGS)
    loaded.warm_up()
    return loaded


@pytest.fixture(scope="module")
def voices() -> tuple[bytes, bytes]:
    """Both sides of the demo's conversation, each for itself, from where it begins to speak."""
    conversation = load_conversation()
    sides = []
    for samples in conversation.samples:
        first = int(np.argmax(np.abs(samples) > 0.02))
        side = samples[max(0, first - 8000) :][: round(SECONDS * conversation.rate_hz)]
        sides.append(encode(side, Encoding.PCM16))
    return sides[0], sides[1]


FORMAT = AudioFormat(Encoding.PCM16, load_conversation().rate_hz, 1)


class SettlingBatcher(Batcher):
    """The real one; a test can wait until nothing is unanswered, and see who shared batches."""

    def __init__(self, recognizer: Recognizer) -> None:
        super().__init__(_Watched(recognizer, self), SETTINGS.batcher, clock=lambda: self.now_s)
        self.now_s = 0.0
        self.shared = 0
        self._unanswered = 0
        self._settled = asyncio.Event()

    def submit(self, request: RecognitionRequest, deliver: Deliver) -> None:
        def answered(outcome: RecognitionOutcome) -> None:
            self._unanswered -= 1
            deliver(outcome)
            if not self._unanswered:
                self._settled.set()

        self._unanswered += 1
        self._settled.clear()
        super().submit(request, answered)

    async def settle(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self._unanswered:
                await self._settled.wait()


class _Watched:
    def __init__(self, recognizer: Recognizer, batcher: SettlingBatcher) -> None:
        self.model = recognizer.model
        self.window_s = recognizer.window_s
        self.warm_up = recognizer.warm_up
        self._recognizer = recognizer
        self._batcher = batcher

    def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
        self._batcher.shared += len({request.session for request in batch}) > 1
        return self._recognizer.recognize(batch)


async def at_the_pace_of_answers(recognizer: Recognizer, audio: dict[str, bytes]) -> tuple[dict[str, list[Event]], int]:
    """Sessions that hear their audio in turns, half a second at a time; every answer is there before the next turn."""
    batcher = SettlingBatcher(recognizer)
    hub = EventHub(event_buffer=100_000, subscriber_queue=100_000, ended_sessions=len(audio))
    await batcher.start()
    runners = {}
    for name in audio:
        session = Session(name, SETTINGS, FORMAT, ("customer",), language="en", model=recognizer.model)
        runners[name] = SessionRunner(session, batcher, hub, audio=FORMAT, clock=lambda: batcher.now_s)
        runners[name].start()
    size = round(PIECE_S * FORMAT.bytes_per_s)
    try:
        for start in range(0, max(map(len, audio.values())), size):
            batcher.now_s += PIECE_S
            for name, runner in runners.items():
                await runner.receive(audio[name][start : start + size])
            await batcher.settle()
        for runner in runners.values():
            await runner.close("end", patience_s=PATIENCE_S)
    finally:
        await batcher.aclose(timeout_s=0)
    return {name: await events_of(hub, name) for name in audio}, batcher.shared


async def events_of(hub: EventHub, session: str) -> list[Event]:
    subscription = hub.subscribe(session=session, after=0)
    return [event async for event in subscription]


def told(events: Sequence[Event], *, finals_alone: bool = False) -> list[str]:
    """Events as JSON without what may differ; of finals alone, also without the number to which interims count up."""
    lines = []
    for event in events:
        fields = json.loads(event.to_json())
        if finals_alone and not fields.get("final"):
            continue
        for name in (*APART, *(("seq", "time_s") if finals_alone else ())):
            fields.pop(name, None)
        lines.append(json.dumps(fields, sort_keys=True))
    return lines


async def test_interleaved_sessions_get_every_event_that_each_gets_alone(
    recognizer: Recognizer, voices: tuple[bytes, bytes]
) -> None:
    audio = dict(zip(("one", "two"), voices, strict=True))
    together, shared = await at_the_pace_of_answers(recognizer, audio)
    for name, data in audio.items():
        alone, _ = await at_the_pace_of_answers(recognizer, {name: data})

        assert told(together[name]) == told(alone[name])
        types = [event.type for event in alone[name]]
        assert types.count("emotion") > types.count("speech.ended") > 1
    assert shared > 0


async def utterance_by_utterance(server: RunningServer, utterances: Sequence[bytes]) -> list[Event]:
    """A session that says the next thing once it was told the final of the one before."""
    events: list[Event] = []
    async with asyncio.timeout(PATIENCE_S), ListenClient(server.url, FORMAT, language="en") as client:
        for utterance in utterances:
            await client.send(utterance)
            async for event in client:
                events.append(event)
                if isinstance(event, EmotionEvent) and event.final:
                    break
        await client.finish()
        return [*events, *[event async for event in client]]


async def test_on_the_real_server_two_clients_get_the_finals_that_each_gets_alone(recognizer: Recognizer) -> None:
    conversation = load_conversation()
    said: tuple[list[bytes], list[bytes]] = ([], [])
    for clip in conversation.clips[:8]:
        start, end = (round(at_s * conversation.rate_hz) for at_s in (clip.start_s, clip.end_s))
        spoken = np.pad(conversation.samples[clip.channel, start:end], round(SILENCE_S * conversation.rate_hz))
        said[clip.channel].append(encode(spoken, Encoding.PCM16))
    async with a_server(recognizer, vad=make_vad) as server:
        alone = [await utterance_by_utterance(server, utterances) for utterances in said]
        together = await asyncio.gather(*(utterance_by_utterance(server, utterances) for utterances in said))

    for one, both in zip(alone, together, strict=True):
        assert told(both, finals_alone=True) == told(one, finals_alone=True)
        assert len(told(one, finals_alone=True)) >= 6


async def test_an_assistant_is_told_what_a_client_is_told(recognizer: Recognizer, voices: tuple[bytes, bytes]) -> None:
    voice = voices[0][: round(COMMAND_S * FORMAT.bytes_per_s)]
    async with a_server(recognizer, vad=make_vad, wyoming={"enabled": True, "port": 0}) as server:
        async with ListenClient(server.url, FORMAT, language="en") as client:
            await client.send(voice)
            await client.finish()
            events = [event async for event in client]
        async with an_assistant(server) as assistant:
            heard = await say(assistant, voice, language="en", rate_hz=FORMAT.rate_hz)

    finals = [event for event in events if isinstance(event, EmotionEvent) and event.final]
    assert [event.data["scores"] for event in heard if event.type == EMOTION and event.data["final"]] == [
        event.scores for event in finals
    ]
    assert transcript(heard).text == " ".join(event.text for event in finals) != ""
