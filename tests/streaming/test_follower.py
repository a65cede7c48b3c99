"""Subscribers whose connection breaks, behind a proxy that breaks it: they see every event once."""

from __future__ import annotations

import asyncio

import pytest

from streaming.client import EventsClient, ListenClient
from streaming.errors import ConnectionFailedError, UnknownSessionError
from streaming.events import Event
from streaming.outage import Pauses
from tests.fakes.events import EventSource
from tests.fakes.proxy import Cut, a_proxy
from tests.fakes.servers import PATIENCE_S, SPEECH, a_server, all_events, converse, until
from tests.fakes.shell import pcm, silence, speech

QUICK = Pauses(first_s=0.001, longest_s=0.01)
UTTERANCE = pcm(speech(0.6), silence(1.0))
A_LONG_TEXT = "word " * 50_000


def lines(events: list[Event]) -> list[str]:
    return [event.to_json() for event in events]


@pytest.mark.parametrize("from_server", [700, 1500, 2400])
async def test_a_follower_of_one_session_misses_nothing_and_sees_nothing_twice(from_server: int) -> None:
    async with (
        a_server() as server,
        a_proxy(server.port, [Cut(from_server=from_server)] * 4) as proxy,
        ListenClient(server.url, SPEECH) as client,
        EventsClient(proxy.url, session=client.started.session, after=0, pauses=QUICK) as watcher,
    ):
        await client.send(UTTERANCE * 2)
        await client.finish()
        spoken = await all_events(client)
        seen = await all_events(watcher)

    assert lines(seen) == lines(spoken)
    assert proxy.connections > 1


async def test_a_follower_of_all_sessions_gets_those_that_began_and_ended_while_it_was_away() -> None:
    async with a_server() as server, a_proxy(server.port) as proxy:
        before = await converse(server, UTTERANCE)
        async with EventsClient(proxy.url, pauses=QUICK) as watcher:
            first = await converse(server, UTTERANCE)
            seen = await until(watcher, "session.ended")
            proxy.cut()
            second = await converse(server, UTTERANCE)
            seen += await until(watcher, "session.ended")
            third = await converse(server, UTTERANCE)
            seen += await until(watcher, "session.ended")

    assert lines(seen) == lines(first + second + third)
    assert before[0].session not in {event.session for event in seen}


async def test_a_follower_that_has_seen_nothing_yet_misses_nothing_either() -> None:
    async with (
        a_server() as server,
        a_proxy(server.port) as proxy,
        EventsClient(proxy.url, pauses=QUICK) as watcher,
    ):
        proxy.cut()
        spoken = await converse(server, UTTERANCE)
        seen = await until(watcher, "session.ended")

    assert lines(seen) == lines(spoken)


async def test_a_follower_from_a_number_on_is_not_given_what_came_before_it() -> None:
    async with a_server() as server, a_proxy(server.port, [Cut(from_server=900)]) as proxy:
        spoken = await converse(server, UTTERANCE)
        async with EventsClient(proxy.url, after=3, pauses=QUICK) as watcher:
            seen = await until(watcher, "session.ended")

    assert lines(seen) == lines(spoken[3:])


async def test_a_follower_that_was_too_slow_reads_on_where_it_was() -> None:
    source = EventSource("flood")
    async with a_server(subscriber_queue=10) as server, EventsClient(server.url, pauses=QUICK) as stuck:
        stuck._socket.transport.pause_reading()
        async with asyncio.timeout(PATIENCE_S):
            while server.service.hub.subscribers:
                server.service.hub.publish(source.transcript(final=True, text=A_LONG_TEXT))
                await asyncio.sleep(0)
        server.service.hub.publish(source.ended())
        stuck._socket.transport.resume_reading()
        seen = await until(stuck, "session.ended")

    assert [event.seq for event in seen] == list(range(1, source.seq + 1))


async def test_of_long_past_sessions_nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.follower.REMEMBERED_SESSIONS", 2)
    async with a_server() as server, EventsClient(server.url) as watcher:
        for _ in range(3):
            spoken = await converse(server, UTTERANCE)
            await until(watcher, "session.ended")

        assert len(watcher._seen) == 2
        assert watcher._seen[spoken[-1].session] == spoken[-1].seq


async def test_a_session_that_is_gone_when_its_follower_is_back_is_an_error() -> None:
    async with (
        a_server() as one,
        a_server() as other,
        a_proxy(one.port) as proxy,
        ListenClient(one.url, SPEECH) as client,
        EventsClient(proxy.url, session=client.started.session, after=0, pauses=QUICK) as watcher,
    ):
        await anext(watcher)
        proxy.server_port = other.port
        proxy.cut()
        with pytest.raises(UnknownSessionError):
            await anext(watcher)


async def test_when_nobody_answers_for_long_enough_the_loss_is_raised() -> None:
    async with (
        a_server() as server,
        a_proxy(server.port, [Cut(), *[Cut(from_client=0)] * 10_000]) as proxy,
        EventsClient(proxy.url, reconnect_s=0.1, pauses=QUICK) as watcher,
    ):
        proxy.cut()
        with pytest.raises(ConnectionFailedError, match=r"connecting again has failed for 0\.1 s"):
            await anext(watcher)


async def test_a_server_that_stops_ends_the_following() -> None:
    async with a_server() as server:
        watcher = EventsClient(server.url)
        await watcher.__aenter__()
        spoken = await converse(server, UTTERANCE)

    assert lines(await all_events(watcher)) == lines(spoken)
