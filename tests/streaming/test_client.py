"""What our own clients say when a server is not what they expect, and how they keep pace."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.client import EventsClient, ListenClient
from streaming.errors import ConnectionFailedError, ProtocolError, SlowConsumerError
from tests.fakes.broker import free_port
from tests.fakes.events import EventSource

SPEECH = AudioFormat(Encoding.PCM16, 16_000, 1)
PROMPT_S = 5.0
Handler = Callable[[ServerConnection], Awaitable[None]]


@contextlib.asynccontextmanager
async def other_server(handler: Handler) -> AsyncIterator[str]:
    """A WebSocket server that does what the test says; gives its address."""
    async with serve_websocket(handler, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def start(socket: ServerConnection) -> None:
    await socket.send(EventSource().started().to_json())


async def test_nobody_there() -> None:
    port = free_port()
    with pytest.raises(ConnectionFailedError, match=rf"no server answers at ws://127\.0\.0\.1:{port}.*'medusa serve'"):
        async with ListenClient(f"ws://127.0.0.1:{port}", SPEECH):
            pass


@pytest.mark.parametrize("url", ["localhost:8765", "http://127.0.0.1:8765", "ws://"])
async def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConnectionFailedError, match="it looks like ws://"):
        async with EventsClient(url):
            pass


async def test_something_that_does_not_speak_websocket() -> None:
    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionFailedError, match="does not speak WebSocket"):
            async with EventsClient(f"ws://127.0.0.1:{port}"):
                pass


async def test_a_server_that_closes_before_the_session_begins() -> None:
    async def hang_up(socket: ServerConnection) -> None:
        await socket.close()

    async with other_server(hang_up) as url:
        with pytest.raises(ConnectionFailedError, match="closed before the session began"):
            async with ListenClient(url, SPEECH):
                pass


async def test_a_server_that_begins_with_something_else() -> None:
    async def odd(socket: ServerConnection) -> None:
        await socket.send(EventSource().final().to_json())

    async with other_server(odd) as url:
        with pytest.raises(ProtocolError, match="began with 'transcript'"):
            async with ListenClient(url, SPEECH):
                pass


async def test_a_connection_that_breaks() -> None:
    async def vanish(socket: ServerConnection) -> None:
        await start(socket)
        socket.transport.abort()

    async with other_server(vanish) as url, ListenClient(url, SPEECH, reconnect_s=0) as client:
        assert (await anext(client)).type == "session.started"
        with pytest.raises(ConnectionFailedError, match="was lost"):
            await anext(client)


async def test_being_too_slow_is_told_with_where_to_read_on() -> None:
    async def give_up(socket: ServerConnection) -> None:
        await start(socket)
        await socket.close(1013, "slow_consumer: too slow: 10 events wait; reconnect and read on after 7 of session s1")

    async with other_server(give_up) as url, EventsClient(url, reconnect_s=0) as client:
        await anext(client)
        with pytest.raises(SlowConsumerError, match="read on after 7 of session s1"):
            await anext(client)


async def test_sending_after_an_orderly_end_says_so() -> None:
    async def end(socket: ServerConnection) -> None:
        await start(socket)
        await socket.close()

    async with other_server(end) as url, ListenClient(url, SPEECH) as client:
        assert [event.type async for event in client] == ["session.started"]
        with pytest.raises(ConnectionFailedError, match="has ended the session"):
            await client.send(b"\0\0")


async def test_a_client_outside_its_with_statement_says_how_it_is_used() -> None:
    with pytest.raises(ConnectionFailedError, match="'async with'"):
        await ListenClient("ws://127.0.0.1:1", SPEECH).send(b"")


async def test_audio_is_cut_to_what_the_server_takes_and_nothing_is_lost() -> None:
    received: list[bytes] = []

    async def take(socket: ServerConnection) -> None:
        await start(socket)
        received.extend([message if isinstance(message, bytes) else message.encode() async for message in socket])

    data = bytes(range(256)) * 10
    async with other_server(take) as url, ListenClient(url, SPEECH) as client:
        limit = client.started.limits.max_message_bytes
        await client.send(data)

    assert b"".join(received) == data
    assert [len(message) for message in received] == [limit, limit, len(data) - 2 * limit]


async def test_paced_audio_keeps_to_the_clock_however_late_the_timer_is() -> None:
    now_s, sent_at = 50.0, []

    async def take(socket: ServerConnection) -> None:
        await start(socket)
        async for _ in socket:
            pass

    async def oversleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds + 0.03
        sent_at.append(now_s - 50.0)

    async with other_server(take) as url, ListenClient(url, SPEECH) as client:
        await client.send_paced(bytes(32_000), clock=lambda: now_s, sleep=oversleep)

    assert sent_at == pytest.approx([0.1 * (place + 1) + 0.03 for place in range(10)])


async def test_a_client_leaves_at_once_however_much_it_has_not_read() -> None:
    async def talk(socket: ServerConnection) -> None:
        source = EventSource()
        for _ in range(100):
            await socket.send(source.final().to_json())
        await socket.wait_closed()

    async with other_server(talk) as url, asyncio.timeout(PROMPT_S), EventsClient(url) as client:
        await anext(client)
