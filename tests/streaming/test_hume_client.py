"""Hume's own client library against a real server: only the address is another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import runpy
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hume_expression_measurement import (
    AsyncExpressionMeasurementClient,
    AudioSessionUpdate,
    ExpressionMeasurementClient,
    SessionClose,
)
from hume_expression_measurement.audio.socket_client import AsyncAudioSocketClient
from hume_expression_measurement.core.api_error import ApiError
from hume_expression_measurement.environment import ExpressionMeasurementClientEnvironment
from hume_expression_measurement.reconnect import reconnecting
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from streaming.server import RunningServer
from tests.fakes.hume import check_order
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.recordings import write_wav
from tests.fakes.servers import PATIENCE_S, a_server, a_server_elsewhere, converse
from tests.fakes.shell import pcm, silence, speech
from tests.fakes.tokens import write_tokens

EXAMPLES = Path(__file__).parents[2] / "examples"
PATH = "/v1/expression/audio/realtime"
FRAME_BYTES = 3200
"""100 ms."""
TALK = pcm(silence(0.4), speech(4.2), silence(1.2), speech(1.4), silence(1.0))
CLOSE = SessionClose(type="session.close")


def a_client(server: RunningServer, key: str = "any") -> AsyncExpressionMeasurementClient:
    return AsyncExpressionMeasurementClient(environment=environment(server), api_key=key)


def environment(server: RunningServer) -> ExpressionMeasurementClientEnvironment:
    return ExpressionMeasurementClientEnvironment(base=server.http_url, production=server.url)


@asynccontextmanager
async def connected(server: RunningServer, key: str = "any") -> AsyncIterator[AsyncAudioSocketClient]:
    async with asyncio.timeout(PATIENCE_S), a_client(server, key).audio.connect() as socket:
        yield socket


async def rest(socket: AsyncAudioSocketClient) -> list[dict[str, Any]]:
    """All messages until the server closes."""
    told: list[dict[str, Any]] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            told.append((await socket.recv()).dict())
    return told


async def send(socket: AsyncAudioSocketClient, audio: bytes) -> None:
    for start in range(0, len(audio), FRAME_BYTES):
        await socket.send_audio_frame(audio[start : start + FRAME_BYTES])


def kinds(told: Sequence[dict[str, Any]]) -> list[str]:
    return [one["type"] for one in told]


async def test_a_talk_is_measured_as_the_library_expects_it() -> None:
    async with a_server() as server, connected(server) as socket:
        await send(socket, TALK)
        await socket.send_audio_session_close(CLOSE)
        told = await rest(socket)

    assert told[0]["type"] == "session.created"
    check_order(told)
    closed = told[-1]
    assert (closed["type"], closed["reason"]) == ("session.closed", "client_request")
    assert closed["received"] == {"audio_duration_ms": 8200, "frames": 82}
    assert closed["produced"]["utterances"] == 2
    assert [one["trigger"] for one in told if one["type"] == "measurement.result"].count("speech_ended") == 2


async def test_measurements_say_what_the_events_of_the_same_audio_say() -> None:
    async with a_server() as server:
        async with connected(server) as socket:
            await send(socket, TALK)
            await socket.send_audio_session_close(CLOSE)
            told = await rest(socket)
        events = await converse(server, TALK)

    finals = [event for event in events if event.type == "emotion" and event.final]
    measured = [one for one in told if one.get("trigger") == "speech_ended"]
    assert [(round(1000 * one.start_s), round(1000 * one.end_s)) for one in finals] == [
        (one["audio_start_ms"], one["audio_end_ms"]) for one in measured
    ]
    assert [{"name": "joy", "probability": one.scores["happy"]} for one in finals] == [
        one["expressions"][0] for one in measured
    ]


async def test_the_configuration_may_be_set_before_audio_and_not_after() -> None:
    wanted = AudioSessionUpdate(type="session.update", measurement_timer_ms=5000)
    async with a_server() as server, connected(server) as socket:
        await socket.send_audio_session_update(wanted)
        await socket.send_audio_frame(bytes(FRAME_BYTES))
        await socket.send_audio_session_update(wanted)
        told = await rest(socket)

    assert kinds(told) == ["session.created", "session.updated", "error", "session.closed"]
    assert [one.get("measurement_timer_ms") for one in told[:2]] == [3000, 5000]
    assert (told[2]["code"], told[2]["retryable"]) == ("config_invalid", False)
    assert told[3]["reason"] == "error"


async def test_wrong_frames_and_messages_leave_the_session_open() -> None:
    async with a_server() as server, connect(f"{server.url}{PATH}", compression=None) as socket:
        for message in (b"", b"\x00", "rubbish", bytes(FRAME_BYTES), '{"type": "session.close"}'):
            await socket.send(message)
        async with asyncio.timeout(PATIENCE_S):
            told = [json.loads(message) async for message in socket]

    assert kinds(told) == ["session.created", "error", "error", "error", "session.closed"]
    assert [one["code"] for one in told[1:4]] == ["invalid_audio_frame", "invalid_audio_frame", "message_invalid"]
    assert told[-1]["received"] == {"audio_duration_ms": 100, "frames": 1}


async def test_the_api_key_is_a_token_and_is_judged_before_the_connection_opens(tmp_path: Path) -> None:
    known = write_tokens(tmp_path / "tokens")
    outcomes: dict[str, Any] = {}
    async with a_server(tokens_file=str(tmp_path / "tokens"), max_failed_tokens=0) as server:
        for kind, key in {**known, "wrong": "wrong"}.items():
            try:
                async with connected(server, key) as socket:
                    outcomes[kind] = (await socket.recv()).type
            except ApiError as error:
                outcomes[kind] = error.status_code

    assert outcomes == {kind: "session.created" if kind in {"listen", "every scope"} else 401 for kind in outcomes}


async def test_a_bearer_token_is_as_good(tmp_path: Path) -> None:
    known = write_tokens(tmp_path / "tokens")
    async with a_server(tokens_file=str(tmp_path / "tokens")) as server:
        shown = {"Authorization": f"Bearer {known['listen']}"}
        async with connect(f"{server.url}{PATH}", additional_headers=shown, compression=None) as socket:
            assert json.loads(await socket.recv())["type"] == "session.created"


async def test_whoever_showed_too_many_wrong_keys_has_to_wait(tmp_path: Path) -> None:
    known = write_tokens(tmp_path / "tokens")
    statuses = []
    async with a_server(tokens_file=str(tmp_path / "tokens"), max_failed_tokens=1) as server:
        for key in ("wrong", known["listen"]):
            with pytest.raises(ApiError) as refused:
                async with connected(server, key):
                    pass
            statuses.append(refused.value.status_code)

    assert statuses == [401, 429]


async def test_a_full_server_asks_to_try_again_later() -> None:
    async with a_server(max_sessions=1) as server, connected(server) as first:
        assert (await first.recv()).type == "session.created"
        async with connect(f"{server.url}{PATH}", compression=None) as second, asyncio.timeout(PATIENCE_S):
            told = json.loads(await second.recv())
            with contextlib.suppress(ConnectionClosed):
                await second.recv()

    assert (told["type"], told["code"]) == ("error", "capacity")
    assert second.close_code == 1013


async def test_a_server_that_stops_says_so_and_the_library_would_connect_anew() -> None:
    recognizer = FakeRecognizer()
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(a_server(recognizer))
        async with asyncio.timeout(PATIENCE_S), reconnecting(a_client(server).audio) as socket:
            await socket.send_audio_frame(pcm(speech(1.2)))
            told = [await socket.recv(), await socket.recv()]
            await stack.aclose()
            while told[-1].type != "session.closed":
                told.append(await socket.recv())

    assert [one.type for one in told] == [
        "session.created",
        "utterance.start",
        "measurement.result",
        "utterance.end",
        "session.closed",
    ]
    assert told[-1].reason == "server_shutdown"


async def test_a_session_without_audio_is_closed_in_order() -> None:
    async with a_server(idle_timeout_s=1) as server, connected(server) as socket:
        told = await rest(socket)
    assert kinds(told) == ["session.created", "session.closed"]
    assert told[1]["reason"] == "idle_timeout"


def test_the_library_without_asyncio_works_as_well() -> None:
    with a_server_elsewhere() as server:
        client = ExpressionMeasurementClient(environment=environment(server), api_key="any")
        with client.audio.connect() as socket:
            socket.send_audio_frame(pcm(speech(1.2)))
            socket.send_audio_session_close(CLOSE)
            told = [message.type for message in socket]

    assert told == ["session.created", "utterance.start", "measurement.result", "utterance.end", "session.closed"]


def test_the_example_prints_what_a_recording_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = write_wav(tmp_path / "talk.wav", pcm(speech(1.2), silence(1.0)))
    with a_server_elsewhere() as server:
        monkeypatch.setattr("sys.argv", ["example", str(recording), "--url", server.url, "--fast"])
        runpy.run_path(str(EXAMPLES / "hume_client.py"), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()

    assert [line.partition(":")[0] for line in printed] == [
        "utterance 0, 0 to 1360 ms",
        "closed after 1 measurements",
    ]
