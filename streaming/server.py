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
from streaming.listening import BACKLOG, listening_socket
from streaming.outbox.outbox import open_outbox
from streaming.outbox.topics import status_topic
from streaming.peers import open_peers
from streaming.protocols.connections import LINGER_S, ConnectionLimits, GuardedConfig, GuardedHttp, GuardedWebSocket
from streaming.protocols.http import SPOKEN_PATHS, create_app
from streaming.protocols.wyoming_server import WyomingServer
from streaming.service import LiveService
from streaming.sinks.base import Sink
from streaming.sinks.home_assistant import HomeAssistant
from streaming.sinks.home_postings import HomePostings
from streaming.sinks.mqtt import MqttSink

if TYPE_CHECKING:
    from streaming.recognition.recognizer import Recognizer

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that accepts connections."""

    host: str
    port: int
    """The real one, also where the settings asked for any free port."""
    tls: bool
    service: LiveService
    wyoming: tuple[str, int] | None = None
    """Where voice assistants connect, if anywhere: host and real port."""

    @property
    def url(self) -> str:
        """Where WebSocket clients connect, without a path."""
        return f"{'wss' if self.tls else 'ws'}://{_authority(self.host, self.port)}"

    @property
    def http_url(self) -> str:
        """Where health and metrics are."""
        return f"{'https' if self.tls else 'http'}://{_authority(self.host, self.port)}"

    @property
    def wyoming_url(self) -> str | None:
        """Where voice assistants connect, if anywhere."""
        return None if self.wyoming is None else f"tcp://{_authority(*self.wyoming)}"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
        ServerError: an address cannot be listened on, the certificate or the tokens file cannot be read, a file of
            tokens is needed and there is none, or the peers of `[wyoming]`, `[home_assistant]` is enabled without
            `[mqtt]`, or the MQTT outbox is another server's or cannot be written.
    """
    _check_home(settings)
    gate, peers = open_gate(settings.server), open_peers(settings.wyoming)
    with contextlib.ExitStack() as held:
        outbox = held.enter_context(open_outbox(settings.mqtt)) if settings.mqtt.enabled else None
        mqtt = [] if outbox is None else [MqttSink(settings.mqtt, outbox, home=_home(settings))]
        service = LiveService(settings, load, sinks=[*sinks, *mqtt], **service_options)
        if outbox is not None:
            service.metrics.watch_outbox(outbox)
        wyoming = WyomingServer(service, peers, elsewhere=lambda: len(server.server_state.connections))
        server = _Uvicorn(_configure(settings.server, create_app(service, gate), elsewhere=lambda: wyoming.connections))
        listener = held.enter_context(listening_socket(settings.server.host, settings.server.port, "server"))
        assistants = settings.wyoming
        ears = None
        if assistants.enabled:
            ears = held.enter_context(listening_socket(assistants.host, assistants.port, "wyoming"))
        host, port = listener.getsockname()[:2]
        service.start()
        serving = asyncio.create_task(server.serve([listener]))
        try:
            await _until_accepting(server, serving)
            if ears is not None:
                await wyoming.start(ears)
            yield RunningServer(
                host,
                port,
                bool(settings.server.tls_cert),
                service,
                None if ears is None else ears.getsockname()[:2],
            )
        finally:
            server.stop_accepting()
            wyoming.stop_accepting()
            await service.drain()
            server.should_exit = True
            await asyncio.gather(serving, wyoming.aclose())


def _check_home(settings: Settings) -> None:
    if settings.home_assistant.enabled and not settings.mqtt.enabled:
        raise ServerError(
            "Home Assistant is told through a broker: set [mqtt] enabled and host, or [home_assistant] enabled to false"
        )


def _home(settings: Settings) -> HomePostings:
    """Also where Home Assistant is told of nothing: what it was told before is taken back."""
    prefix = settings.mqtt.prefix
    return HomePostings(HomeAssistant(settings.home_assistant, prefix, status_topic(prefix)))


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
    lines = [
        f"dashboard: {server.http_url}/",
        f"audio in:  {server.url}/v1/listen",
        f"events:    {server.url}/v1/events?session=*",
        f"health:    {server.http_url}/healthz  {server.http_url}/readyz  {server.http_url}/metrics",
    ]
    if server.wyoming_url is not None:
        lines.append(f"wyoming:   {server.wyoming_url}")
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


def _configure(settings: ServerSettings, app: Starlette, *, elsewhere: Callable[[], int]) -> GuardedConfig:
    config = GuardedConfig(
        app,
        ConnectionLimits.of(settings, spoken=SPOKEN_PATHS, elsewhere=elsewhere),
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
                backlog=BACKLOG,
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
