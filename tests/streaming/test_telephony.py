"""Calls of telephony providers through a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
import wave
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_now

from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import AudioFormat
from streaming.client import EventsClient
from streaming.config import TwilioSettings
from streaming.events import ErrorEvent, Event, SessionEnded, SessionStarted, parse_event
from streaming.protocols.dialect import Begin
from streaming.protocols.twilio import TwilioDialect
from streaming.server import RunningServer
from tests.fakes.audiohook import SECRET, Genesys, signed
from tests.fakes.calls import plain
from tests.fakes.servers import PATIENCE_S, a_server, a_server_elsewhere, converse
from tests.fakes.shell import interleaved, silence, speech
from tests.fakes.tokens import write_tokens
from tests.fakes.twilio import SID, connected, media, pieces, start, stop, whole_call

EXAMPLES = Path(__file__).parents[2] / "examples"
HALF = slice(None, None, 2)
"""8 kHz of what is made at 16."""
CALLER = encode(np.concatenate([silence(0.4), speech(1.2), silence(2.4)])[HALF], Encoding.MULAW)
AGENT = encode(np.concatenate([silence(1.6), speech(1.4), silence(1.0)])[HALF], Encoding.MULAW)
BOTH = {"inbound": CALLER, "outbound": AGENT}


async def stream(server: RunningServer, messages: Iterable[str]) -> tuple[int | None, str, list[str | bytes]]:
    """Streams a call; how it was closed, and all that was sent back."""
    sent: list[str | bytes] = []
    async with connect(f"{server.url}/v1/twilio", compression=None) as socket:
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionClosed):
                for message in messages:
                    await socket.send(message)
                while True:
                    sent.append(await socket.recv())
    return socket.close_code, socket.close_reason or "", sent


async def told(server: RunningServer, messages: Iterable[str]) -> list[Event]:
    """Streams a call, and gives what a subscriber of all sessions hears of it."""
    async with EventsClient(server.url) as client:
        calling = asyncio.create_task(stream(server, messages))
        events = []
        async with asyncio.timeout(PATIENCE_S):
            async for event in client:
                events.append(event)
                if isinstance(event, SessionEnded):
                    break
        await calling
    return events


def settled(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    """What is told of each channel in the end, whenever it was told."""
    lasting = [event for event in plain(events) if event.get("final", True) and event["type"] != "session.ended"]
    return sorted(((event["channel"] or 0, event["type"], repr(event)) for event in lasting), key=repr)


async def test_a_call_gives_the_events_that_its_audio_gives_otherwise() -> None:
    mixed = np.stack([np.frombuffer(track, dtype=np.uint8) for track in BOTH.values()], axis=1).tobytes()
    async with a_server() as server:
        events = await told(server, whole_call(BOTH))
        shape = AudioFormat(Encoding.MULAW, 8000, 2)
        other = await converse(server, mixed, shape, roles=("customer", "agent"))

    assert settled(events) == settled(other)
    assert len(settled(events)) > 5
    assert {event.role for event in events if event.type == "transcript"} == {"customer", "agent"}
    assert {event.role for event in events if event.type == "emotion"} == {"customer"}


async def test_a_session_has_the_name_of_its_stream_and_nothing_is_sent_back() -> None:
    async with a_server() as server, EventsClient(server.url) as client:
        code, _, sent = await stream(server, whole_call(BOTH))
        first = await anext(aiter(client))

    assert (code, sent) == (1000, [])
    assert isinstance(first, SessionStarted)
    assert first.session == SID


async def test_a_name_that_is_known_already_is_given_to_nobody_else() -> None:
    async with a_server() as server:
        first = await told(server, whole_call(BOTH))
        second = await told(server, whole_call(BOTH))

    assert first[0].session == SID != second[0].session
    assert settled(first) == settled(second)


@pytest.mark.parametrize("sid", ["", "a/b", "x" * 65, "MZ\n", "+", "#"])
async def test_a_stream_without_a_proper_name_gets_one_of_ours(sid: str) -> None:
    async with a_server() as server:
        events = await told(server, [start(streamSid=sid), stop()])

    assert events[0].session != sid
    assert re.fullmatch("[0-9a-f]{16}", events[0].session)


async def test_audio_that_never_came_is_said_and_the_call_goes_on() -> None:
    messages = list(whole_call(BOTH))
    async with a_server() as server:
        events = await told(server, (one for place, one in enumerate(messages) if place not in (9, 12)))

    (error,) = [event for event in events if isinstance(event, ErrorEvent)]
    assert error.code == "lost_audio"
    assert [event.type for event in events if event.type == "emotion"]


async def test_a_call_that_breaks_off_ends_with_what_was_said() -> None:
    async with a_server() as server, EventsClient(server.url) as client:
        async with connect(f"{server.url}/v1/twilio", compression=None) as socket:
            for message in list(whole_call({"inbound": CALLER}))[:90]:
                await socket.send(message)
            await asyncio.sleep(0)
            socket.transport.abort()
        events = []
        async with asyncio.timeout(PATIENCE_S):
            async for event in client:
                events.append(event)
                if isinstance(event, SessionEnded):
                    break

    assert events[-1].type == "session.ended"
    assert "emotion" in [event.type for event in events]


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (media("inbound", 1, b"\xff" * 160), "protocol: "),
        (start(mediaFormat={"encoding": "audio/opus", "sampleRate": 8000, "channels": 1}), "audio_format: "),
        (start("sideways"), "protocol: "),
        ("not json", "protocol: "),
    ],
)
async def test_a_stream_that_begins_wrong_is_refused(first: str, said: str) -> None:
    async with a_server() as server:
        code, reason, sent = await stream(server, [connected(), first])

    assert (code, sent) == (1008, [])
    assert reason.startswith(said)


async def test_a_stream_that_stops_before_it_starts_is_over() -> None:
    async with a_server() as server:
        code, _, sent = await stream(server, [connected(), stop()])

    assert (code, sent) == (1000, [])


async def test_a_stream_that_never_says_what_it_is_is_refused_in_time() -> None:
    async with a_server(handshake_timeout_s=0.2) as server:
        code, reason, _ = await stream(server, [connected()])

    assert code == 1008
    assert "has not said within 0.2 s" in reason


async def test_the_token_comes_with_the_parameters(tmp_path: Path) -> None:
    known = write_tokens(tmp_path / "tokens")
    outcomes = {}
    async with a_server(tokens_file=str(tmp_path / "tokens"), max_failed_tokens=0) as server:
        for kind, token in {**known, "wrong": "wrong", "none": None}.items():
            parameters = {} if token is None else {"token": token}
            code, reason, _ = await stream(server, whole_call({"inbound": CALLER}, parameters=parameters))
            outcomes[kind] = code, reason.partition(":")[0]

    let_in = {"listen", "every scope"}
    assert outcomes == {kind: (1000, "done") if kind in let_in else (1008, "not_authorised") for kind in outcomes}


async def test_a_piece_that_is_no_media_ends_the_call_in_order() -> None:
    broken = [*list(whole_call({"inbound": CALLER}))[:100], "rubbish"]
    async with a_server() as server:
        events = await told(server, broken)

    assert [event.code for event in events if isinstance(event, ErrorEvent)] == ["protocol"]
    assert isinstance(events[-1], SessionEnded)
    assert len(pieces(CALLER)) > 100


def test_the_example_plays_a_recording_as_a_call(tmp_path: Path) -> None:
    recording = tmp_path / "call.wav"
    with wave.open(str(recording), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(interleaved(np.concatenate([speech(1.2), silence(1.0)]), silence(2.2)))
    with a_server_elsewhere() as server:
        example = [sys.executable, str(EXAMPLES / "twilio_call.py"), str(recording), "--url", server.url, "--fast"]
        played = subprocess.run(example, capture_output=True, text=True, timeout=60, check=True)
        session = played.stdout.strip()
        with connect_now(f"{server.url}/v1/events?session={session}&after=0") as socket:
            events = [parse_event(message) for message in socket]

    assert isinstance(events[0], SessionStarted)
    assert (events[0].audio.encoding, events[0].audio.channels) == ("mulaw", 2)
    assert [event.role for event in events if event.type == "emotion" and event.final] == ["customer"]


def test_the_example_of_an_answer_is_one() -> None:
    response = ElementTree.parse(EXAMPLES / "twilio.xml").getroot()  # noqa: S314 - our own
    stream = response.find("Start/Stream")
    assert stream is not None
    assert stream.attrib == {"url": "wss://emotions.example.com/v1/twilio", "track": "both_tracks"}
    parameters = {one.attrib["name"]: one.attrib["value"] for one in stream}
    (begin,) = TwilioDialect(TwilioSettings()).read(start("inbound", "outbound", parameters=parameters))
    assert isinstance(begin, Begin)
    assert (begin.token, begin.request.language) == (parameters["token"], "en")


# --- Genesys


async def hook(
    server: RunningServer, audio: bytes, *media: dict[str, Any], target: str = "/v1/audiohook", **headers: str
) -> tuple[list[dict[str, Any]], int | None]:
    """A whole AudioHook session: what the server said, and how it closed the connection."""
    client, said = Genesys(), list[dict[str, Any]]()
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    async with connect(f"{server.url}{target}", additional_headers=shown, compression=None) as socket:
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionClosed):
                await socket.send(client.open(*media))
                said.append(json.loads(await socket.recv()))
                if said[0]["type"] == "opened":
                    client.serverseq = 1
                    for start_ in range(0, len(audio), 1600):
                        await socket.send(audio[start_ : start_ + 1600])
                    await socket.send(client.say("ping"))
                    await socket.send(client.say("close", reason="end"))
                while True:
                    said.append(json.loads(await socket.recv()))
    return said, socket.close_code


def entities(said: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    told = [entity for one in said for entity in one["parameters"].get("entities", [])]
    return [entity["data"] for entity in told if entity["type"] == kind and entity["data"]["isFinal"]]


MIXED = np.stack([np.frombuffer(track, dtype=np.uint8) for track in BOTH.values()], axis=1).tobytes()


async def test_an_audiohook_session_tells_what_its_audio_tells_otherwise() -> None:
    async with a_server() as server:
        said, code = await hook(server, MIXED)
        other = await converse(server, MIXED, AudioFormat(Encoding.MULAW, 8000, 2), roles=("customer", "agent"))

    assert code == 1000
    assert [one["seq"] for one in said] == list(range(1, len(said) + 1))
    assert [said[0]["type"], said[-1]["type"]] == ["opened", "closed"]
    assert "pong" in [one["type"] for one in said]
    words = {(event.role, event.committed) for event in other if event.type == "transcript" and event.final}
    roles = {"external": "customer", "internal": "agent"}
    assert {
        (roles[one["channel"]], one["alternatives"][0]["interpretations"][0]["transcript"])
        for one in entities(said, "transcript")
    } == words
    labels = [event.label for event in other if event.type == "emotion" and event.final]
    assert [one["label"] for one in entities(said, "medusa.emotion")] == labels
    assert {one["channel"] for one in entities(said, "medusa.emotion")} == {"external"}


def test_the_example_plays_a_recording_as_a_signed_audiohook_session(tmp_path: Path) -> None:
    recording, secret = tmp_path / "call.wav", tmp_path / "secret"
    secret.write_text(SECRET)
    with wave.open(str(recording), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(interleaved(np.concatenate([speech(1.2), silence(1.0)]), silence(2.2)))
    with a_server_elsewhere(audiohook={"secret_file": str(secret)}) as server:
        example = [sys.executable, str(EXAMPLES / "audiohook_call.py"), str(recording), "--url", server.url, "--fast"]
        played = subprocess.run(
            [*example, "--secret-file", str(secret)], capture_output=True, text=True, timeout=60, check=True
        )
        unsigned = subprocess.run(example, capture_output=True, text=True, timeout=60, check=False)

    told = [json.loads(line) for line in played.stdout.splitlines()]
    assert [entity["data"]["channel"] for entity in told if entity["type"] == "medusa.emotion"][-1:] == ["external"]
    assert told[-1]["data"]["isFinal"]
    assert (unsigned.returncode, unsigned.stdout) == (1, "")
    assert "the server answers disconnect" in unsigned.stderr


async def test_an_audiohook_client_shows_its_key_as_a_token(tmp_path: Path) -> None:
    known = write_tokens(tmp_path / "tokens")
    outcomes = {}
    async with a_server(tokens_file=str(tmp_path / "tokens"), max_failed_tokens=0) as server:
        for kind, token in {**known, "wrong": "wrong"}.items():
            said, code = await hook(server, MIXED[:8000], x_api_key=token)
            outcomes[kind] = said[0]["type"], said[0]["parameters"].get("reason"), code

    assert {kind for kind, outcome in outcomes.items() if outcome[0] == "opened"} == {"listen", "every scope"}
    assert set(outcomes.values()) == {("opened", None, 1000), ("disconnect", "unauthorized", 1008)}


async def test_a_handshake_is_signed_where_there_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    async with a_server(audiohook={"secret_file": str(tmp_path / "secret")}) as server:
        authority, created = server.url.removeprefix("ws://"), int(time.time())
        target = "/v1/audiohook?org=7"
        good = signed(target, authority, created=created)
        for_another = signed("/v1/audiohook", authority, created=created, nonce="y" * 22)
        outcomes = [
            (await hook(server, MIXED[:8000], target=target, **headers))[0][0]["type"]
            for headers in (
                good,
                good,
                for_another,
                {},
                signed(target, authority, created=created - 60, nonce="z" * 22),
            )
        ]

    assert outcomes == ["opened", *["disconnect"] * 4]


async def test_an_audiohook_client_that_breaks_the_rules_is_disconnected() -> None:
    async with a_server() as server:
        said, code = await hook(server, b"\xff" * 3)

    assert said[-1]["type"] == "disconnect"
    assert said[-1]["parameters"]["reason"] == "error"
    assert "frames of 2 bytes" in said[-1]["parameters"]["info"]
    assert code == 1008


async def test_a_message_that_is_too_large_is_refused() -> None:
    client = Genesys()
    async with a_server() as server, connect(f"{server.url}/v1/audiohook", compression=None) as socket:
        await socket.send(client.open(customConfig="x" * 70_000))
        async with asyncio.timeout(PATIENCE_S):
            told = json.loads(await socket.recv())
    assert (told["type"], told["parameters"]["reason"]) == ("disconnect", "error")
