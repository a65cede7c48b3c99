"""WebSocket frames made by hand are those of the RFC, unless they are to be wrong."""

from __future__ import annotations

import asyncio

import pytest
from websockets.frames import Frame
from websockets.frames import Opcode as Known
from websockets.streams import StreamReader

from benchmarks.raw_websocket import LISTEN, Opcode, connected, frame, handshake, upgrade
from tests.fakes.servers import a_server


def parsed(data: bytes, *, masked: bool = True) -> Frame:
    reader = StreamReader()
    reader.feed_data(data)
    parsing = Frame.parse(reader.read_exact, mask=masked)
    try:
        next(parsing)
    except StopIteration as done:
        found: Frame = done.value
        return found
    raise EOFError("the frame is not whole")


@pytest.mark.parametrize("length", [0, 1, 3, 4, 125, 126, 65_535, 65_536])
def test_a_frame_is_read_as_it_was_meant(length: int) -> None:
    payload = bytes(place % 251 for place in range(length))

    found = parsed(frame(Opcode.BINARY, payload))

    assert (found.opcode, found.data, found.fin) == (Known.BINARY, payload, True)


def test_a_frame_may_go_without_a_mask_or_claim_more_than_it_holds() -> None:
    assert parsed(frame(Opcode.TEXT, b"hello", mask=None), masked=False).data == b"hello"
    with pytest.raises(EOFError, match="not whole"):
        parsed(frame(Opcode.BINARY, b"short", claimed=1000))


async def test_a_connection_made_by_hand_is_a_session_to_the_server() -> None:
    async with a_server() as server, connected(server.url) as (reader, writer):
        assert await upgrade(reader, writer, server.url, LISTEN)
        writer.write(frame(Opcode.TEXT, b'{"type": "close"}'))
        async with asyncio.timeout(10):
            told = await reader.readuntil(b'"session.ended"')

    assert b'"session.started"' in told


async def test_what_the_server_does_not_upgrade_is_said() -> None:
    async with a_server() as server, connected(server.url) as (reader, writer):
        assert not await upgrade(reader, writer, server.url, "/healthz")


def test_a_handshake_may_ask_for_anything() -> None:
    asked = handshake("localhost:1", "/v1/listen?rate_hz=\u2603", headers="X-Much: more\r\n")

    assert asked.startswith(b"GET /v1/listen?rate_hz=? HTTP/1.1\r\nHost: localhost:1\r\n")
    assert asked.endswith(b"X-Much: more\r\n\r\n")
