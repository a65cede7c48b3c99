"""A TCP proxy on loopback that breaks connections where a test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_READ_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Cut:
    """Where one connection breaks; None for not at all."""

    from_client: int | None = None
    """After so many bytes on their way to the server."""
    from_server: int | None = None
    """After so many bytes on their way to the client."""


class Proxy:
    """Passes bytes on, in both directions.

    Args:
        port: of the server; may be changed while it runs, for connections to come.
        cuts: one for each connection, in their order; those after are left alone.
    """

    def __init__(self, port: int, cuts: Iterable[Cut] = ()) -> None:
        self.server_port = port
        self.connections = 0
        """That were asked for, so far."""
        self.port = 0
        self._cuts: Iterator[Cut] = iter(cuts)
        self._open: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()

    @property
    def url(self) -> str:
        """Where WebSocket clients connect."""
        return f"ws://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Breaks every connection now."""
        for writer in self._open:
            writer.transport.abort()

    def hold(self) -> None:
        """Passes nothing on until `let_go`, as a line that is dead."""
        self._passing.clear()

    def let_go(self) -> None:
        """Passes on again."""
        self._passing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection until either side is gone."""
        self.connections += 1
        cut = next(self._cuts, Cut())
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self.server_port)
        except OSError:
            writer.transport.abort()
            return
        writers = {writer, upstream[1]}
        self._open |= writers
        passing = {
            asyncio.create_task(self._pass(reader, upstream[1], cut.from_client)),
            asyncio.create_task(self._pass(upstream[0], writer, cut.from_server)),
        }
        try:
            done, _ = await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
            if not any(task.result() for task in done):
                await asyncio.wait(passing)
        finally:
            for task in passing:
                task.cancel()
            self._open -= writers
            for each in writers:
                each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> bool:
        """Passes on what one side sends; True where the connection is to break, False at its end."""
        left = limit
        with contextlib.suppress(OSError):
            while left is None or left > 0:
                data = await reader.read(_READ_BYTES if left is None else min(_READ_BYTES, left))
                await self._passing.wait()
                if not data:
                    writer.write_eof()
                    return False
                writer.write(data)
                await writer.drain()
                left = None if left is None else left - len(data)
        return True


@contextlib.asynccontextmanager
async def a_proxy(port: int, cuts: Iterable[Cut] = ()) -> AsyncIterator[Proxy]:
    """A proxy in front of the server at a port, for as long as the block runs."""
    proxy = Proxy(port, cuts)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
