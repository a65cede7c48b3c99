"""Voice assistants at a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import wave
from collections.abc import Sequence
from pathlib import Path

import pytest
from wyoming.audio import AudioStart, AudioStop
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

from streaming.assistant_settings import WyomingSettings
from streaming.client import EventsClient
from streaming.config import Settings
from streaming.errors import AuthorisationError, ServerError
from streaming.events import SessionEnded, SessionStarted
from streaming.peers import Peers, open_peers
from streaming.protocols.wyoming import EMOTION
from streaming.server import print_addresses, running_server
from tests.fakes.calls import turns
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.servers import PATIENCE_S, RunningServer, a_server, a_server_elsewhere, converse
from tests.fakes.shell import pcm, silence, speech
from tests.fakes.wyoming import an_assistant, begin, say, transcript, until, where

EXAMPLES = Path(__file__).parents[3] / "examples"
HERE = {"enabled": True, "port": 0}
COMMAND = pcm(silence(0.2), speech(1.2), silence(0.4))
TWO_SENTENCES = pcm(speech(1.2), silence(1.2), speech(0.8), silence(0.3))


def kinds(told: Sequence[Event]) -> list[str]:
    return [event.type for event in told]


def refused(server: RunningServer, code: str) -> float:
    return server.service.metrics.registry.get_sample_value("medusa_refused_total", {"code": code}) or 0


async def raw(server: RunningServer, data: bytes, *, end: bool = False) -> bytes:
    """All that is answered to bytes until the server ends the connection."""
    reader, writer = await asyncio.open_connection(*where(server))
    writer.write(data)
    if end:
        writer.write_eof()
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    return answer


async def unanswered(server: RunningServer) -> bool:
    """Whether a question is cut off without a word."""
    with contextlib.suppress(ConnectionError):
        return await raw(server, b'{"type": "describe"}\n') == b""
    return True


async def test_it_describes_itself_while_it_still_warms_up() -> None:
    async with a_server(wyoming=HERE, warm=False) as server, an_assistant(server) as client:
        await client.write_event(Describe().event())
        (event,) = await until(client, "info")

    assert Info.from_event(event).asr[0].models[0].installed


async def test_a_command_gives_its_words_and_how_they_were_said() -> None:
    async with a_server(wyoming=HERE) as server, an_assistant(server) as client:
        told = await say(client, COMMAND, language="en-US")
        native = await converse(server, COMMAND)

    spoken = [event for event in native if event.type == "transcript" and event.final]
    judged = [event for event in native if event.type == "emotion" and event.final]
    said = transcript(told)
    assert said.text == spoken[0].committed != ""
    assert said.language == "en"
    assert said.context is not None
    assert said.context[EMOTION]["label"] == judged[0].label == "happy"
    final = [event.data for event in told if event.type == EMOTION][-1]
    assert (final["final"], final["scores"]) == (True, judged[0].scores)
    assert kinds(told)[0] == "transcript-start"
    assert kinds(told)[-3:] == [EMOTION, "transcript", "transcript-stop"]


async def test_several_segments_are_one_transcript() -> None:
    async with a_server(wyoming=HERE) as server, an_assistant(server) as client:
        told = await say(client, TWO_SENTENCES)

    assert transcript(told).context[EMOTION]["segments"] == 2  # type: ignore[index]
    assert "".join(event.data["text"] for event in told if event.type == "transcript-chunk") == transcript(told).text


async def test_a_connection_may_carry_several_utterances() -> None:
    async with a_server(wyoming=HERE) as server, an_assistant(server) as client:
        first = await say(client, COMMAND)
        await client.write_event(Ping("x").event())
        (pong,) = await until(client, "pong")
        second = await say(client, TWO_SENTENCES, language="de")

    assert Pong.from_event(pong).text == "x"
    assert (transcript(first).language, transcript(second).language) == ("en", "de")
    sessions = [transcript(told).context[EMOTION]["session"] for told in (first, second)]  # type: ignore[index]
    assert len(set(sessions)) == 2


async def test_utterances_that_come_at_once_are_answered_in_turn() -> None:
    async with a_server(wyoming=HERE) as server, an_assistant(server) as client:
        for audio in (COMMAND, TWO_SENTENCES):
            await begin(client, audio)
            await client.write_event(AudioStop().event())
        told = [await until(client, "transcript-stop") for _ in range(2)]

    assert [transcript(one).context[EMOTION]["segments"] for one in told] == [1, 2]  # type: ignore[index]


async def test_its_sessions_are_those_of_everybody() -> None:
    async with a_server(wyoming=HERE) as server, EventsClient(server.url) as watcher, an_assistant(server) as client:
        told = await say(client, COMMAND)
        seen = []
        async for event in watcher:
            seen.append(event)
            if isinstance(event, SessionEnded):
                break

    assert isinstance(seen[0], SessionStarted)
    assert seen[0].session == transcript(told).context[EMOTION]["session"]  # type: ignore[index]
    assert seen[0].session.startswith("wyoming-")
    assert {event.role for event in seen if event.role} == {"customer"}
    assert seen[-1].reason == "client_close"


async def test_audio_that_comes_too_fast_waits_at_the_peer() -> None:
    async with a_server(wyoming=HERE, burst_s=2) as server, an_assistant(server) as client:
        speaking = asyncio.create_task(begin(client, pcm(silence(280))))
        await turns(lambda: heard_s(server) >= 2)
        waits = not speaking.done() and heard_s(server) < 10
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        assert client._writer is not None
        client._writer.transport.abort()

    assert waits


def heard_s(server: RunningServer) -> float:
    return server.service.metrics.registry.get_sample_value("medusa_audio_seconds_total") or 0


async def test_where_words_are_not_told_the_transcript_is_empty() -> None:
    async with a_server(wyoming=HERE, transcripts="off") as server, an_assistant(server) as client:
        told = await say(client, COMMAND)

    assert "transcript-chunk" not in kinds(told)
    assert transcript(told).text == ""
    assert transcript(told).context[EMOTION]["label"] == "happy"  # type: ignore[index]


async def test_a_segment_that_fails_is_an_error_and_the_rest_is_told() -> None:
    recognizer = FakeRecognizer(breaks_on=lambda request: request.start_s > 1)
    async with a_server(recognizer, wyoming=HERE) as server, an_assistant(server) as client:
        told = await say(client, TWO_SENTENCES)

    assert [event.data["code"] for event in told if event.type == "error"] == ["recognition"]
    assert transcript(told).context[EMOTION]["segments"] == 1  # type: ignore[index]


async def test_while_it_warms_up_a_command_is_refused() -> None:
    async with a_server(wyoming=HERE, warm=False, load=_never) as server, an_assistant(server) as client:
        await begin(client)
        (error,) = await until(client, "nothing")
        assert (error.type, error.data["code"]) == ("error", "capacity")
        assert refused(server, "capacity") == 1


def _never() -> FakeRecognizer:
    raise ServerError("no recogniser here")


async def test_audio_of_another_width_is_refused() -> None:
    async with a_server(wyoming=HERE) as server, an_assistant(server) as client:
        await client.write_event(AudioStart(16_000, 4, 1).event())
        (error,) = await until(client, "nothing")

    assert error.data["code"] == "audio_format"
    assert "16-bit" in error.data["text"]


async def test_a_peer_that_breaks_the_rules_within_its_speech_has_no_transcript() -> None:
    async with a_server(wyoming=HERE) as server, an_assistant(server) as client:
        await begin(client, COMMAND)
        await client.write_event(AudioStart(16_000, 2, 1).event())
        told = await until(client, "nothing")

    assert [event.data["code"] for event in told if event.type == "error"] == ["protocol", "protocol_error"]
    assert "transcript" not in kinds(told)


async def test_a_peer_that_leaves_within_its_speech_ends_its_session() -> None:
    async with a_server(wyoming=HERE) as server, EventsClient(server.url) as watcher:
        async with an_assistant(server) as client:
            await begin(client, COMMAND)
        async with asyncio.timeout(PATIENCE_S):
            async for event in watcher:
                if isinstance(event, SessionEnded):
                    break

    assert isinstance(event, SessionEnded)
    assert event.reason == "disconnected"


async def test_a_peer_that_leaves_as_soon_as_it_has_its_transcript_troubles_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_server(wyoming=HERE) as server:
        for _ in range(3):
            async with an_assistant(server) as client:
                await begin(client, COMMAND)
                await client.write_event(AudioStop().event())
                await until(client, "transcript")
        await turns(lambda: len(server.service.sessions) == 0)

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_stopping_server_says_so_and_gives_no_half_command() -> None:
    async with contextlib.AsyncExitStack() as held:
        running = await held.enter_async_context(contextlib.AsyncExitStack())
        server = await running.enter_async_context(a_server(wyoming=HERE))
        client = await held.enter_async_context(an_assistant(server))
        await begin(client, COMMAND)
        await turns(lambda: len(server.service.sessions) == 1)
        stopping = asyncio.create_task(running.aclose())
        told = await until(client, "nothing")
        await client.disconnect()
        await stopping

    assert [event.data["code"] for event in told if event.type == "error"] == ["shutdown"]
    assert "transcript" not in kinds(told)


# --- who is let in


@pytest.mark.parametrize(
    ("peers", "address"),
    [
        (["192.168.1.20"], "192.168.1.20"),
        (["192.168.1.0/24"], "192.168.1.77"),
        (["192.168.1.0/24"], "::ffff:192.168.1.77"),
        (["fd00::/64"], "fd00::7"),
        (["fe80::/64"], "fe80::1%eth0"),
        ([], "203.0.113.9"),
    ],
)
def test_a_peer_that_is_listed_is_let_in(peers: list[str], address: str) -> None:
    Peers(peers).check(address)


@pytest.mark.parametrize("address", ["192.168.2.20", "::ffff:10.0.0.1", "fd00::7", "", "nonsense"])
def test_a_peer_that_is_not_listed_is_not(address: str) -> None:
    with pytest.raises(AuthorisationError):
        Peers(["192.168.1.0/24"]).check(address)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "assistant.local"])  # noqa: S104 - to be refused
def test_on_any_address_but_loopback_peers_must_be_named(host: str) -> None:
    with pytest.raises(ServerError, match=r"\[wyoming\] peers"):
        open_peers(WyomingSettings(enabled=True, host=host))
    open_peers(WyomingSettings(enabled=True, host=host, peers=("192.168.1.20",)))
    open_peers(WyomingSettings(host=host))


@pytest.mark.parametrize("text", ["assistant.local", "192.168.1.7/24", "300.1.1.1", ""])
def test_what_is_no_network_is_no_peer(text: str) -> None:
    with pytest.raises(ValueError, match="IP address or network"):
        WyomingSettings(peers=(text,))


async def test_a_server_without_peers_does_not_start_on_all_addresses() -> None:
    settings = Settings.model_validate({"wyoming": {"enabled": True, "host": "0.0.0.0"}})  # noqa: S104
    with pytest.raises(ServerError, match="peers"):
        async with running_server(settings, FakeRecognizer):
            pass


async def test_a_peer_that_is_not_listed_is_cut_and_counted() -> None:
    async with a_server(wyoming={**HERE, "peers": ["192.0.2.1"]}) as server:
        assert await unanswered(server)
        assert refused(server, "not_authorised") == 1


async def test_its_connections_count_with_all_others() -> None:
    async with a_server(wyoming=HERE, max_connections=4) as server:
        writers = [(await asyncio.open_connection(*where(server)))[1] for _ in range(2)]
        held = [(await asyncio.open_connection(server.host, server.port))[1] for _ in range(2)]
        assert await unanswered(server)
        assert refused(server, "capacity") == 1
        other, _ = await asyncio.open_connection(server.host, server.port)
        assert b"503" in await other.readline()
        for one in (*writers, *held):
            one.close()


# --- hostile peers


NO_EVENTS = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"x" * 500_000,
    b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
    b'{"type": "audio-chunk", "data_length": -1}\n',
    b'{"type": "ping", "data_length": 2}\n[]',
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    b"[" * 16_000 + b"\n",
)


async def test_what_is_no_event_is_answered_with_an_error_and_ends_the_connection() -> None:
    async with a_server(wyoming=HERE) as server:
        answers = [(await raw(server, data)).partition(b"\n") for data in NO_EVENTS]

    assert {json.loads(header)["type"] for header, _, _ in answers} == {"error"}
    assert {json.loads(rest)["code"] for _, _, rest in answers} == {"protocol"}


async def test_a_peer_that_dribbles_its_first_event_is_cut() -> None:
    async with a_server(wyoming=HERE, handshake_timeout_s=0.1) as server:
        answer = await raw(server, b'{"type": "desc')

    assert b"no event came for 0.1 s" in answer


async def test_a_peer_that_never_ends_an_event_within_its_speech_is_cut() -> None:
    async with a_server(wyoming=HERE, idle_timeout_s=1) as server, an_assistant(server) as client:
        await begin(client, COMMAND)
        assert client._writer is not None
        client._writer.write(b'{"type": ')
        told = await until(client, "nothing")

    assert [event.data["code"] for event in told if event.type == "error"] == ["idle_timeout"]


async def test_a_peer_that_ends_its_side_at_once_is_still_answered() -> None:
    async with a_server(wyoming=HERE) as server:
        assert b'"info"' in await raw(server, b'{"type": "describe"}\n', end=True)


async def test_nothing_that_is_said_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    recognizer = FakeRecognizer(lambda _request: "swordfish")
    async with a_server(recognizer, wyoming=HERE) as server:
        async with an_assistant(server) as client:
            told = await say(client, COMMAND)
        await raw(server, b'{"type": "swordfish" \n')

    assert transcript(told).text == "swordfish"
    assert "swordfish" not in caplog.text


async def test_its_address_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    async with a_server(wyoming=HERE) as server:
        print_addresses(server)
        printed = capsys.readouterr().out
        assert f"tcp://127.0.0.1:{where(server)[1]}" in printed
    async with a_server() as server:
        print_addresses(server)
        assert (server.wyoming_url, "tcp" in capsys.readouterr().out) == (None, False)


def test_the_example_says_a_recording_and_prints_what_is_told(tmp_path: Path) -> None:
    recording = tmp_path / "command.wav"
    with wave.open(str(recording), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(COMMAND)
    with a_server_elsewhere(wyoming=HERE) as server:
        example = [sys.executable, str(EXAMPLES / "wyoming_client.py"), str(recording), "--fast"]
        command = [*example, "--port", str(where(server)[1]), "--language", "en"]
        printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()

    told = {line.partition(" ")[0]: json.loads(line.partition(" ")[2]) for line in printed}
    assert set(told) == {"transcript-start", "transcript-chunk", EMOTION, "transcript", "transcript-stop"}
    assert told["transcript"]["text"].startswith("word1 word2")
    assert told["transcript"]["context"][EMOTION]["label"] == "happy"
