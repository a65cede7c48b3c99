"""When a WebSocket's bytes are read: once what was read is taken, and, where messages are short, some of them together.

Taking a message of 20 ms off a socket costs more than what it says: the process wakes, reads, and goes back to sleep.
So whoever hears short messages may leave the next ones to the system until the last of them is due.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.websockets import WebSocket
from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from streaming.protocols.wire import Wire

_EXTENSION: Final = "medusa.read_later"


def read_later(wire: Wire, seconds: float) -> None:
    """Leaves what comes next to the system for a while, so that it is read together; a hint.

    Args:
        wire: a WebSocket served by a `PatientWebSocket`; of others nothing is asked.
        seconds: counted from now; 0 to read on as usual.
    """
    extension = wire.scope.get("extensions", {}).get(_EXTENSION) if isinstance(wire, WebSocket) else None
    if extension is not None:
        extension["call"](seconds)


class PatientWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which reads on when more is wanted instead of as soon as a message was taken."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._read_at_s = 0.0
        self._reading_later: asyncio.TimerHandle | None = None

    def handle_connect(self, event: Request) -> None:
        """Begins the conversation, which may say when to read on."""
        super().handle_connect(event)
        if not self.handshake_complete:  # it was not refused
            self.scope["extensions"][_EXTENSION] = {"call": self._read_later}

    async def receive(self) -> ASGIReceiveEvent:
        """The next message."""
        if self.queue.empty():
            self._read_on()
        return await self.queue.get()

    def connection_lost(self, exc: Exception | None) -> None:
        """Reads no more."""
        self._end_rest()
        super().connection_lost(exc)

    def _read_later(self, seconds: float) -> None:
        self._read_at_s = self.loop.time() + seconds

    def _read_on(self) -> None:
        self._end_rest()
        if not self.read_paused:
            return
        left_s = self._read_at_s - self.loop.time()
        if left_s > 0:
            self._reading_later = self.loop.call_later(left_s, self._read_on)
        else:
            self.read_paused = False
            self.transport.resume_reading()

    def _end_rest(self) -> None:
        if self._reading_later is not None:
            self._reading_later.cancel()
            self._reading_later = None
