"""Connections that break and clients that go on: real sockets, the real server, and one that hears bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from itertools import dropwhile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.client import ListenClient
from streaming.errors import AudioLostError, CapacityError, ConnectionFailedError, ProtocolError, StreamingError
from streaming.events import EmotionEvent, Event, SessionEnded, SessionStarted, SpeechEnded, TranscriptEvent
from streaming.outage import Pauses
from streaming.outgoing import Outgoing
from streaming.recognition.request import RecognitionRequest
from tests.fakes.broker import free_port
from tests.fakes.calls import CALL, CHUNK_BYTES, plain, turns
from tests.fakes.listener import Ending, FakeListener, How, a_listener
from tests.fakes.proxy import Cut, a_proxy
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.servers import PATIENCE_S, SPEECH, a_server, all_events, converse, until
from tests.fakes.shell import pcm, silence, speech

QUICK = Pauses(first_s=0.001, longest_s=0.01)
HANDSHAKE_BYTES = 200
FRAME_S = 0.03
LEVELS = (0.3, 0.5, 0.7, 0.9)
LEVELLED = pcm(*(part for level in LEVELS for part in (speech(0.7, level=level), silence(0.9))))


async def speak(client: ListenClient, data: bytes, *, finish: bool = True) -> None:
    for start in range(0, len(data), CHUNK_BYTES):
        await client.send(data[start : start + CHUNK_BYTES])
    if finish:
        await client.finish()


async def call(url: str, data: bytes = CALL, *, reconnect_s: float = PATIENCE_S, interim: bool = False) -> list[Event]:
    """A whole call: audio and events at the same time."""
    async with (
        asyncio.timeout(PATIENCE_S),
        ListenClient(url, SPEECH, interim=interim, reconnect_s=reconnect_s, pauses=QUICK) as client,
    ):
        speaking = asyncio.create_task(speak(client, data))
        try:
            return [event async for event in client]
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)


def loudest(request: RecognitionRequest) -> str:
    """Says how loud it was, so that each stretch of speech has its own word."""
    return f"level{np.max(request.samples):.1f}"


def words(events: list[Event]) -> list[str]:
    return [event.committed for event in events if isinstance(event, TranscriptEvent) and event.final]


def sessions(events: list[Event]) -> list[str]:
    return [event.session for event in events if isinstance(event, SessionStarted)]


# --- a session goes on as if nothing had happened


CUTS = {
    "in the middle of a message": [Cut(from_client=HANDSHAKE_BYTES + 30_000)],
    "between two bytes of a sample": [Cut(from_client=HANDSHAKE_BYTES + 30_001)],
    "twice in a row": [Cut(from_client=40_000), Cut(from_client=20_000)],
    "while it is taken up": [Cut(from_client=40_000), Cut(from_client=10), Cut(from_server=20)],
    "in the middle of an event": [Cut(from_server=1500)],
    "again and again": [Cut(from_client=9000)] * 30,
    "at the last audio": [Cut(from_client=HANDSHAKE_BYTES + len(CALL))],
    "while it is finishing": [Cut(from_server=2600), Cut(from_server=900), Cut(from_server=1200)],
}


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
async def test_whatever_breaks_the_events_are_those_of_an_unbroken_session(cuts: list[Cut]) -> None:
    async with a_server() as server, a_proxy(server.port, cuts) as proxy:
        unbroken = await converse(server, CALL, interim=False)
        broken = await call(proxy.url)

    assert plain(broken) == plain(unbroken)
    assert proxy.connections > 1


@pytest.mark.parametrize("seen", range(1, 12, 2))
async def test_a_socket_that_is_aborted_between_any_two_events_is_no_matter(seen: int) -> None:
    async with a_server() as server:
        unbroken = await converse(server, CALL, interim=False)
        async with ListenClient(server.url, SPEECH, interim=False, pauses=QUICK) as client:
            speaking = asyncio.create_task(speak(client, CALL))
            events = [await anext(client) for _ in range(seen)]
            client._socket.transport.abort()
            events += await all_events(client)
            await speaking

    assert plain(events) == plain(unbroken)


async def test_a_loss_while_the_last_final_is_computed_loses_nothing() -> None:
    recognizer = FakeRecognizer()
    async with a_server(recognizer) as server, a_proxy(server.port) as proxy:
        with recognizer.held():
            calling = asyncio.create_task(call(proxy.url, pcm(speech(0.9))))
            await asyncio.to_thread(recognizer.await_batch)
            proxy.cut()
            await turns(lambda: proxy.connections > 1)
        events = await calling

    assert words(events) == ["word1 word2 word3"]
    assert isinstance(events[-1], SessionEnded)
    assert events[-1].reason == "client_close"


async def test_a_client_too_slow_for_its_events_reads_on_where_it_was() -> None:
    async with a_listener([Ending(How.SLOW, 8000)]) as listener:
        events = await call(listener.url)

    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len(listener.sessions) == 1
    assert listener.connections == 2


async def test_keepalives_and_flushes_wait_for_the_connection() -> None:
    async with (
        a_server() as server,
        a_proxy(server.port) as proxy,
        ListenClient(proxy.url, SPEECH, interim=False, pauses=QUICK) as client,
    ):
        await client.send(pcm(speech(0.9)))
        await until(client, "speech.started")
        proxy.cut()
        await client.keep_alive()
        await client.flush()
        events = await until(client, "emotion")
        await client.finish()
        await all_events(client)

    assert words(events) == ["word1 word2 word3"]


async def test_loss_and_return_are_in_the_log_and_nothing_that_was_said(caplog: pytest.LogCaptureFixture) -> None:
    async with a_server() as server, a_proxy(server.port, [Cut(from_client=40_000)]) as proxy:
        events = await call(proxy.url)

    lost, again = [record.getMessage() for record in caplog.records if record.name == "streaming.connection"]
    assert "was lost: no reason was given; trying to connect again for 10 s" in lost
    assert again.endswith("s: the session goes on")
    assert not any(word in caplog.text for word in words(events))


# --- a server that does not know the session any more


async def restarted(when: Callable[[Event], bool]) -> tuple[list[Event], list[float]]:
    """A call during which a server is replaced by another; its events, and the offset at each."""
    events, offsets, replaced = [], [], asyncio.Event()

    async def say_all(client: ListenClient) -> None:
        await speak(client, LEVELLED, finish=False)
        await replaced.wait()
        await client.finish()

    async with (
        asyncio.timeout(PATIENCE_S),
        a_server(FakeRecognizer(loudest)) as one,
        a_server(FakeRecognizer(loudest)) as other,
        a_proxy(one.port) as proxy,
        ListenClient(proxy.url, SPEECH, interim=False, pauses=QUICK) as client,
    ):
        speaking = asyncio.create_task(say_all(client))
        async for event in client:
            events.append(event)
            offsets.append(client.offset_s)
            if not replaced.is_set() and when(event):
                proxy.server_port = other.port
                proxy.cut()
                replaced.set()
        await speaking
    return events, offsets


@pytest.mark.parametrize("segment", [1, 2, 3])
@pytest.mark.parametrize("type_", ["speech.started", "speech.ended", "transcript"])
async def test_every_word_is_answered_at_least_once_when_the_server_is_started_anew(segment: int, type_: str) -> None:
    def now(event: Event) -> bool:
        return event.type == type_ and getattr(event, "segment", 0) == segment

    events, offsets = await restarted(now)

    assert set(words(events)) == {f"level{level}" for level in LEVELS}
    assert len(words(events)) <= len(LEVELS) + 1
    assert len(sessions(events)) == 2
    assert events[-1].type == "session.ended"
    assert set(offsets) == {0.0, offsets[-1]}


async def test_the_new_sessions_clock_begins_where_the_client_says() -> None:
    def after_two(event: Event) -> bool:
        return isinstance(event, EmotionEvent) and event.segment == 2

    async with a_server() as server:
        unbroken = await converse(server, LEVELLED, interim=False)
    events, offsets = await restarted(after_two)

    ends = [
        event.end_s + offset_s
        for event, offset_s in zip(events, offsets, strict=True)
        if isinstance(event, SpeechEnded)
    ]
    known = [event.end_s for event in unbroken if isinstance(event, SpeechEnded)]
    assert offsets[-1] > 0
    assert ends[-len(known) :] == pytest.approx(known, abs=FRAME_S)


async def test_a_server_that_gives_no_token_gets_a_new_session() -> None:
    cuts = [Cut(from_client=80_000)]
    async with a_server(FakeRecognizer(loudest), resume_s=0) as server, a_proxy(server.port, cuts) as proxy:
        events = await call(proxy.url, LEVELLED)

    assert set(words(events)) == {f"level{level}" for level in LEVELS}
    assert len(sessions(events)) == 2


async def test_a_server_that_is_stopped_and_started_on_the_same_port_is_waited_for() -> None:
    port = free_port()
    events: list[Event] = []
    async with asyncio.timeout(PATIENCE_S):
        async with a_server(FakeRecognizer(loudest), port=port) as server:
            client = ListenClient(server.url, SPEECH, interim=False, pauses=QUICK)
            await client.__aenter__()
            await client.send(LEVELLED[:60_000])
            events += await until(client, "speech.started")
            server.service.stopping.set()
            sending = asyncio.create_task(speak(client, LEVELLED[60_000:]))
            events += await until(client, "session.ended")
        async with a_server(FakeRecognizer(loudest), port=port), contextlib.AsyncExitStack() as stack:
            stack.push_async_exit(client)
            events += await all_events(client)
            await sending

    ends = [event.reason for event in events if isinstance(event, SessionEnded)]
    assert ends == ["shutdown", "client_close"]
    assert {word for word in words(events) if word} == {f"level{level}" for level in LEVELS}


async def test_a_server_that_is_stopped_when_it_has_heard_everything_ends_the_iteration() -> None:
    ending = Ending(How.STOP, 6400)
    async with a_listener([ending]) as listener, ListenClient(listener.url, SPEECH, pauses=QUICK) as client:
        await client.send(bytes(6400))
        events = await all_events(client)
        with pytest.raises(ConnectionFailedError, match="has ended the session"):
            await client.send(bytes(2))

    assert isinstance(events[-1], SessionEnded)
    assert listener.connections == 1


async def test_a_server_that_is_full_or_warming_up_is_tried_again() -> None:
    endings = [Ending(How.FORGET, 8000), *[Ending(How.FULL)] * 5]
    async with a_listener(endings) as listener:
        events = await call(listener.url)

    assert sessions(events) == ["token0", "token1"]
    assert listener.connections > len(endings)


async def test_audio_that_is_not_kept_any_more_is_an_error_that_says_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.line.Outgoing", lambda audio: Outgoing(audio, kept_s=0.02))
    async with a_listener([Ending(How.FORGET, 3000)]) as listener:
        with pytest.raises(AudioLostError, match=r"0\.\d s of audio are lost"):
            await call(listener.url)


# --- what does not recover


@pytest.mark.parametrize("how", [How.CUT, How.FAULT, How.SLOW])
async def test_without_patience_a_loss_is_raised_at_once_from_sending_and_from_iteration(how: How) -> None:
    ending = Ending(how, 4000)
    async with a_listener([ending]) as listener, ListenClient(listener.url, SPEECH, reconnect_s=0) as client:
        with pytest.raises(StreamingError) as sent:
            await speak(client, CALL)
        with pytest.raises(StreamingError) as seen:
            await all_events(client)

    assert sent.value is seen.value
    assert listener.connections == 1


async def test_when_nobody_answers_for_long_enough_the_loss_is_raised_with_the_reason() -> None:
    async with asyncio.timeout(PATIENCE_S):
        async with a_listener() as listener:
            client = ListenClient(listener.url, SPEECH, reconnect_s=0.1, pauses=QUICK)
            await client.__aenter__()
            await client.send(bytes(3200))
            client._socket.transport.abort()
        with pytest.raises(ConnectionFailedError, match=r"was lost.*connecting again has failed for 0\.1 s: no server"):
            await all_events(client)
        with pytest.raises(ConnectionFailedError, match="connecting again has failed"):
            await client.send(b"\0\0")
        await client.__aexit__(None, None, None)


async def test_a_server_that_breaks_at_the_same_place_every_time_is_given_up() -> None:
    async with a_listener([Ending(How.FAULT, 2000)] * 10_000, resumable=False) as listener:
        with pytest.raises(ConnectionFailedError, match="internal error"):
            await call(listener.url, reconnect_s=0.2)

    assert len(listener.sessions) < 100


async def test_a_server_that_stays_full_is_given_up() -> None:
    async with a_listener([Ending(How.CUT, 8000), *[Ending(How.FULL)] * 10_000]) as listener:
        with pytest.raises(ConnectionFailedError, match="all sessions are taken"):
            await call(listener.url, reconnect_s=0.1)


async def test_the_first_connection_is_not_tried_again() -> None:
    async with a_listener([Ending(How.FULL)]) as listener:
        with pytest.raises(CapacityError):
            await call(listener.url)

    assert listener.connections == 1


async def test_a_refusal_is_final() -> None:
    async with a_server(max_message_bytes=1024) as server:
        with pytest.raises(ProtocolError, match="larger than the server takes"):
            async with ListenClient(server.url, SPEECH, pauses=QUICK) as client:
                await client._socket.send(bytes(2048))
                await all_events(client)


# --- back-pressure


async def test_no_more_audio_is_sent_than_is_kept_while_the_server_does_not_say_that_it_arrives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streaming.line.ASK_EVERY_S", 0.5)
    monkeypatch.setattr("streaming.line.Outgoing", lambda audio: Outgoing(audio, kept_s=4.0, unheard_s=2.0))
    data = pcm(silence(10))
    async with a_server() as server, a_proxy(server.port) as proxy, ListenClient(proxy.url, SPEECH) as client:
        proxy.hold()
        sending = asyncio.create_task(client.send(data))
        await turns(lambda: client._outgoing.place.position >= 64_000)
        for _ in range(10):
            await asyncio.sleep(0)
        on_its_way = client._outgoing.place.position
        proxy.let_go()
        await sending
        await client.finish()
        events = await all_events(client)

    assert on_its_way == 64_000
    assert isinstance(events[-1], SessionEnded)
    assert events[-1].totals.audio_s == 10


async def test_a_stopped_reader_stops_the_reading_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.line.WAITING_EVENTS", 2)
    async with a_listener() as listener, ListenClient(listener.url, SPEECH) as client:
        await client.send(bytes(32_000))
        await client.finish()
        await turns(lambda: listener.sessions[0].events[-1].type == "session.ended")
        events = await all_events(client)

    assert events[1:] == listener.sessions[0].events[1:]


# --- what a client leaves behind


async def test_a_client_that_is_left_or_cancelled_at_any_moment_leaves_no_task_behind() -> None:
    mine = asyncio.all_tasks()
    async with a_listener([Ending(How.CUT, 8000), *[Ending(How.MUTE)] * 1000]) as listener:
        serving = asyncio.all_tasks()
        for turn in range(0, 60, 3):
            calling = asyncio.create_task(call(listener.url))
            for _ in range(turn):
                await asyncio.sleep(0)
            calling.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionFailedError):
                await calling
        await turns(lambda: asyncio.all_tasks() <= serving)

    assert asyncio.all_tasks() == mine


async def test_a_line_that_is_dead_does_not_keep_a_client_from_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.connection._CLOSE_TIMEOUT_S", 0.05)
    async with a_server() as server, a_proxy(server.port) as proxy, asyncio.timeout(PATIENCE_S):
        async with ListenClient(proxy.url, SPEECH) as client:
            await client.send(bytes(3200))
            proxy.hold()
        proxy.let_go()


# --- whatever the cuts


def numbered(samples: int) -> bytes:
    """Audio whose samples count up, so that each says where it belongs."""
    return np.arange(samples, dtype="<u2").tobytes()


def before_it_began(ending: Ending) -> bool:
    """Whether a first connection that ended so would be an error."""
    return ending.how in {How.FULL, How.MUTE} or not ending.after_bytes


endings = st.lists(st.builds(Ending, st.sampled_from(list(How)), st.integers(0, 12_000)), max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    endings=endings,
    sends=st.lists(st.integers(1, 5000), min_size=1, max_size=12),
    flushes=st.sets(st.integers(0, 11)),
    resumable=st.booleans(),
)
def test_no_audio_is_sent_twice_into_a_session_and_none_is_missing(
    endings: list[Ending], sends: list[int], flushes: set[int], resumable: bool
) -> None:
    data = numbered(sum(sends))

    async def converse() -> tuple[FakeListener, list[Event], list[int]]:
        async with a_listener(dropwhile(before_it_began, endings), resumable=resumable) as listener:
            async with asyncio.timeout(PATIENCE_S):
                async with ListenClient(listener.url, SPEECH, pauses=QUICK) as client:
                    speaking = asyncio.create_task(send_all(client))
                    events, begins = [], []
                    async for event in client:
                        events.append(event)
                        if isinstance(event, SessionStarted):
                            begins.append(round(client.offset_s * 16_000))
                    await asyncio.gather(speaking, return_exceptions=True)
        return listener, events, begins

    async def send_all(client: ListenClient) -> None:
        start = 0
        for place, samples in enumerate(sends):
            await client.send(data[2 * start : 2 * (start + samples)])
            start += samples
            if place in flushes:
                await client.flush()
        await client.finish()

    listener, events, begins = asyncio.run(converse())

    assert len(begins) == len(sessions(events))
    ends = 0
    answered = 0
    for heard, begin in zip(listener.sessions, begins, strict=True):
        whole = len(heard.audio) // 2
        assert bytes(heard.audio[: 2 * whole]) == data[2 * begin : 2 * (begin + whole)]
        assert begin <= answered, "what was not answered is heard again"
        ends = max(ends, begin + whole)
        answered = max(answered, begin + heard.answered)
    stopped = [event for event in events if isinstance(event, SessionEnded)][-1].reason == "shutdown"
    assert stopped or listener.sessions[-1].controls[-1] == (len(listener.sessions[-1].audio), "close")
    assert stopped or answered == ends == len(data) // 2
