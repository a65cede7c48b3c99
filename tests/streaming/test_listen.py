"""`/v1/listen` through a real server and real WebSocket clients: conversations, and every kind of bad input."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.client import EventsClient, ListenClient
from streaming.errors import AudioFormatError, CapacityError, ConnectionFailedError, ProtocolError
from streaming.events import ErrorEvent, Event, SessionEnded, TranscriptEvent, parse_event
from streaming.recognition.request import RecognitionRequest, RecognitionResult
from streaming.server import RunningServer
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.servers import PATIENCE_S, SPEECH, a_server, all_events, converse, until
from tests.fakes.shell import interleaved, pcm, silence, speech
from tests.fakes.vad import LoudnessVad

UTTERANCE = pcm(speech(0.6), silence(1.0))


def finals(events: list[Event]) -> list[TranscriptEvent]:
    return [event for event in events if isinstance(event, TranscriptEvent) and event.final]


def errors(events: list[Event]) -> list[ErrorEvent]:
    return [event for event in events if isinstance(event, ErrorEvent)]


def reason(events: list[Event]) -> str:
    last = events[-1]
    if not isinstance(last, SessionEnded):
        raise TypeError(f"the last event is {last.type}")
    return last.reason


def listen(server: RunningServer, query: str = "") -> connect:
    """A plain WebSocket client, for what our own client would not send."""
    return connect(f"{server.url}/v1/listen{query}", compression=None, max_size=None)


async def rest_of(socket: ClientConnection) -> tuple[list[Event], int | None, str]:
    """All events until the server closes, and how it closed."""
    events: list[Event] = []
    async with asyncio.timeout(PATIENCE_S):
        try:
            while True:
                events.append(parse_event(await socket.recv()))
        except ConnectionClosed:
            return events, socket.close_code, socket.close_reason or ""


async def assert_still_serves(server: RunningServer) -> None:
    assert len(finals(await converse(server, UTTERANCE))) == 1


async def test_a_conversation_from_first_event_to_last() -> None:
    async with a_server() as server:
        events = await converse(server, UTTERANCE)

    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    types = [event.type for event in events]
    assert types[0] == "session.started"
    assert types[-1] == "session.ended"
    assert types.index("speech.started") < types.index("speech.ended")
    assert [event.type for event in events if getattr(event, "final", False)] == ["transcript", "emotion"]
    assert all(event.emitted_at for event in events)


async def test_the_server_closes_with_1000_after_a_close_control() -> None:
    async with a_server() as server, listen(server) as socket:
        await socket.send(UTTERANCE)
        await socket.send('{"type": "close"}')
        events, code, _ = await rest_of(socket)

    assert (reason(events), code) == ("client_close", 1000)
    assert len(finals(events)) == 1


async def test_two_channels_are_heard_apart() -> None:
    data = interleaved(
        np.concatenate([speech(0.6), silence(1.6)]), np.concatenate([silence(1.0), speech(0.6), silence(0.6)])
    )
    async with a_server() as server:
        events = await converse(server, data, AudioFormat(Encoding.PCM16, 16_000, 2), roles=("customer", "agent"))

    assert {(event.channel, event.role) for event in finals(events)} == {(0, "customer"), (1, "agent")}
    assert {event.channel for event in events if event.type == "emotion"} == {0}


async def test_flush_finalises_open_speech_and_the_session_goes_on() -> None:
    async with a_server() as server, ListenClient(server.url, SPEECH) as client:
        await client.send(pcm(speech(0.6)))
        await client.flush()
        events = await until(client, "emotion")
        while not finals(events):
            events += await until(client, "emotion")
        await client.send(UTTERANCE)
        await client.finish()
        events += await all_events(client)

    assert len(finals(events)) == 2


async def test_interims_can_be_left_out() -> None:
    async with a_server() as server:
        events = await converse(server, pcm(speech(5), silence(1)), interim=False)

    assert all(getattr(event, "final", True) for event in events)
    assert len(finals(events)) == 1


async def test_two_sessions_at_once_equal_each_alone() -> None:
    async with a_server() as server:
        together = await asyncio.gather(*(converse(server, UTTERANCE * 2) for _ in range(2)))
        alone = await converse(server, UTTERANCE * 2)

    texts = [[(event.segment, event.committed) for event in finals(events)] for events in (*together, alone)]
    assert texts[0] == texts[1] == texts[2]


# --- bad input: a clear event or close code each, and the server goes on


@pytest.mark.parametrize("text", ["hello", "RIFF....WAVEfmt ", '{"type": "stop"}', '{"audio": "AAAA"}', "[1, 2]"])
async def test_text_where_audio_belongs_is_an_error_event_and_1008(text: str) -> None:
    async with a_server() as server, ListenClient(server.url, SPEECH) as bystander:
        async with listen(server) as socket:
            await socket.send(UTTERANCE)
            await socket.send(text)
            events, code, _ = await rest_of(socket)
        await bystander.send(UTTERANCE)
        await bystander.finish()
        others = await all_events(bystander)

    (error,) = errors(events)
    assert error.code == "protocol"
    assert '{"type": "flush"}' in error.message
    assert (reason(events), code) == ("protocol_error", 1008)
    assert len(finals(events)) == 1, "what was said before is not lost"
    assert len(finals(others)) == 1


async def test_samples_may_be_split_between_messages() -> None:
    async with a_server() as server:
        async with ListenClient(server.url, SPEECH) as client:
            for start in range(0, len(UTTERANCE), 333):
                await client.send(UTTERANCE[start : start + 333])
            await client.finish()
            split = await all_events(client)
        whole = await converse(server, UTTERANCE)

    assert [(event.committed, event.segment) for event in finals(split)] == [
        (event.committed, event.segment) for event in finals(whole)
    ]
    assert not errors(split)


async def test_an_odd_byte_at_the_end_is_told_and_costs_nothing_else() -> None:
    async with a_server() as server:
        events = await converse(server, UTTERANCE + b"\x00")

    (error,) = errors(events)
    assert error.code == "audio_format"
    assert "no whole sample" in error.message
    assert len(finals(events)) == 1


@pytest.mark.parametrize(
    ("query", "code", "complaint"),
    [
        ("?encoding=opus", "audio_format", "unknown encoding 'opus': use one of pcm_s16le"),
        ("?rate_hz=4000", "audio_format", "4000"),
        ("?rate_hz=400000", "audio_format", "400000"),
        ("?rate_hz=fast", "protocol", "'rate_hz' must be a whole number"),
        ("?channels=7", "audio_format", "channels must be 1 to 2"),
        ("?sample_rate=8000", "protocol", "unknown parameter 'sample_rate'"),
        ("?roles=a,b,c", "protocol", "3 roles for 1 channel"),
        ("?roles=%2Fevil", "protocol", "role '/evil'"),
    ],
)
async def test_a_query_we_cannot_serve_is_an_error_event_and_1008(query: str, code: str, complaint: str) -> None:
    async with a_server() as server:
        async with listen(server, query) as socket:
            events, close_code, _ = await rest_of(socket)
        await assert_still_serves(server)

    (error,) = errors(events)
    assert (error.code, close_code, len(events)) == (code, 1008, 1)
    assert complaint in error.message


async def test_our_client_raises_what_the_server_refused() -> None:
    async with a_server() as server:
        with pytest.raises(AudioFormatError, match="channels must be 1 to 2"):
            await converse(server, b"", AudioFormat(Encoding.PCM16, 16_000, 3))
        with pytest.raises(ProtocolError, match="role"):
            await converse(server, b"", SPEECH, roles=("no role",))


async def test_a_message_of_100_mb_is_refused_with_1009_before_it_is_read() -> None:
    async with a_server() as server, EventsClient(server.url) as watcher:
        async with listen(server) as socket:
            with pytest.raises(ConnectionClosed):
                await socket.send(bytes(100_000_000))
                await rest_of(socket)
                await socket.send(b"")
            assert socket.close_code == 1009
        events = await until(watcher, "session.ended")
        await assert_still_serves(server)

    assert [error.code for error in errors(events)] == ["message_too_large"]
    assert reason(events) == "message_too_large"


async def test_a_message_in_many_fragments_counts_as_one() -> None:
    async with a_server(max_message_bytes=1024) as server:
        async with listen(server) as socket:
            with pytest.raises(ConnectionClosed):
                await socket.send([bytes(512)] * 1000)
                await rest_of(socket)
                await socket.send(b"")
            assert socket.close_code == 1009
        await assert_still_serves(server)


async def test_audio_that_is_not_a_number_is_told_and_heard_as_silence() -> None:
    samples = np.concatenate([speech(0.6), silence(1.0)])
    samples[100:200] = np.nan
    samples[-100:] = np.inf
    async with a_server() as server:
        events = await converse(server, samples.astype("<f4").tobytes(), AudioFormat(Encoding.FLOAT32, 16_000, 1))

    assert [error.code for error in errors(events)] == ["audio_format"]
    assert len(finals(events)) == 1


async def test_clipped_audio_is_heard() -> None:
    samples = 40 * np.concatenate([speech(0.6), silence(1.0)])
    async with a_server() as server:
        events = await converse(server, samples.astype("<f4").tobytes(), AudioFormat(Encoding.FLOAT32, 16_000, 1))

    assert len(finals(events)) == 1


async def test_silence_gives_no_speech_and_a_clean_end() -> None:
    async with a_server() as server:
        events = await converse(server, pcm(silence(5)))

    assert [event.type for event in events] == ["session.started", "session.ended"]


async def test_no_audio_at_all_gives_a_clean_end() -> None:
    async with a_server() as server:
        events = await converse(server, b"")

    assert [event.type for event in events] == ["session.started", "session.ended"]


async def test_a_client_that_vanishes_mid_word_leaves_its_finals_to_subscribers() -> None:
    async with a_server(resume_s=0) as server, EventsClient(server.url) as watcher:
        async with listen(server) as socket:
            await socket.send(UTTERANCE + pcm(speech(0.5)))
            await until(watcher, "speech.ended")
            socket.transport.abort()
        events = await until(watcher, "session.ended")
        await assert_still_serves(server)

    assert reason(events) == "disconnected"
    assert [event.segment for event in finals(events)][-1] == 2


async def test_a_client_that_sends_nothing_is_closed_in_order() -> None:
    async with a_server(idle_timeout_s=1) as server, ListenClient(server.url, SPEECH) as client:
        await client.send(pcm(speech(0.5)))
        events = await all_events(client)

    assert reason(events) == "idle_timeout"
    assert len(finals(events)) == 1


async def test_keepalive_is_no_audio_but_counts_as_life() -> None:
    async with a_server() as server, ListenClient(server.url, SPEECH) as client:
        await client.keep_alive()
        await client.finish()
        events = await all_events(client)

    assert [event.type for event in events] == ["session.started", "session.ended"]


class FaultyVad(LoudnessVad):
    """Breaks on the loudest audio."""

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if samples.size and samples.max() > 0.9:
            raise ZeroDivisionError("a fault of ours")
        return super().push(samples)


async def test_a_fault_in_one_session_ends_it_alone() -> None:
    async with a_server(vad=lambda _settings: FaultyVad()) as server, ListenClient(server.url, SPEECH) as bystander:
        async with listen(server) as socket:
            await socket.send(pcm(speech(0.6, level=1.0)))
            events, code, _ = await rest_of(socket)
        await bystander.send(UTTERANCE)
        await bystander.finish()
        others = await all_events(bystander)

    assert [error.code for error in errors(events)] == ["internal"]
    assert (reason(events), code) == ("internal_error", 1011)
    assert len(finals(others)) == 1


async def test_one_session_more_than_there_is_room_for_is_asked_to_come_later() -> None:
    async with a_server(max_sessions=1) as server:
        async with ListenClient(server.url, SPEECH) as first:
            async with listen(server) as socket:
                events, code, why = await rest_of(socket)
            with pytest.raises(CapacityError, match="all 1 sessions are taken"):
                await converse(server, UTTERANCE)
            await first.finish()
            await all_events(first)
        await assert_still_serves(server)

    (error,) = errors(events)
    assert (error.code, error.retryable, code) == ("capacity", True, 1013)
    assert why.startswith("capacity: all 1 sessions are taken")


async def test_another_path_is_no_endpoint() -> None:
    async with a_server() as server:
        with pytest.raises(ConnectionFailedError, match="is it a MEDUSA live server"):
            async with EventsClient(f"{server.url}/v2/listen"):
                pass


async def test_controls_are_json_whatever_their_spacing() -> None:
    async with a_server() as server, listen(server) as socket:
        await socket.send(json.dumps({"type": "close"}, indent=4))
        events, code, _ = await rest_of(socket)

    assert (reason(events), code) == ("client_close", 1000)


async def test_a_session_too_many_for_the_recogniser_is_told_when_to_come_back() -> None:
    class Slow(FakeRecognizer):
        """Takes a clock's time and nobody's."""

        def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
            clock.append(clock[-1] + 30.0)
            return super().recognize(batch)

    clock = [0.0]
    async with a_server(Slow(), clock=lambda: clock[-1]) as server, ListenClient(server.url, SPEECH) as first:
        await first.send(UTTERANCE)
        await until(first, "emotion")
        with pytest.raises(CapacityError, match=r"try again in \d+ s"):
            await converse(server, UTTERANCE)
        async with listen(server) as socket:
            (error,), code, _ = await rest_of(socket)
        await first.send(UTTERANCE)
        await first.finish()
        events = await all_events(first)

    assert isinstance(error, ErrorEvent)
    assert (error.code, code) == ("capacity", 1013)
    assert error.retry_after_s is not None
    assert 2 <= error.retry_after_s <= 60
    assert len(finals(events)) == 1
