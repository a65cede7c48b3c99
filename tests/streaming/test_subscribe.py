"""`/v1/events` through a real server and real WebSocket clients."""

from __future__ import annotations

import asyncio

import pytest

from streaming.client import EventsClient, ListenClient
from streaming.errors import (
    ConnectionFailedError,
    ProtocolError,
    SlowConsumerError,
    StreamingError,
    UnknownSessionError,
)
from streaming.events import Event
from streaming.protocols.subscribe import EventsRequest
from tests.fakes.events import EventSource
from tests.fakes.servers import PATIENCE_S, SPEECH, a_server, all_events, converse, until
from tests.fakes.shell import pcm, silence, speech

UTTERANCE = pcm(speech(0.6), silence(1.0))
A_LONG_TEXT = "word " * 50_000


def lines(events: list[Event]) -> list[str]:
    return [event.to_json() for event in events]


async def test_a_subscriber_sees_what_the_speaker_sees() -> None:
    async with a_server() as server, EventsClient(server.url) as watcher:
        spoken = await converse(server, UTTERANCE * 2)
        seen = await until(watcher, "session.ended")

    assert lines(seen) == lines(spoken)
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))


async def test_a_subscriber_of_one_session_is_let_go_when_it_ends() -> None:
    async with a_server() as server, ListenClient(server.url, SPEECH) as client:
        name = client.started.session
        async with EventsClient(server.url, session=name, after=0) as watcher:
            await converse(server, UTTERANCE)
            await client.send(UTTERANCE)
            await client.finish()
            spoken = await all_events(client)
            seen = await all_events(watcher)

    assert lines(seen) == lines(spoken)


async def test_a_subscriber_that_lost_its_connection_reads_on_without_a_gap() -> None:
    async with a_server() as server, ListenClient(server.url, SPEECH) as client:
        name = client.started.session
        async with EventsClient(server.url, session=name, after=0) as watcher:
            await client.send(UTTERANCE)
            before = await until(watcher, "speech.started")
        await client.finish()
        spoken = await all_events(client)
        async with EventsClient(server.url, session=name, after=before[-1].seq) as watcher:
            after = await all_events(watcher)

    assert lines(before + after) == lines(spoken)


async def test_a_session_that_ended_can_still_be_replayed() -> None:
    async with a_server() as server:
        spoken = await converse(server, UTTERANCE)
        async with EventsClient(server.url, session=spoken[0].session, after=0) as watcher:
            assert lines(await all_events(watcher)) == lines(spoken)


async def test_an_unknown_session_is_refused() -> None:
    async with a_server() as server, EventsClient(server.url, session="nobody") as watcher:
        with pytest.raises(UnknownSessionError, match="there is no session nobody"):
            await anext(watcher)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"session": "a/b"}, "session must be"),
        ({"session": "*", "after": -1}, "after must be the seq"),
    ],
)
async def test_a_query_we_cannot_serve_is_refused(options: dict[str, object], complaint: str) -> None:
    async with a_server() as server, EventsClient(server.url, **options) as watcher:  # type: ignore[arg-type]
        with pytest.raises(ProtocolError, match=complaint):
            await anext(watcher)


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ([("last_s", "soon")], "last_s must be a whole number of seconds, got 'soon'"),
        ([("last_s", "1"), ("after", "1")], "after and last_s both say what to replay"),
    ],
)
def test_a_time_we_cannot_replay_from_is_refused(query: list[tuple[str, str]], complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        EventsRequest.from_query(query)


async def test_a_subscriber_may_keep_alive_but_not_send_audio() -> None:
    async with a_server() as server, EventsClient(server.url) as watcher:
        await watcher._socket.send('{"type": "keepalive"}')
        await converse(server, UTTERANCE)
        await until(watcher, "session.ended")
        await watcher._socket.send(UTTERANCE)
        with pytest.raises(ProtocolError, match="subscribers only listen"):
            await anext(watcher)


async def test_a_subscriber_that_reads_nothing_is_cut_off_and_delays_nobody() -> None:
    source = EventSource("flood")
    async with a_server(subscriber_queue=10) as server, EventsClient(server.url, reconnect_s=0) as stuck:
        stuck._socket.transport.pause_reading()
        async with asyncio.timeout(PATIENCE_S):
            while server.service.hub.subscribers:
                server.service.hub.publish(source.transcript(final=True, text=A_LONG_TEXT))
                await asyncio.sleep(0)
        spoken = await converse(server, UTTERANCE)
        stuck._socket.transport.resume_reading()
        with pytest.raises((SlowConsumerError, ConnectionFailedError)) as cut:
            await all_events(stuck)

    assert spoken[-1].type == "session.ended"
    assert isinstance(cut.value, StreamingError)
