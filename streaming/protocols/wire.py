"""What a conversation needs of a connection."""

from __future__ import annotations

from typing import Protocol

from starlette.types import Message as AsgiMessage


class Wire(Protocol):
    """A connection that carries whole messages, in ASGI's words for a WebSocket. Starlette's `WebSocket` is one.

    Sending raises `WebSocketDisconnect`, `RuntimeError` or `ConnectionError` once the peer is gone.
    """

    async def receive(self) -> AsgiMessage:
        """The next `websocket.receive`, or `websocket.disconnect` once no message will follow; may be cancelled."""
        ...

    async def send_text(self, data: str) -> None:
        """Sends a text message, and waits while the peer takes none."""
        ...

    async def send_bytes(self, data: bytes) -> None:
        """Sends a binary message, likewise."""
        ...
