"""The server's ports."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from streaming.errors import ServerError

BACKLOG: Final = 128
"""Connections that wait to be accepted."""
_RECEIVE_BUFFER_BYTES: Final = 262_144
"""Audio of one client that the system holds for us: eight seconds of 16 kHz. What is more waits at the client."""


@contextmanager
def listening_socket(host: str, port: int, section: str) -> Iterator[socket.socket]:
    """A socket that listens, for as long as the block runs.

    Args:
        host: address to listen on.
        port: 0 for a free one.
        section: of the settings, for what errors say.

    Raises:
        ServerError: the address cannot be listened on.
    """
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ServerError(f"[{section}] host {host!r} is no address of this machine: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    with contextlib.closing(listener):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except PermissionError:
            raise ServerError(f"not allowed to listen on {where}: choose a [{section}] port above 1023") from None
        except OSError as error:
            raise ServerError(
                f"cannot listen on {where}: {error.strerror}; stop the other program or set another [{section}] port"
            ) from None
        listener.setblocking(False)
        yield listener
