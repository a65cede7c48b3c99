"""WebSocket by hand (RFC 6455): whatever bytes a client may send, right or wrong. No library would let us."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Final
from urllib.parse import urlsplit

LISTEN: Final = "/v1/listen"
EVENTS: Final = "/v1/events"
_UPGRADED: Final = b"101"
_HEADERS_END: Final = b"\r\n\r\n"
_PATIENCE_S: Final = 10.0
_SMALL_BUFFER_BYTES: Final = 4096
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127
_MASKED: Final = 0x80
_FIN: Final = 0x80


class Opcode(IntEnum):
    """Kinds of frames (RFC 6455, section 5.2); there are others, which nobody may use."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


def handshake(host: str, target: str, *, key: bytes = bytes(16), headers: str = "") -> bytes:
    """The request that opens a connection (RFC 6455, section 4.1).

    Args:
        host: and port.
        target: path and query.
        key: 16 bytes.
        headers: more lines, each with its end.
    """
    return (
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(key).decode()}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    ).encode("latin-1", "replace")


def frame(
    opcode: int,
    payload: bytes,
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x37\xfa\x21\x3d",
    claimed: int | None = None,
) -> bytes:
    """A frame, with whatever is to be wrong with it.

    Args:
        opcode: 0 to 15.
        payload: as it is meant.
        fin: whether the message ends with it.
        rsv: the three reserved bits.
        mask: 4 bytes; None to send it as only servers may.
        claimed: the length in the header, where that is to differ.
    """
    length = len(payload) if claimed is None else claimed
    first = (_FIN if fin else 0) | (rsv << 4) | opcode
    flag = 0 if mask is None else _MASKED
    if length < _LENGTH_16:
        header = bytes((first, flag | length))
    elif length < 1 << 16:
        header = bytes((first, flag | _LENGTH_16)) + length.to_bytes(2, "big")
    else:
        header = bytes((first, flag | _LENGTH_64)) + length.to_bytes(8, "big")
    if mask is None:
        return header + payload
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")
    return header + mask + masked


def authority(url: str) -> tuple[str, int]:
    """Host and port of a URL such as `ws://127.0.0.1:8765`."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


@asynccontextmanager
async def connected(
    url: str, *, deaf: bool = False
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare TCP connection, cut at the end of the block.

    Args:
        url: of the server.
        deaf: with as little room as there can be for what the server sends.

    Raises:
        OSError: nobody listens.
    """
    host, port = authority(url)
    opened = socket.socket()
    try:
        opened.setblocking(False)
        if deaf:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER_BYTES)
        async with asyncio.timeout(_PATIENCE_S):
            await asyncio.get_running_loop().sock_connect(opened, (host, port))
        reader, writer = await asyncio.open_connection(sock=opened, limit=_SMALL_BUFFER_BYTES)
    except BaseException:
        opened.close()
        raise
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def upgrade(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str, target: str, *, headers: str = ""
) -> bool:
    """Opens a WebSocket on a connection; False where the server will not.

    Raises:
        OSError: the connection broke.
        TimeoutError: the server does not answer.
    """
    host, port = authority(url)
    writer.write(handshake(f"{host}:{port}", target, headers=headers))
    async with asyncio.timeout(_PATIENCE_S):
        await writer.drain()
        try:
            answer = await reader.readuntil(_HEADERS_END)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return False
    return answer.split(b" ", 2)[1:2] == [_UPGRADED]
