"""The Wyoming server: a TCP port for voice assistants, whose sessions are those of everybody."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from streaming.errors import CapacityError, ProtocolError, StreamingError
from streaming.faults import where
from streaming.peers import Peers
from streaming.protocols import conversation as ws
from streaming.protocols.connections import LINGER_S
from streaming.protocols.dialect import Begin, Reply
from streaming.protocols.hearing import Hearing
from streaming.protocols.wyoming import WyomingDialect
from streaming.protocols.wyoming_wire import READ_BYTES, WyomingWire
from streaming.service import LiveService, new_session_id

_LOG: Final = logging.getLogger(__name__)
NAME_PREFIX: Final = "wyoming-"
"""Of the sessions' names, so that whoever reads events knows where they come from."""


class WyomingServer:
    """Serves assistants from `start` to `aclose`.

    Args:
        service: where sessions are opened.
        peers: who is let in.
        elsewhere: connections of the rest of the server, which count with these.
    """

    def __init__(self, service: LiveService, peers: Peers, *, elsewhere: Callable[[], int] = lambda: 0) -> None:
        self._service = service
        self._peers = peers
        self._elsewhere = elsewhere
        self._hearing = Hearing(service)
        self._settings = service.settings
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._open)

    async def start(self, listener: socket.socket) -> None:
        """Accepts connections from now on."""
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=READ_BYTES)

    def stop_accepting(self) -> None:
        """Refuses new connections; open ones stay."""
        if self._server is not None:
            self._server.close()

    async def aclose(self) -> None:
        """Ends the connections that are still open, once the service stops: politely, then not."""
        self.stop_accepting()
        if self._open:
            await asyncio.wait(self._open, timeout=LINGER_S)
        await ws.cancel(*self._open)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = WyomingWire(reader, writer, max_payload_bytes=self._settings.server.max_message_bytes)
        address = writer.get_extra_info("peername")
        try:
            self._peers.check(str(address[0]) if address else "")
            if self.connections + self._elsewhere() >= self._settings.server.max_connections:
                raise CapacityError("too many connections are open: try again later")
        except StreamingError as error:
            self._service.metrics.refused.labels(error.code).inc()
            wire.cut()
            return
        task = asyncio.create_task(self._serve(wire))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, wire: WyomingWire) -> None:
        try:
            await self._converse(wire)
            await wire.close()
        finally:
            wire.cut()

    async def _converse(self, wire: WyomingWire) -> None:
        """One utterance after another, until the peer leaves or one does not end in order."""
        dialect, session_id = WyomingDialect(self._settings), ""
        server = self._settings.server
        goodbye, patience_s = self._hearing.done, server.handshake_timeout_s
        try:
            while goodbye == self._hearing.done:
                begin = await self._next(wire, dialect, patience_s)
                if begin is None:
                    return
                session_id = f"{NAME_PREFIX}{new_session_id()}"
                patience_s = server.idle_timeout_s
                live = self._service.open_session(begin.request, session_id)
                goodbye = await self._hearing.converse(wire, live, dialect)
        except StreamingError as error:
            self._service.metrics.refused.labels(error.code).inc()
            for message in dialect.refuse(error):
                await ws.send_in_time(wire, message)
        except Exception as error:  # noqa: BLE001 - one session's fault must not reach the server
            _LOG.error("session %s failed: %s", session_id or "of an assistant", where(error))

    async def _next(self, wire: WyomingWire, dialect: WyomingDialect, patience_s: float) -> Begin | None:
        """Waits for the next utterance to begin; None where the peer leaves, or the service stops.

        Args:
            wire: to the peer.
            dialect: of the peer.
            patience_s: how long its first event may take; further ones may take as long as a session may idle.

        Raises:
            ProtocolError: the peer says nothing for too long, or what it may not.
            AudioFormatError: its audio is none that is read.
        """
        while (message := await self._receive(wire, patience_s)) is not None:
            patience_s = self._settings.server.idle_timeout_s
            for step in dialect.read(message):
                match step:
                    case Begin():
                        return step
                    case Reply(message=reply):
                        await ws.send_in_time(wire, reply)
                    case _:
                        raise ProtocolError("the peer sends something before it has said what")
        return None

    async def _receive(self, wire: WyomingWire, patience_s: float) -> bytes | None:
        receiving = asyncio.create_task(wire.receive())
        stopping = asyncio.create_task(self._service.stopping.wait())
        try:
            done, _ = await asyncio.wait({receiving, stopping}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise ProtocolError(f"no event came for {patience_s:g} s: connect again when there is one")
            message = receiving.result() if receiving.done() else {}
        finally:
            await ws.cancel(receiving, stopping)
        return message.get("bytes")
