"""A TCP connection that carries Wyoming's events, as a conversation needs it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from starlette.types import Message as AsgiMessage

from streaming.protocols.connections import LINGER_S
from streaming.protocols.wyoming_events import EventCutter
from streaming.rate import RateLimit

READ_BYTES: Final = 65_536
"""Taken from the system at once."""
_LOST: Final = 1006
_EVENTS_PER_S: Final = 1000
"""Events heard in a second; more wait in their socket. Assistants send up to a hundred."""


class WyomingWire:
    """Reads no faster than it is asked for events: what is not asked for waits at the peer.

    Args:
        reader: of the connection.
        writer: of the connection.
        max_payload_bytes: of one event.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, max_payload_bytes: int) -> None:
        self._reader = reader
        self._writer = writer
        self._events = EventCutter(max_payload_bytes)
        self._rate = RateLimit(_EVENTS_PER_S)

    async def receive(self) -> AsgiMessage:
        """See `Wire.receive`; a message is one event."""
        if not self._rate.allows(asyncio.get_running_loop().time()):
            await asyncio.sleep(1 / _EVENTS_PER_S)
        while (event := self._events.next()) is None:
            try:
                data = await self._reader.read(READ_BYTES)
            except OSError:
                data = b""
            if not data:
                return {"type": "websocket.disconnect", "code": _LOST}
            self._events.push(data)
        return {"type": "websocket.receive", "bytes": event}

    async def send_text(self, data: str) -> None:
        """See `Wire.send_text`."""
        await self.send_bytes(data.encode())

    async def send_bytes(self, data: bytes) -> None:
        """See `Wire.send_bytes`."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Ends the connection once the peer had time to read: closing while it sends would take the last words away."""
        try:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    self._writer.write_eof()
                    while await self._reader.read(READ_BYTES):
                        pass
                    self._writer.close()
                    await self._writer.wait_closed()
        finally:
            self.cut()

    def cut(self) -> None:
        """Ends it at once."""
        self._writer.transport.abort()
