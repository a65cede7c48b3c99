"""Sessions that outlive a broken connection, through a real server and real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streaming.client import EventsClient, ListenClient
from streaming.errors import CapacityError
from streaming.events import Event, SessionEnded, SessionResumed, SessionStarted, parse_event
from streaming.recognition.request import RecognitionRequest, RecognitionResult
from streaming.server import RunningServer
from tests.fakes.calls import BYTES_PER_SAMPLE, CALL, CHUNK_BYTES, plain, turns
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.servers import PATIENCE_S, SPEECH, a_server, all_events, converse, until
from tests.fakes.shell import pcm, silence, speech


def started(event: Event) -> SessionStarted:
    if not isinstance(event, SessionStarted):
        raise TypeError(f"a session begins with session.started, not with {event.type}")
    return event


def token_of(event: Event) -> str:
    resume = started(event).resume
    if resume is None:
        raise ValueError("the session cannot be taken up again")
    return resume.token


def new_session(server: RunningServer) -> connect:
    return connect(f"{server.url}/v1/listen?interim=false", compression=None)


def resumed(server: RunningServer, token: str, after: int) -> connect:
    return connect(f"{server.url}/v1/listen?resume={token}&after={after}", compression=None)


async def connected(server: RunningServer, token: str, after: int) -> ClientConnection:
    return await resumed(server, token, after)


async def next_event(socket: ClientConnection) -> Event:
    async with asyncio.timeout(PATIENCE_S):
        return parse_event(await socket.recv())


async def rest_of(socket: ClientConnection) -> tuple[list[Event], int | None, str]:
    events: list[Event] = []
    async with asyncio.timeout(PATIENCE_S):
        try:
            while True:
                events.append(parse_event(await socket.recv()))
        except ConnectionClosed:
            return events, socket.close_code, socket.close_reason or ""


async def heard(server: RunningServer, samples: int) -> None:
    """Returns once the server has heard so much audio."""
    await turns(lambda: server.service.metrics.audio_s._value.get() * 16_000 > samples - 0.5)


async def parked(server: RunningServer) -> None:
    """Returns once the server has noticed that a connection is gone."""
    await turns(lambda: server.service.sessions.parked > 0)


@pytest.mark.parametrize("broken_at", [0, 1, 16_000, 22_401, 64_000, 100_001, len(CALL) - 1])
async def test_a_broken_and_resumed_session_says_what_an_unbroken_one_says(broken_at: int) -> None:
    async with a_server() as server:
        unbroken = await converse(server, CALL, interim=False)
        before = server.service.metrics.audio_s._value.get() * 16_000
        async with new_session(server) as socket:
            first = await next_event(socket)
            whole = broken_at - broken_at % CHUNK_BYTES
            for start in range(0, whole, CHUNK_BYTES):
                await socket.send(CALL[start : start + CHUNK_BYTES])
            await socket.send(CALL[whole:broken_at])
            await heard(server, before + broken_at // BYTES_PER_SAMPLE)
            socket.transport.abort()
        async with resumed(server, token_of(first), after=1) as socket:
            hello = await next_event(socket)
            if not isinstance(hello, SessionResumed):
                raise TypeError(hello.type)
            rest = CALL[hello.received_samples * BYTES_PER_SAMPLE :]
            await socket.send(rest)
            await socket.send('{"type": "close"}')
            events, code, _ = await rest_of(socket)

    assert hello.received_samples == broken_at // BYTES_PER_SAMPLE
    assert plain([first, *events]) == plain(unbroken)
    assert code == 1000


async def test_events_the_client_has_are_not_sent_again() -> None:
    async with a_server() as server:
        async with new_session(server) as socket:
            first = await next_event(socket)
            await socket.send(CALL)
            seen = [await next_event(socket) for _ in range(3)]
            socket.transport.abort()
        async with resumed(server, token_of(first), after=seen[-1].seq) as socket:
            await socket.send('{"type": "close"}')
            hello, *events = (await rest_of(socket))[0]

    assert (hello.type, hello.seq) == ("session.resumed", seen[-1].seq)
    assert [event.seq for event in events] == list(range(seen[-1].seq + 1, events[-1].seq + 1))
    assert isinstance(events[-1], SessionEnded)


async def test_a_client_that_comes_back_before_its_loss_was_noticed_takes_the_session_over() -> None:
    async with a_server() as server, new_session(server) as dead:
        first = await next_event(dead)
        await dead.send(CALL)
        async with resumed(server, token_of(first), after=1) as socket:
            await next_event(socket)
            await socket.send('{"type": "close"}')
            events, code, _ = await rest_of(socket)
        _, dead_code, why = await rest_of(dead)

    assert isinstance(events[-1], SessionEnded)
    assert (code, dead_code, why) == (1000, 1000, "the session goes on in another connection")


async def test_a_session_that_nobody_takes_up_ends_with_its_finals() -> None:
    async with a_server(resume_s=0.05) as server, EventsClient(server.url) as watcher:
        async with new_session(server) as socket:
            await socket.send(CALL + pcm(speech(0.5)))
            await until(watcher, "speech.ended")
            socket.transport.abort()
        *_, last = await until(watcher, "session.ended")

    assert isinstance(last, SessionEnded)
    assert last.reason == "disconnected"
    assert last.totals.finals == last.totals.segments


async def test_a_session_that_ended_without_its_client_is_not_taken_up() -> None:
    async with a_server(resume_s=0.05) as server, EventsClient(server.url) as watcher:
        async with new_session(server) as socket:
            first = await next_event(socket)
            socket.transport.abort()
        await until(watcher, "session.ended")
        async with resumed(server, token_of(first), after=1) as socket:
            events, code, _ = await rest_of(socket)

    assert [getattr(event, "code", None) for event in events] == ["unknown_session"]
    assert code == 1008


async def test_what_a_closed_session_said_last_is_said_again_to_a_client_that_may_have_missed_it() -> None:
    async with a_server() as server:
        async with new_session(server) as socket:
            first = await next_event(socket)
            await socket.send(CALL)
            await socket.send('{"type": "close"}')
            said, _, _ = await rest_of(socket)
        async with resumed(server, token_of(first), after=said[1].seq) as socket:
            await socket.send('{"type": "close"}')
            (hello, *again), code, _ = await rest_of(socket)

    assert isinstance(hello, SessionResumed)
    assert (hello.seq, hello.received_samples) == (said[1].seq, len(CALL) // BYTES_PER_SAMPLE)
    assert again == said[2:]
    assert code == 1000


async def test_a_client_that_was_lost_while_its_last_final_was_computed_gets_it() -> None:
    recognizer = FakeRecognizer()
    async with a_server(recognizer) as server:
        with recognizer.held():
            async with new_session(server) as socket:
                first = await next_event(socket)
                await socket.send(pcm(speech(0.9)))
                await socket.send('{"type": "close"}')
                (began, ended) = [await next_event(socket) for _ in range(2)]
                socket.transport.abort()
            resuming = asyncio.create_task(connected(server, token_of(first), after=ended.seq))
            await asyncio.sleep(0)
        socket = await resuming
        events, code, _ = await rest_of(socket)

    assert (began.type, ended.type) == ("speech.started", "speech.ended")
    assert [event.type for event in events] == ["session.resumed", "transcript", "emotion", "session.ended"]
    assert code == 1000


async def test_last_words_are_kept_for_as_long_as_a_session_waits_and_of_few_sessions() -> None:
    async with a_server(max_sessions=2) as server:
        tokens = []
        for _ in range(3):
            async with new_session(server) as socket:
                tokens.append(token_of(await next_event(socket)))
                await socket.send('{"type": "close"}')
                await rest_of(socket)
        codes = []
        for token in tokens:
            async with resumed(server, token, after=1) as socket:
                codes.append((await rest_of(socket))[1])

    assert codes == [1008, 1000, 1000]


async def test_a_token_that_never_was_is_refused() -> None:
    async with a_server() as server, resumed(server, "made-up", after=1) as socket:
        events, code, reason = await rest_of(socket)

    assert [getattr(event, "code", None) for event in events] == ["unknown_session"]
    assert code == 1008
    assert "made-up" not in reason + json.dumps([event.model_dump() for event in events])


async def test_a_client_that_says_goodbye_is_not_waited_for() -> None:
    async with a_server() as server, EventsClient(server.url) as watcher:
        async with new_session(server) as socket:
            await socket.send(CALL)
            await until(watcher, "speech.ended")
        *_, last = await until(watcher, "session.ended")

    assert isinstance(last, SessionEnded)
    assert last.reason == "disconnected"


async def test_only_the_sender_of_the_audio_is_told_how_to_resume() -> None:
    async with a_server() as server, EventsClient(server.url) as watcher:
        async with new_session(server) as socket:
            mine = started(await next_event(socket))
        (theirs,) = await until(watcher, "session.started")

    assert mine.resume is not None
    assert started(theirs).resume is None


async def test_without_patience_sessions_end_with_their_connection_and_name_no_token() -> None:
    async with a_server(resume_s=0) as server, EventsClient(server.url) as watcher:
        async with new_session(server) as socket:
            first = started(await next_event(socket))
            socket.transport.abort()
        *_, last = await until(watcher, "session.ended")

    assert first.resume is None
    assert isinstance(last, SessionEnded)


async def test_a_full_server_gives_a_waiting_place_to_a_new_session() -> None:
    async with a_server(max_sessions=1) as server, EventsClient(server.url) as watcher:
        async with new_session(server) as socket:
            first = await next_event(socket)
            socket.transport.abort()
        await parked(server)
        events = await converse(server, CALL)
        async with resumed(server, token_of(first), after=1) as socket:
            _, code, _ = await rest_of(socket)
        ended = [event for event in await until(watcher, "session.ended") if event.session == first.session]

    assert events[-1].type == "session.ended"
    assert code == 1008
    assert ended[-1].type == "session.ended"


async def test_a_stopping_server_answers_what_a_waiting_session_has_said() -> None:
    async with a_server() as server, EventsClient(server.url) as watcher:
        async with new_session(server) as socket:
            await next_event(socket)
            await socket.send(pcm(speech(0.9)))
            await heard(server, 14_400)
            socket.transport.abort()
        await parked(server)
        draining = asyncio.create_task(server.service.drain())
        events = await all_events(watcher)
        await draining

    assert isinstance(events[-1], SessionEnded)
    assert (events[-1].reason, events[-1].totals.finals) == ("shutdown", 1)


@pytest.mark.parametrize("more", ["rate_hz=8000", "after=0", "after=-1", "resume=y"])
async def test_a_session_is_taken_up_as_it_was_or_not_at_all(more: str) -> None:
    async with a_server() as server, connect(f"{server.url}/v1/listen?resume=x&{more}", compression=None) as socket:
        events, code, _ = await rest_of(socket)

    assert [getattr(event, "code", None) for event in events] == ["protocol"]
    assert code == 1008


async def test_a_session_can_be_taken_up_again_and_again() -> None:
    async with a_server() as server:
        unbroken = await converse(server, CALL, interim=False)
        events, sent = [], 0
        async with new_session(server) as socket:
            events.append(await next_event(socket))
            socket.transport.abort()
        token = token_of(events[0])
        for _ in range(5):
            async with resumed(server, token, after=events[-1].seq) as socket:
                hello = await next_event(socket)
                if not isinstance(hello, SessionResumed):
                    raise TypeError(hello.type)
                sent = hello.received_samples * BYTES_PER_SAMPLE
                before = server.service.metrics.audio_s._value.get() * 16_000
                piece = CALL[sent : sent + 8 * CHUNK_BYTES]
                await socket.send(piece)
                await heard(server, before + len(piece) // BYTES_PER_SAMPLE)
                socket.transport.abort()
        async with resumed(server, token, after=events[-1].seq) as socket:
            hello = await next_event(socket)
            if not isinstance(hello, SessionResumed):
                raise TypeError(hello.type)
            await socket.send(CALL[hello.received_samples * BYTES_PER_SAMPLE :])
            await socket.send('{"type": "close"}')
            events += (await rest_of(socket))[0]

    assert plain(events) == plain(unbroken)


async def test_a_finished_client_is_never_resumed_by_chance() -> None:
    async with a_server() as server, ListenClient(server.url, SPEECH) as client:
        await client.send(CALL)
        await client.finish()
        await all_events(client)

        assert len(server.service.sessions) == 0
        assert server.service.sessions.parked == 0


async def test_a_session_that_is_refused_takes_no_waiting_session_its_place() -> None:
    clock = [0.0]

    class Slow(FakeRecognizer):
        """Takes a clock's time and nobody's."""

        def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
            clock.append(clock[-1] + 30.0)
            return super().recognize(batch)

    async with a_server(Slow(), max_sessions=1, clock=lambda: clock[-1]) as server:
        async with new_session(server) as socket:
            first = await next_event(socket)
            await socket.send(pcm(speech(0.7), silence(1.0)))
            while (await next_event(socket)).type != "emotion":
                pass
            socket.transport.abort()
        await parked(server)
        with pytest.raises(CapacityError, match="everybody's finals late"):
            await converse(server, CALL)
        async with resumed(server, token_of(first), after=1) as socket:
            hello = await next_event(socket)

    assert hello.type == "session.resumed"
