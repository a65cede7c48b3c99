"""When a WebSocket's bytes are read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.websockets import WebSocket
from uvicorn import Config
from uvicorn.server import ServerState

from streaming.protocols.reading import PatientWebSocket, read_later

PATIENCE_S = 10.0
MESSAGE: Any = {"type": "websocket.receive", "bytes": b"\x00"}


class Line:
    """A transport that notes when it is read from again."""

    def __init__(self) -> None:
        self.resumed = asyncio.Event()
        self.resumed_s = 0.0

    def resume_reading(self) -> None:
        self.resumed_s = asyncio.get_running_loop().time()
        self.resumed.set()


def a_socket() -> tuple[PatientWebSocket, Line]:
    """A connection that has just read something, and reads no more."""

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise NotImplementedError

    socket, line = PatientWebSocket(Config(app, log_config=None), ServerState(), {}), Line()
    socket.transport = line  # type: ignore[assignment]
    socket.read_paused = True
    return socket, line


async def test_what_was_read_is_taken_before_more_is_read() -> None:
    socket, line = a_socket()
    for _ in range(2):
        socket.queue.put_nowait(MESSAGE)

    assert [await socket.receive(), await socket.receive()] == [MESSAGE, MESSAGE]
    assert not line.resumed.is_set()


@pytest.mark.parametrize("rest_s", [0.0, 0.02])
async def test_more_is_read_once_it_is_wanted_and_no_sooner_than_was_asked_for(rest_s: float) -> None:
    socket, line = a_socket()
    asked_s = asyncio.get_running_loop().time()
    socket._read_later(rest_s)
    receiving = asyncio.create_task(socket.receive())
    async with asyncio.timeout(PATIENCE_S):
        await line.resumed.wait()
        socket.queue.put_nowait(MESSAGE)
        await receiving

    assert line.resumed_s >= asked_s + rest_s
    assert not socket.read_paused


async def test_a_connection_that_knows_no_rest_is_asked_for_none() -> None:
    async def nothing(*_given: Any) -> Any:
        raise NotImplementedError

    read_later(WebSocket({"type": "websocket"}, nothing, nothing), 1.0)
