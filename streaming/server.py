"""The server as a process: its socket, its certificate, its signals, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from starlette.applications import Starlette

from streaming.auth import open_gate
from streaming.config import ServerSettings, Settings
from streaming.errors import ServerError
from streaming.outbox.outbox import open_outbox
from streaming.protocols.connections import LINGER_S, ConnectionLimits, GuardedConfig, GuardedHttp, GuardedWebSocket
from streaming.protocols.http import SPOKEN_PATHS, create_app
from streaming.service import LiveService
from streaming.sinks.base import Sink
from streaming.sinks.mqtt import MqttSink

if TYPE_CHECKING:
    from streaming.recognition.recognizer import Recognizer

_LOG: Final = logging.getLogger(__name__)
_BACKLOG: Final = 128
_RECEIVE_BUFFER_BYTES: Final = 262_144
"""Audio of one client that the system holds for us: eight seconds of 16 kHz. What is more waits at the client."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that accepts connections."""

    host: str
    port: int
    """The real one, also where the settings asked for any free port."""
    tls: bool
    service: LiveService

    @property
    def url(self) -> str:
        """Where WebSocket clients connect, without a path."""
        return f"{'wss' if self.tls else 'ws'}://{self._authority}"

    @property
    def http_url(self) -> str:
        """Where health and metrics are."""
        return f"{'https' if self.tls else 'http'}://{self._authority}"

    @property
    def _authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@asynccontextmanager
async def running_server(
    settings: Settings, load: Callable[[], Recognizer], *, sinks: Sequence[Sink] = (), **service_options: Any
) -> AsyncIterator[RunningServer]:
    """A server for as long as the block runs; leaving the block stops it in order.

    It accepts connections from the start, and sessions once `service.warm()` returns. In the end it stops accepting,
    finishes what is in flight, and tells every client.

    Args:
        settings: all of them.
        load: makes the recogniser, on a worker thread.
        sinks: take all events; the MQTT sink is added where the settings enable it.
        **service_options: for `LiveService`.

    Raises:
        ServerError: the address cannot be listened on, the certificate or the tokens file cannot be read, a file of
            tokens is needed and there is none, or the MQTT outbox is another server's or cannot be written.
    """
    gate = open_gate(settings.server)
    with contextlib.ExitStack() as held:
        outbox = held.enter_context(open_outbox(settings.mqtt)) if settings.mqtt.enabled else None
        mqtt = [] if outbox is None else [MqttSink(settings.mqtt, outbox)]
        service = LiveService(settings, load, sinks=[*sinks, *mqtt], **service_options)
        if outbox is not None:
            service.metrics.watch_outbox(outbox)
        server = _Uvicorn(_configure(settings.server, create_app(service, gate)))
        listener = held.enter_context(_listening_socket(settings.server))
        host, port = listener.getsockname()[:2]
        service.start()
        serving = asyncio.create_task(server.serve([listener]))
        try:
            await _until_accepting(server, serving)
            yield RunningServer(host, port, bool(settings.server.tls_cert), service)
        finally:
            server.stop_accepting()
            await service.drain()
            server.should_exit = True
            await serving


async def _until_accepting(server: _Uvicorn, serving: asyncio.Task[None]) -> None:
    accepting = asyncio.create_task(server.accepting.wait())
    await asyncio.wait({accepting, serving}, return_when=asyncio.FIRST_COMPLETED)
    accepting.cancel()
    if serving.done():
        serving.result()
        raise ServerError("the server stopped before it began to listen: see the log")


async def serve(
    settings: Settings,
    load: Callable[[], Recognizer] | None = None,
    *,
    sinks: Sequence[Sink] = (),
    on_listening: Callable[[RunningServer], None] | None = None,
    on_ready: Callable[[RunningServer], None] = lambda _server: None,
) -> None:
    """Runs the server until SIGINT or SIGTERM, then stops it in order and returns. Belongs to the main thread.

    Args:
        settings: all of them.
        load: makes the recogniser; None for the real one.
        sinks: take all events, beside MQTT where the settings enable it.
        on_listening: called when connections are accepted; by default the addresses are printed.
        on_ready: called when sessions are taken.

    Raises:
        ServerError: see `running_server`.
        StreamingError: the recogniser cannot be loaded; so does whatever else `load` raises.
    """
    with _stop_signals() as stopped:
        async with running_server(settings, load or _real_recognizer(settings), sinks=sinks) as server:
            (on_listening or print_addresses)(server)
            warming = asyncio.create_task(server.service.warm())
            stopping = asyncio.create_task(stopped.wait())
            try:
                await asyncio.wait({warming, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not stopping.done():
                    warming.result()
                    on_ready(server)
                    await stopping
            finally:
                for task in (warming, stopping):
                    task.cancel()
                await asyncio.gather(warming, stopping, return_exceptions=True)
            _LOG.info("stopping: open sessions have %g s to finish", settings.server.shutdown_grace_s)


def print_addresses(server: RunningServer) -> None:
    """Says on standard output where clients connect."""
    lines = (
        f"dashboard: {server.http_url}/",
        f"audio in:  {server.url}/v1/listen",
        f"events:    {server.url}/v1/events?session=*",
        f"health:    {server.http_url}/healthz  {server.http_url}/readyz  {server.http_url}/metrics",
    )
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _real_recognizer(settings: Settings) -> Callable[[], Recognizer]:
    def load() -> Recognizer:
        from streaming.recognition.recognizer import load_recognizer

        return load_recognizer(settings)

    return load


@contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@contextmanager
def _listening_socket(settings: ServerSettings) -> Iterator[socket.socket]:
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ServerError(f"[server] host {settings.host!r} is no address of this machine: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    with contextlib.closing(listener):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except PermissionError:
            raise ServerError(f"not allowed to listen on {where}: choose a [server] port above 1023") from None
        except OSError as error:
            raise ServerError(
                f"cannot listen on {where}: {error.strerror}; stop the other program or set another [server] port"
            ) from None
        listener.setblocking(False)
        yield listener


def _configure(settings: ServerSettings, app: Starlette) -> GuardedConfig:
    config = GuardedConfig(
        app,
        ConnectionLimits.of(settings, spoken=SPOKEN_PATHS),
        http=GuardedHttp,
        ws=GuardedWebSocket,
        ws_max_size=settings.max_message_bytes,
        ws_per_message_deflate=False,
        lifespan="off",
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        # Requests may carry ?token=, messages carry what people say: uvicorn logs neither below warnings.
        access_log=False,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=int(LINGER_S),
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ServerError(
            f"cannot use the certificate {settings.tls_cert} with the key {settings.tls_key}: {error}; "
            "check [server] tls_cert and tls_key"
        ) from None
    return config


class _Uvicorn(uvicorn.Server):
    """uvicorn, less its own way with signals (a stop asked for exits with 0), with a limit on TLS handshakes."""

    def __init__(self, config: GuardedConfig) -> None:
        super().__init__(config)
        self.servers = []
        self.accepting = asyncio.Event()
        self._guarded = config

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        config = self._guarded
        loop = asyncio.get_running_loop()
        for listener in sockets or []:
            server = await loop.create_server(
                lambda: GuardedHttp(config, self.server_state, {}),
                sock=listener,
                backlog=_BACKLOG,
                ssl=config.ssl,
                ssl_handshake_timeout=config.limits.handshake_s if config.ssl else None,
            )
            self.servers.append(server)
        self.started = True
        self.accepting.set()

    def stop_accepting(self) -> None:
        """Refuses new connections; open ones stay."""
        for server in self.servers:
            server.close()
