"""The session runner, on a clock that moves only when a test moves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from models.emotions import MSP8
from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.config import Settings, VadSettings
from streaming.errors import ProtocolError
from streaming.events import Degraded, EmotionEvent, ErrorEvent, Event, ModelInfo, SessionEnded
from streaming.hub import EventHub
from streaming.recognition.degradation import Degradation
from streaming.runner import LAG_NOTICE_S, SessionRunner
from streaming.session import Session
from tests.fakes.batcher import HeldBatcher
from tests.fakes.events import MOMENT
from tests.fakes.shell import pcm, silence, speech
from tests.fakes.vad import LoudnessVad

FORMAT = AudioFormat(Encoding.PCM16, 16_000, 1)
MODEL = ModelInfo(bundle="fake", sha256="0" * 64, profile="base", labels=MSP8.names)
UTTERANCE = pcm(speech(0.6), silence(1.0))


class BrokenVad(LoudnessVad):
    """Raises when it hears anything."""

    def push(self, _samples: NDArray[np.float32]) -> NDArray[np.float32]:
        raise RuntimeError("the caller said: my secret is")


class Stage:
    """A runner with everything around it under the test's control."""

    def __init__(
        self, *, vad: Callable[[VadSettings], LoudnessVad] = lambda _settings: LoudnessVad(), max_outstanding: int = 4
    ) -> None:
        self.now_s = 100.0
        self.batcher = HeldBatcher()
        self.hub = EventHub(event_buffer=10_000, subscriber_queue=10_000, ended_sessions=1)
        session = Session("s1", Settings(), FORMAT, ("customer",), model=MODEL, vad=vad)
        self.runner = SessionRunner(
            session,
            self.batcher,  # type: ignore[arg-type]
            self.hub,
            audio=FORMAT,
            clock=lambda: self.now_s,
            utc_now=lambda: MOMENT,
            max_outstanding=max_outstanding,
        )
        self.runner.start()

    @property
    def events(self) -> list[Event]:
        return self.hub.subscribe("s1", after=0).take(10_000)

    def of_type(self, name: str) -> list[Event]:
        return [event for event in self.events if event.type == name]


async def turns(count: int = 20) -> None:
    """Lets everything that can run, run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_starting_publishes_the_first_event_stamped() -> None:
    (started,) = Stage().events

    assert (started.type, started.seq) == ("session.started", 1)
    assert started.emitted_at == "2025-01-02T03:04:05.000Z"


async def test_audio_becomes_requests_and_answers_become_events() -> None:
    stage = Stage()

    await stage.runner.receive(UTTERANCE)
    stage.batcher.answer_all()

    finals = [event for event in stage.events if getattr(event, "final", False)]
    assert [event.type for event in finals] == ["transcript", "emotion"]
    assert [event.seq for event in stage.events] == list(range(1, len(stage.events) + 1))


async def test_what_passes_until_an_event_is_handed_on_counts() -> None:
    class SlowVad(LoudnessVad):
        def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
            stage.now_s += 0.03
            return super().push(samples)

    stage = Stage(vad=lambda _settings: SlowVad())
    await stage.runner.receive(pcm(speech(1.5), silence(0.4)))
    stage.batcher.answer_all()
    await stage.runner.receive(pcm(silence(0.3)))

    final = next(event for event in stage.events if isinstance(event, EmotionEvent) and event.final)
    assert final.latency.total_ms == pytest.approx(final.latency.endpoint_ms + final.latency.emit_ms, abs=0.2)
    assert final.latency.emit_ms == pytest.approx(90, abs=0.2)


async def test_long_audio_leaves_the_loop_to_others_in_between() -> None:
    stage = Stage()
    hearing = asyncio.create_task(stage.runner.receive(pcm(silence(60))))
    laps = 0

    while not hearing.done():
        await asyncio.sleep(0)
        laps += 1

    assert laps >= 120


async def test_closing_waits_for_the_last_final() -> None:
    stage = Stage()
    await stage.runner.receive(pcm(speech(0.6)))
    closing = asyncio.create_task(stage.runner.close("client_close"))
    await turns()
    assert not closing.done()

    stage.batcher.answer_all()
    await asyncio.wait_for(closing, 1)

    assert stage.runner.finished
    last = stage.events[-1]
    assert isinstance(last, SessionEnded)
    assert (last.reason, last.totals.finals) == ("client_close", 1)


async def test_closing_without_patience_turns_missing_finals_into_errors() -> None:
    stage = Stage()
    await stage.runner.receive(pcm(speech(0.6)))

    await asyncio.wait_for(stage.runner.close("disconnected", patience_s=0.01), 1)

    (error,) = stage.of_type("error")
    assert isinstance(error, ErrorEvent)
    assert "not recognised within 0.01 s" in error.message
    assert stage.events[-1].type == "session.ended"


async def test_an_answer_after_the_end_is_ignored() -> None:
    stage = Stage()
    await stage.runner.receive(pcm(speech(0.6)))
    await stage.runner.close("disconnected", patience_s=0)
    ended = stage.events

    stage.batcher.answer_all()

    assert stage.events == ended


async def test_audio_after_the_end_is_ignored() -> None:
    stage = Stage()
    await stage.runner.close("client_close")
    ended = stage.events

    await stage.runner.receive(UTTERANCE)
    stage.runner.flush()

    assert stage.events == ended


async def test_flushing_ends_open_speech_and_the_session_goes_on() -> None:
    stage = Stage()
    await stage.runner.receive(pcm(speech(0.6)))

    stage.runner.flush()

    assert len(stage.of_type("speech.ended")) == 1
    assert not stage.runner.finished


async def test_a_reported_error_is_an_event_in_the_sequence() -> None:
    stage = Stage()

    stage.runner.report(ProtocolError("that was no control"))

    (error,) = stage.of_type("error")
    assert isinstance(error, ErrorEvent)
    assert (error.seq, error.code, error.message) == (2, "protocol", "that was no control")


async def test_audio_waits_while_too_many_finals_are_unanswered() -> None:
    stage = Stage(max_outstanding=2)
    hearing = asyncio.create_task(stage.runner.receive(UTTERANCE * 5))
    await turns(100)
    assert len(stage.of_type("speech.ended")) in (2, 3)
    assert not hearing.done()

    async with asyncio.timeout(5):
        while not hearing.done():
            stage.batcher.answer_all()
            await asyncio.sleep(0)

    assert len(stage.of_type("speech.ended")) == 5


async def test_audio_that_waits_is_given_up_when_nobody_hears_any_more() -> None:
    stage = Stage(max_outstanding=1)
    hearing = asyncio.create_task(stage.runner.receive(UTTERANCE * 5))
    await turns(100)
    assert not hearing.done()

    stage.runner.stop_hearing()
    await asyncio.wait_for(hearing, 1)

    assert len(stage.of_type("speech.ended")) < 5


async def test_an_outcome_within_submit_keeps_events_in_order() -> None:
    stage = Stage()
    stage.batcher.shed_interims_at_once = True

    await stage.runner.receive(pcm(speech(5), silence(1)))
    stage.batcher.answer_all()
    await stage.runner.close("client_close")

    assert [event.seq for event in stage.events] == list(range(1, len(stage.events) + 1))


async def test_shed_interims_are_told_once_a_second_with_their_number() -> None:
    stage = Stage()
    stage.batcher.shed_interims_at_once = True

    await stage.runner.receive(pcm(speech(6)))
    first = stage.of_type("degraded")
    stage.now_s += 1.0
    await stage.runner.receive(pcm(speech(0.1)))
    second = stage.of_type("degraded")[1:]

    told = [event for event in (*first, *second) if isinstance(event, Degraded)]
    assert [event.reason for event in told] == ["overload", "overload"]
    assert told[0].dropped_interims == 1
    assert told[1].dropped_interims >= 2


async def test_lag_is_told_when_it_begins_and_again_only_after_it_was_over() -> None:
    stage = Stage()

    for _ in range(2):
        await stage.runner.receive(UTTERANCE)
        stage.now_s += LAG_NOTICE_S
        await stage.runner.receive(pcm(silence(0.1)))
        await stage.runner.receive(pcm(silence(0.1)))
        stage.batcher.answer_all()

    told = [event for event in stage.of_type("degraded") if isinstance(event, Degraded)]
    assert [(event.reason, event.lag_ms) for event in told] == [("lag", 2000.0), ("lag", 2000.0)]


async def test_a_session_that_raises_ends_with_an_error_that_tells_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage(vad=lambda _settings: BrokenVad())

    await stage.runner.receive(UTTERANCE)

    assert stage.runner.broken
    assert stage.runner.finished
    assert stage.of_type("error")[0].model_dump()["code"] == "internal"
    assert "RuntimeError at" in caplog.text
    assert "secret" not in caplog.text + stage.events[-1].to_json()


async def test_audio_time_counts_as_it_arrives() -> None:
    stage = Stage()

    await stage.runner.receive(pcm(silence(3)))

    assert stage.runner._metrics.audio_s._value.get() == pytest.approx(3.0)


async def test_a_step_of_degradation_is_told_once_and_so_is_its_end() -> None:
    stage = Stage()
    for step in (Degradation.NONE, Degradation.SLOWER_INTERIMS, Degradation.SLOWER_INTERIMS, Degradation.NONE):
        stage.batcher.step = step
        await stage.runner.receive(pcm(silence(0.1)))

    told = [event.step for event in stage.of_type("degraded") if isinstance(event, Degraded)]
    assert told == ["slower_interims", "none"]
