"""The plain server: it speaks our protocol, and its scores are ours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.plain_recognizer import PlainAnswer, PlainRecognizer
from benchmarks.plain_server import PlainServer
from benchmarks.spoken_clips import load_clips
from models.emotions import MSP8, Attributes, EmotionScores
from models.speaker import UNHEARD, Moments, SpeakerMoments, remember
from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.client import ListenClient
from streaming.config import AsrSettings, ServerSettings, Settings
from streaming.errors import AudioFormatError, CapacityError, ProtocolError
from streaming.events import EmotionEvent, ErrorEvent, Event, SessionEnded, SpeechEnded
from streaming.recognition.recognizer import load_recognizer
from streaming.recognition.request import RecognitionRequest, RequestKind
from streaming.word_errors import words_of
from tests.fakes.recognizer import MODEL
from tests.fakes.servers import SPEECH, all_events, until
from tests.fakes.shell import pcm, silence, speech
from tests.fakes.vad import LoudnessVad

CLIPS = Path(__file__).parents[1] / "data" / "librispeech"
TOLERANCE = 1e-5
SEGMENT = [speech(1.6), silence(1.0)]


class Answering:
    """A recogniser that says what it is told to, and remembers what it was asked."""

    model = MODEL

    def __init__(self, *, breaks: bool = False) -> None:
        self.asked: list[tuple[int, str | None, SpeakerMoments]] = []
        self.let = threading.Event()
        self.let.set()
        self._breaks = breaks

    def recognize(
        self, samples: NDArray[np.float32], *, language: str | None = None, heard: SpeakerMoments | None = None
    ) -> PlainAnswer:
        self.asked.append((len(samples), language, heard or {}))
        self.let.wait(10)
        if self._breaks:
            raise MemoryError("out of it")
        probabilities = np.full(len(MSP8), 0.3 / (len(MSP8) - 1), dtype=np.float32)
        probabilities[MSP8.index("happy")] = 0.7
        moments = {"voice": Moments.of(np.ones((1, 2)))}
        return PlainAnswer("well then", "en", 0.9, EmotionScores(MSP8, probabilities, Attributes(4, 5, 4)), moments)


@asynccontextmanager
async def plain_server(recognizer: Any, **server: Any) -> AsyncIterator[str]:
    serving = PlainServer(Settings(server=ServerSettings(**server)), recognizer, vad=LoudnessVad)
    listening = await serving.listen(0)
    try:
        host, port = listening.sockets[0].getsockname()[:2]
        yield f"ws://{host}:{port}"
    finally:
        listening.close()
        await listening.wait_closed()
        serving.close()


async def converse(url: str, *parts: NDArray[np.float32], audio: AudioFormat = SPEECH) -> list[Event]:
    async with ListenClient(url, audio) as client:
        await client.send(pcm(*parts))
        await client.finish()
        return await all_events(client)


async def test_each_segment_gets_its_final_in_the_order_of_our_own_server() -> None:
    async with plain_server(Answering()) as url:
        events = await converse(url, *SEGMENT, *SEGMENT)

    kinds = [event.type for event in events]
    assert kinds[0] == "session.started"
    assert kinds[-1] == "session.ended"
    assert [kind for kind in kinds if kind != "speech.started"][1:-1].count("emotion") == 2
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    finals = [event for event in events if isinstance(event, EmotionEvent)]
    ended = [event for event in events if isinstance(event, SpeechEnded)]
    assert [(event.segment, event.start_s, event.end_s) for event in finals] == [
        (event.segment, event.start_s, event.end_s) for event in ended
    ]
    assert all(event.final and event.label == "happy" and event.text == "well then" for event in finals)
    (last,) = [event for event in events if isinstance(event, SessionEnded)]
    assert (last.totals.segments, last.totals.finals, last.totals.interims) == (2, 2, 0)


async def test_what_is_known_of_speaker_and_language_is_handed_on() -> None:
    recognizer = Answering()

    async with plain_server(recognizer) as url:
        await converse(url, *SEGMENT, *SEGMENT, *SEGMENT)

    first, second, third = recognizer.asked
    assert first[1:] == (None, {})
    assert second[1] == third[1] == "en"
    assert (second[2]["voice"].frames, third[2]["voice"].frames) == (1, 2)


async def test_latency_runs_as_ours_does() -> None:
    async with plain_server(Answering()) as url, ListenClient(url, SPEECH) as client:
        await client.send(pcm(speech(1.6)))
        await until(client, "speech.started")
        await client.send(pcm(silence(1.0)))
        events = await until(client, "emotion")

    emotion = events[-1]
    assert isinstance(emotion, EmotionEvent)
    latency = emotion.latency
    assert latency.endpoint_ms + latency.queue_ms + latency.compute_ms <= latency.total_ms + 0.3
    assert latency.endpoint_ms > 0


async def test_short_speech_claims_no_label() -> None:
    async with plain_server(Answering()) as url:
        events = await converse(url, speech(0.5), silence(1.0))

    (emotion,) = [event for event in events if isinstance(event, EmotionEvent)]
    assert (emotion.label, emotion.abstained, emotion.confidence) == (None, True, pytest.approx(0.7))


async def test_a_segment_that_fails_is_said_and_the_session_goes_on() -> None:
    async with plain_server(Answering(breaks=True)) as url:
        events = await converse(url, *SEGMENT, *SEGMENT)

    errors = [event for event in events if isinstance(event, ErrorEvent)]
    assert [event.code for event in errors] == ["recognition", "recognition"]
    assert "MemoryError" in errors[0].message
    assert "out of it" not in errors[0].message
    assert events[-1].type == "session.ended"


async def test_segments_of_all_sessions_wait_for_one_worker() -> None:
    recognizer = Answering()
    recognizer.let.clear()

    async with plain_server(recognizer) as url:
        talking = [asyncio.create_task(converse(url, *SEGMENT)) for _ in range(3)]
        async with ListenClient(url, SPEECH) as client:
            await client.send(pcm(*SEGMENT))
            await until(client, "speech.ended")
            assert len(recognizer.asked) <= 1
            recognizer.let.set()
            await until(client, "emotion")
        everything = await asyncio.gather(*talking)

    assert all(sum(isinstance(event, EmotionEvent) for event in events) == 1 for events in everything)


async def test_what_it_does_not_take_is_refused_with_a_reason() -> None:
    async with plain_server(Answering(), max_sessions=1) as url:
        with pytest.raises(AudioFormatError, match="mono pcm_s16le at 16 kHz"):
            await converse(url, speech(0.1), audio=AudioFormat(Encoding.MULAW, 8_000, 1))
        async with ListenClient(url, SPEECH) as client:
            with pytest.raises(CapacityError, match="all places are taken"):
                await converse(url, speech(0.1))
            await client._socket.send('{"type": "dance"}')
            with pytest.raises(ProtocolError, match="not known"):
                await all_events(client)


@pytest.mark.weights
def test_the_same_segment_gets_the_same_words_and_scores_as_ours() -> None:
    settings = Settings(asr=AsrSettings(language="en"))
    ours, plain = load_recognizer(settings), PlainRecognizer.load(settings)
    samples = load_clips(CLIPS, 1)[0].samples
    request = RecognitionRequest(1, "s", 0, 1, RequestKind.FINAL, samples, 0.0, "en")

    (wanted,) = ours.recognize([request])
    found = plain.recognize(samples, language="en")

    assert wanted.emotion is not None
    assert found.emotion is not None
    assert words_of(found.text) == words_of(wanted.transcript.text) != []
    scores, moments = plain.score(samples, wanted.transcript.text, "en")
    assert np.abs(scores.probabilities - wanted.emotion.probabilities).max() < TOLERANCE
    again = replace(request, heard=remember(UNHEARD, wanted.moments))
    (after,) = ours.recognize([again])
    scores, _ = plain.score(samples, after.transcript.text, "en", moments)
    assert after.emotion is not None
    assert np.abs(after.emotion.probabilities - wanted.emotion.probabilities).max() > 100 * TOLERANCE
    assert np.abs(scores.probabilities - after.emotion.probabilities).max() < TOLERANCE
