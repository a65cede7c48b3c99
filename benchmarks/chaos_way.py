"""The way of well-behaved clients to the server: a TCP proxy on loopback that breaks connections when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

MOST_BYTES: Final = 1 << 16
"""Two seconds of 16-bit audio at 16 kHz."""
_READ_BYTES: Final = 1 << 16


@dataclass(slots=True, eq=False)
class _Link:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    passed_bytes: int = 0
    """From the client."""
    halve: bool = False
    """Whether of the next bytes from the client a part is passed on, and then no more."""

    def cut(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class Way:
    """Passes on bytes, both ways, and breaks what it is told to break.

    Args:
        server_port: on loopback.
        seed: draws which connection breaks, and where in a message.
    """

    def __init__(self, server_port: int, seed: int) -> None:
        self._server_port = server_port
        self._random = random.Random(seed)
        self._links: list[_Link] = []
        self._moved = asyncio.Event()
        self.port = 0
        """Where clients connect."""

    @property
    def url(self) -> str:
        """Where WebSocket clients connect, without a path."""
        return f"ws://127.0.0.1:{self.port}"

    async def break_one(self, *, halve: bool) -> None:
        """Breaks a connection, once there is one that has passed on enough.

        How much is drawn, up to `MOST_BYTES`: it may break in the handshake, but clients get further between breaks.

        Args:
            halve: first pass on a part of what the client sends next.
        """
        enough = self._random.randrange(MOST_BYTES)
        while True:
            whole = [link for link in self._links if not link.halve and link.passed_bytes >= enough]
            if whole:
                link = self._random.choice(whole)
                if halve:
                    link.halve = True
                else:
                    link.cut()
                    self._links.remove(link)
                return
            self._moved.clear()
            await self._moved.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection until either side is gone."""
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, server_writer)
        self._links.append(link)
        self._moved.set()
        try:
            await asyncio.gather(self._up(reader, link), _down(server_reader, writer))
        finally:
            link.cut()
            if link in self._links:
                self._links.remove(link)

    async def _up(self, reader: asyncio.StreamReader, link: _Link) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                if link.halve:
                    link.server.write(data[: self._random.randrange(len(data))])
                    await link.server.drain()
                    link.cut()
                    return
                link.server.write(data)
                await link.server.drain()
                link.passed_bytes += len(data)
                self._moved.set()
            link.server.write_eof()

    def cut_all(self) -> None:
        """Breaks every connection."""
        for link in self._links:
            link.cut()


async def _down(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_READ_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


@asynccontextmanager
async def way_to(server_port: int, seed: int) -> AsyncIterator[Way]:
    """A way for as long as the block runs.

    Args:
        server_port: on loopback; nobody needs to listen there yet.
        seed: draws which connection breaks, and where in a message.
    """
    way = Way(server_port, seed)
    server = await asyncio.start_server(way.serve, "127.0.0.1", 0)
    way.port = server.sockets[0].getsockname()[1]
    try:
        yield way
    finally:
        server.close()
        way.cut_all()
