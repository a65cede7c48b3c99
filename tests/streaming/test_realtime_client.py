"""OpenAI's own client library against a real server: only the address is another."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import runpy
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import AudioFormat
from streaming.server import RunningServer
from tests.fakes.realtime import append, check_order, configured, kinds, parsed, say
from tests.fakes.recordings import write_wav
from tests.fakes.servers import PATIENCE_S, a_server, a_server_elsewhere, converse
from tests.fakes.shell import pcm, silence, speech
from tests.fakes.tokens import write_tokens

EXAMPLES = Path(__file__).parents[2] / "examples"
CHUNK_BYTES = 4800
"""100 ms at 24 kHz."""
PARTS = [silence(0.4), speech(1.2), silence(1.2), speech(1.4), silence(1.0)]
TALK = pcm(*(np.repeat(part, 3)[::2] for part in PARTS))
"""At 24 kHz."""
TELEPHONE = encode(np.concatenate(PARTS)[::2], Encoding.MULAW)
OUTCOME = "conversation.item.input_audio_transcription.completed"


@asynccontextmanager
async def connected(server: RunningServer, key: str = "any") -> AsyncIterator[AsyncRealtimeConnection]:
    async with (
        asyncio.timeout(PATIENCE_S),
        AsyncOpenAI(base_url=f"{server.http_url}/v1", api_key=key, max_retries=0) as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        yield connection


async def send(connection: AsyncRealtimeConnection, audio: bytes) -> None:
    for start in range(0, len(audio), CHUNK_BYTES):
        chunk = base64.b64encode(audio[start : start + CHUNK_BYTES]).decode()
        await connection.input_audio_buffer.append(audio=chunk)


async def until(connection: AsyncRealtimeConnection, kind: str, count: int = 1) -> list[Any]:
    """All events up to the last of so many of a type."""
    seen = []
    while [event.type for event in seen].count(kind) < count:
        seen.append(await connection.recv())
    return seen


def as_told(events: Sequence[Any]) -> list[dict[str, Any]]:
    return parsed(event.to_json() for event in events)


async def test_a_talk_becomes_items_as_the_library_expects_them() -> None:
    async with a_server() as server, connected(server) as connection:
        await send(connection, TALK)
        events = await until(connection, OUTCOME, 2)
        other = await converse(server, TALK, AudioFormat(Encoding.PCM16, 24_000, 1))

    assert events[0].type == "session.created"
    check_order(as_told(events))
    finals = [event for event in other if event.type == "transcript" and event.final]
    assert [event.transcript for event in events if event.type == OUTCOME] == [event.committed for event in finals]


async def test_the_library_passes_on_how_it_was_said() -> None:
    async with a_server() as server, connected(server) as connection:
        await send(connection, TALK)
        events = await until(connection, OUTCOME, 2)

    said: list[Any] = [event for event in events if event.type == "conversation.item.input_audio_emotion.completed"]
    assert [event.label for event in said] == ["happy", "happy"]
    assert [event.item_id for event in said] == [event.item_id for event in events if event.type == OUTCOME]


async def test_a_client_may_commit_its_own_turns() -> None:
    wanted: Any = {
        "type": "transcription",
        "audio": {"input": {"turn_detection": None, "transcription": {"model": "gpt-live-transcribe"}}},
    }
    async with a_server() as server, connected(server) as connection:
        await connection.session.update(session=wanted)
        await send(connection, TALK)
        await connection.input_audio_buffer.commit()
        events = await until(connection, OUTCOME)
        await send(connection, bytes(CHUNK_BYTES))
        await connection.input_audio_buffer.commit()
        events += await until(connection, OUTCOME)

    told = as_told(events)
    check_order(told)
    assert kinds(told)[:2] == ["session.created", "session.updated"]
    turns = [event for event in events if event.type == OUTCOME]
    assert turns[0].transcript.count("word1 ") == 2
    assert (turns[1].transcript, turns[1].usage.seconds) == ("", 0.1)


async def test_words_that_may_not_be_told_are_not_and_emotions_are() -> None:
    async with a_server(transcripts="off") as server, connected(server) as connection:
        await send(connection, TALK)
        told = as_told(await until(connection, OUTCOME, 2))

    assert "word1" not in json.dumps(told)
    assert [one["label"] for one in told if one["type"].endswith("emotion.completed")] == ["happy", "happy"]


async def test_a_telephone_is_heard_as_well() -> None:
    wanted: Any = {"type": "transcription", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}
    async with a_server() as server, connected(server) as connection:
        await connection.session.update(session=wanted)
        await send(connection, TELEPHONE)
        events = await until(connection, OUTCOME, 2)

    (updated,) = [event for event in events if event.type == "session.updated"]
    assert updated.session.audio.input.format.type == "audio/pcmu"


async def test_a_wrong_message_is_an_error_and_the_session_goes_on() -> None:
    async with a_server() as server, connected(server) as connection:
        await connection.response.create(event_id="mine")
        await connection.input_audio_buffer.append(audio="!")
        await send(connection, TALK)
        events = await until(connection, OUTCOME, 2)

    errors: list[Any] = [event for event in events if event.type == "error"]
    assert [event.error.event_id for event in errors] == ["mine", None]
    assert {event.error.type for event in errors} == {"invalid_request_error"}


async def test_the_key_is_a_token_and_is_judged_before_the_connection_opens(tmp_path: Path) -> None:
    known = write_tokens(tmp_path / "tokens")
    outcomes: dict[str, Any] = {}
    async with a_server(tokens_file=str(tmp_path / "tokens"), max_failed_tokens=0) as server:
        for kind, key in {**known, "wrong": "wrong"}.items():
            try:
                async with connected(server, key) as connection:
                    outcomes[kind] = (await connection.recv()).type
            except InvalidStatus as error:
                outcomes[kind] = error.response.status_code

    assert outcomes == {kind: "session.created" if kind in {"listen", "every scope"} else 401 for kind in outcomes}


async def test_a_browser_shows_its_token_as_a_subprotocol(tmp_path: Path) -> None:
    known = write_tokens(tmp_path / "tokens")
    async with a_server(tokens_file=str(tmp_path / "tokens")) as server:
        offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{known['listen']}")]
        async with connect(f"{server.url}/v1/realtime", subprotocols=offered, compression=None) as socket:
            assert socket.subprotocol == "realtime"
            (created,) = parsed([await socket.recv()])

    assert created["type"] == "session.created"


async def test_nobody_without_a_token_is_greeted(tmp_path: Path) -> None:
    write_tokens(tmp_path / "tokens")
    async with a_server(tokens_file=str(tmp_path / "tokens")) as server:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{server.url}/v1/realtime", compression=None)

    assert refused.value.response.status_code == 401
    assert b"a token is needed" in (refused.value.response.body or b"")


async def ended(socket: Any) -> tuple[list[dict[str, Any]], int | None]:
    """All that is said until the server closes, and how it does."""
    said = []
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionClosed):
            while True:
                said.append(json.loads(await socket.recv()))
    return said, socket.close_code


async def test_whoever_says_nothing_is_asked_to_leave() -> None:
    async with a_server(idle_timeout_s=1) as server, connect(f"{server.url}/v1/realtime", compression=None) as socket:
        said, code = await ended(socket)

    assert kinds(said) == ["session.created", "error"]
    assert "has not said within 1 s" in said[1]["error"]["message"]
    assert code == 1008


async def test_a_full_server_asks_to_try_again_later() -> None:
    async with a_server(max_sessions=1) as server:
        url = f"{server.url}/v1/realtime"
        async with connect(url, compression=None) as first, connect(url, compression=None) as second:
            await first.send(append(TALK[:48_000]))
            while json.loads(await first.recv())["type"] != "input_audio_buffer.speech_started":
                pass
            await second.send(append(TALK))
            said, code = await ended(second)

    assert kinds(said) == ["session.created", "error"]
    assert said[1]["error"]["code"] == "capacity"
    assert code == 1013


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_server_that_stops_leaves_nobody_waiting(has_begun: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(a_server())
        async with connect(f"{server.url}/v1/realtime", compression=None) as socket:
            await socket.recv()
            if has_begun:
                await socket.send(append(TALK[:CHUNK_BYTES]))
                await socket.send(say("input_audio_buffer.clear"))
                await socket.recv()
            stopping = asyncio.create_task(stack.aclose())
            _, code = await ended(socket)
            await stopping

    assert code in (1001, 1012)


async def test_audio_may_come_faster_than_controls_may() -> None:
    async with (
        a_server(max_controls_per_s=10) as server,
        asyncio.timeout(PATIENCE_S),
        connect(f"{server.url}/v1/realtime", compression=None) as socket,
    ):
        await socket.send(configured(turn_detection=None))
        for start in range(0, len(TALK), CHUNK_BYTES):
            await socket.send(append(TALK[start : start + CHUNK_BYTES]))
        await socket.send(say("input_audio_buffer.commit"))
        while json.loads(await socket.recv())["type"] != OUTCOME:
            pass


def test_the_example_prints_what_a_recording_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = write_wav(tmp_path / "talk.wav", pcm(speech(1.2), silence(1.0)))
    with a_server_elsewhere() as server:
        monkeypatch.setattr("sys.argv", ["example", str(recording), "--url", server.http_url, "--fast"])
        runpy.run_path(str(EXAMPLES / "realtime_client.py"), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()

    assert printed == ["0 to 1360 ms: happy 0.70", "word1 word2 word3 word4 word5"]
