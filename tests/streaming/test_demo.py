"""The demo with a recogniser and a detector of the tests; `tests/end_to_end` plays it for real."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streaming.config import MqttSettings, PrivacySettings, ServerSettings, Settings
from streaming.conversation import Clip, Conversation
from streaming.demo import demo_settings, run_demo
from streaming.demo_result import DemoResult
from streaming.errors import RecognitionError, ServerError
from streaming.events import EmotionEvent, Event
from streaming.server import RunningServer
from tests.fakes.broker import Broker, free_port, payload, running_broker
from tests.fakes.recognizer import PATIENCE_S, FakeRecognizer
from tests.fakes.shell import silence, speech
from tests.fakes.vad import LoudnessVad

WORDS = "well then"
TURNS = ((0, 0.5, 1.7), (1, 3.0, 4.2))


def conversation() -> Conversation:
    """A tone of the customer's, then one of the agent's."""
    samples = np.stack([silence(5.5), silence(5.5)])
    for channel, start_s, end_s in TURNS:
        samples[channel, round(start_s * 16_000) : round(end_s * 16_000)] = speech(end_s - start_s)
    clips = tuple(Clip(channel, start_s, end_s, WORDS, None, "a", "b") for channel, start_s, end_s in TURNS)
    return Conversation(samples, 16_000, ("customer", "agent"), clips)


async def play(
    settings: Settings | None = None, recognizer: FakeRecognizer | None = None, **options: Any
) -> DemoResult:
    chosen = recognizer or FakeRecognizer(lambda _request: WORDS)
    async with asyncio.timeout(PATIENCE_S):
        return await run_demo(
            settings or demo_settings(Settings()),
            conversation(),
            lambda: chosen,
            paced=False,
            vad=lambda _settings: LoudnessVad(),
            **options,
        )


async def test_every_clip_of_both_channels_gets_its_words_and_a_final_emotion() -> None:
    result = await play()
    assert result.failures == []
    assert (result.finals, result.word_error_rate, result.gaps) == (2, 0.0, 0)
    assert result.events == result.followed


async def test_a_demo_without_words_plays_to_its_end_and_judges_none() -> None:
    settings = demo_settings(Settings(privacy=PrivacySettings(transcripts="off")))
    result = await play(settings)
    assert (result.failures, result.finals, result.verbatim) == ([], 2, False)
    assert not any(WORDS in event.to_json() for event in result.events)


async def test_whoever_follows_sees_every_event_once_the_server_is_ready() -> None:
    seen: list[Event] = []
    ready: list[RunningServer] = []

    def follow(event: Event) -> None:
        assert ready
        seen.append(event)

    result = await play(follow=follow, on_ready=ready.append)
    assert tuple(seen) == result.events
    assert ready[0].url.startswith("ws://127.0.0.1:")


async def test_a_clip_that_is_not_answered_is_a_failure() -> None:
    result = await play(recognizer=FakeRecognizer(breaks_on=lambda request: request.channel == 1))
    assert [silent.channel for silent in result.silent_clips] == [1]
    assert len(result.failures) == 2


async def test_a_recogniser_that_cannot_be_loaded_is_an_error() -> None:
    def load() -> FakeRecognizer:
        raise RecognitionError("no weights")

    with pytest.raises(RecognitionError, match="no weights"):
        await run_demo(demo_settings(Settings()), conversation(), load)


async def test_a_broker_gets_every_final(tmp_path: Path) -> None:
    broker: Broker
    async with running_broker(tmp_path) as broker, broker.listening("medusa/v1/+/+/emotion") as heard:
        settings = demo_settings(Settings(), mqtt_host="127.0.0.1", mqtt_port=broker.port)
        result = await play(settings)
        judged = sum(isinstance(event, EmotionEvent) and event.final for event in result.events)
        finals: list[dict[str, Any]] = []
        while len(finals) < judged:
            finals += [event for event in map(payload, await heard.take(1)) if event["final"]]
    assert result.failures == []
    assert [event["channel"] for event in finals] == [0, 1]


async def test_a_missing_broker_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.demo._BROKER_PATIENCE_S", 0.1)
    port = free_port()
    settings = demo_settings(Settings(server=ServerSettings(shutdown_grace_s=0)), mqtt_port=port)
    with pytest.raises(ServerError, match=rf"no MQTT broker answers at 127\.0\.0\.1:{port}: start one"):
        await play(settings)


def test_its_server_is_open_to_this_machine_alone_whatever_the_configuration_says(tmp_path: Path) -> None:
    public = ServerSettings(
        host="0.0.0.0",  # noqa: S104 - what must not hold
        port=80,
        tokens_file=str(tmp_path),
        tls_cert="cert",
        tls_key="key",
        max_channels=1,
    )
    server = demo_settings(Settings(server=public), port=7000).server
    assert (server.host, server.port, server.tokens_file, server.tls_cert, server.tls_key) == (
        *("127.0.0.1", 7000, ""),
        *("", ""),
    )
    assert server.max_channels == 2


def test_both_voices_are_scored_and_nothing_else_of_the_configuration_changes() -> None:
    settings = Settings()
    changed = demo_settings(settings)
    assert changed.roles.score_agents
    assert json.loads(changed.model_dump_json(exclude={"server", "roles"})) == json.loads(
        settings.model_dump_json(exclude={"server", "roles"})
    )


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        (None, None, (False, "configured", 1)),
        ("given", None, (True, "given", 1)),
        (None, 2, (True, "configured", 2)),
        ("given", 2, (True, "given", 2)),
    ],
)
def test_events_are_published_where_a_broker_is_named(
    host: str | None, port: int | None, expected: tuple[bool, str, int]
) -> None:
    settings = Settings(mqtt=MqttSettings(host="configured", port=1))
    mqtt = demo_settings(settings, mqtt_host=host, mqtt_port=port).mqtt
    assert (mqtt.enabled, mqtt.host, mqtt.port) == expected
