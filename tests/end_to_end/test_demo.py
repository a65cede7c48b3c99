"""The whole of it: real weights, the shipped bundle, a real server, real sockets and a real broker."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from models.backbones.text_source import text_sources
from models.bundle import load_bundle, shipped_bundle
from models.compile import Order, compile_engine
from streaming.config import MqttSettings, RolesSettings, ServerSettings, Settings
from streaming.conversation import load_conversation
from streaming.demo import run_demo
from streaming.events import EmotionEvent, TranscriptEvent
from streaming.recognition.recognizer import load_recognizer
from tests.fakes.broker import Broker, free_port

pytestmark = pytest.mark.weights
PATIENCE_S = 240.0


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """The engine is in the cache before anybody waits for it."""
    bundle = load_bundle(shipped_bundle())
    compile_engine(Order(bundle, text=text_sources(bundle)))


async def heard_by_mosquitto_sub(port: int, finals: int) -> list[tuple[str, dict[str, object]]]:
    """What the `mosquitto_sub` program prints until it saw as many final emotions."""
    command = ("mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", "medusa/v1/#", "-F", "%t %p", "-q", "1")
    program = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    found: list[tuple[str, dict[str, object]]] = []
    try:
        if program.stdout is None:
            raise RuntimeError("mosquitto_sub was started without an output")
        async with asyncio.timeout(PATIENCE_S):
            while line := (await program.stdout.readline()).decode():
                topic, _, payload = line.partition(" ")
                found.append((topic, json.loads(payload)))
                if sum(t.endswith("/emotion") and bool(p.get("final")) for t, p in found) == finals:
                    return found
    finally:
        program.terminate()
        await program.wait()
    raise EOFError("mosquitto_sub ended early")


async def test_the_demo_hears_every_clip_and_tells_everybody_the_same(tmp_path: Path) -> None:
    broker = Broker(tmp_path, free_port())
    await broker.start()
    try:
        conversation = load_conversation()
        settings = Settings(
            server=ServerSettings(port=0),
            roles=RolesSettings(score_agents=True),
            mqtt=MqttSettings(enabled=True, port=broker.port),
        )
        subscriber = asyncio.create_task(heard_by_mosquitto_sub(broker.port, len(conversation.clips)))
        async with asyncio.timeout(PATIENCE_S):
            result = await run_demo(settings, conversation, lambda: load_recognizer(settings), paced=False)
        told = await subscriber
    finally:
        await broker.stop()

    assert result.failures == []
    assert result.finals >= len(conversation.clips)
    assert result.word_error_rate < 0.25
    assert [event.seq for event in result.followed] == list(range(1, len(result.events) + 1))
    finals = [event for event in result.events if isinstance(event, EmotionEvent) and event.final]
    published = {payload["seq"] for topic, payload in told if topic.endswith("/emotion") and payload["final"]}
    assert published == {event.seq for event in finals}
    words = [event for event in result.events if isinstance(event, TranscriptEvent) and event.final]
    for event in words:
        assert [word.start_s for word in event.words] == sorted(word.start_s for word in event.words)
