"""Peers that send too slowly, too much or too often, on real sockets of a real server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from streaming.client import ListenClient
from streaming.errors import CapacityError
from streaming.protocols.connections import MAX_FRAMES, MAX_HEADERS, MAX_LINE_BYTES, MAX_TARGET_BYTES, GuardedWebSocket
from streaming.server import RunningServer
from tests.fakes.servers import PATIENCE_S, SPEECH, a_server, converse
from tests.fakes.shell import pcm, silence, speech

UTTERANCE = pcm(speech(0.6), silence(1.0))
IMPATIENT = {"handshake_timeout_s": 0.3}
RSV1 = 0x40
"""The bit by which a frame says that it is compressed (RFC 7692, section 6)."""
PING = b"\x89\x04"
"""How a ping of uvicorn's begins: its opcode, and the length of what it carries."""
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@contextlib.asynccontextmanager
async def plain(server: RunningServer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which a test writes what it likes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def everything(reader: asyncio.StreamReader) -> bytes:
    """What the server sends until it closes or cuts."""
    received = b""
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                received += data
    return received


async def answer(server: RunningServer, request: str) -> str:
    """The first line of what a request is answered with."""
    async with plain(server) as (reader, writer):
        writer.write(request.encode())
        async with asyncio.timeout(PATIENCE_S):
            return (await reader.readline()).decode().strip()


def listen(server: RunningServer, **options: object) -> connect:
    options = {"compression": None, **options}
    return connect(f"{server.url}/v1/listen", **options)  # type: ignore[arg-type]


async def how_closed(socket: ClientConnection) -> tuple[int | None, str]:
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code, socket.close_reason or ""


async def flood(socket: ClientConnection, *frames: Frame) -> None:
    """Frames as they are, whatever the client's library thinks of them."""
    data = b"".join(frame.serialize(mask=True) for frame in frames)
    socket.transport.write(data)


# --- too slow


@pytest.mark.parametrize(
    "beginning",
    ["", "GET /heal", "GET /v1/listen HTTP/1.1\r\n" + UPGRADE, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: b"],
    ids=["nothing", "half a line", "no end of a handshake", "no end of a request"],
)
async def test_a_request_that_is_never_finished_is_cut(beginning: str) -> None:
    async with a_server(**IMPATIENT) as server, plain(server) as (reader, writer):
        writer.write(beginning.encode())

        assert await everything(reader) == b""


async def test_sending_a_byte_now_and_then_does_not_help() -> None:
    async with a_server(**IMPATIENT) as server, plain(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        async with asyncio.timeout(PATIENCE_S):
            while not reader.at_eof() and reader.exception() is None:
                writer.write(b"x")
                with contextlib.suppress(TimeoutError, ConnectionError):
                    await asyncio.wait_for(reader.read(1), 0.02)

        assert server.service.ready


async def test_a_second_request_has_its_own_time_and_no_more() -> None:
    async with a_server(**IMPATIENT) as server, plain(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nX-Slow: ")

        assert (await everything(reader)).count(b"HTTP/1.1 200") == 1


async def test_a_body_that_never_ends_is_cut() -> None:
    async with a_server(**IMPATIENT) as server, plain(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx")

        assert (await everything(reader)).startswith(b"HTTP/1.1 200")


async def test_a_tls_handshake_that_is_never_finished_is_cut(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run(  # noqa: ASYNC221 - set-up
        [*command, "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE

    async with a_server(tls_cert=str(cert), tls_key=str(key), **IMPATIENT) as server:
        async with plain(server) as (reader, writer):
            writer.write(b"\x16\x03\x01")
            assert await everything(reader) == b""
        reader, writer = await asyncio.open_connection(server.host, server.port, ssl=anybody)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await everything(reader)).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_session_lives_longer_than_its_handshake_may_take() -> None:
    async with a_server(**IMPATIENT) as server, ListenClient(server.url, SPEECH) as client:
        async with plain(server) as (reader, _):
            await everything(reader)  # cut: so much time has passed
        await client.send(UTTERANCE)
        await client.finish()

        assert [event async for event in client][-1].type == "session.ended"


# --- too many


async def test_beyond_the_limit_connections_are_told_so_until_one_is_free() -> None:
    async with a_server(max_connections=4) as server, contextlib.AsyncExitStack() as opened:
        for _ in range(4):
            await opened.enter_async_context(ListenClient(server.url, SPEECH))
        refused = await answer(server, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(CapacityError, match="too many connections"):
            await converse(server, UTTERANCE)
        await opened.aclose()
        events = await converse(server, UTTERANCE)

    assert refused == "HTTP/1.1 503 Service Unavailable"
    assert events[-1].type == "session.ended"


# --- too large


@pytest.mark.parametrize("kind", ["", UPGRADE], ids=["http", "websocket"])
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/listen?token=" + "x" * MAX_TARGET_BYTES, "", 414),
        ("/v1/listen", f"X-Long: {'x' * MAX_LINE_BYTES}\r\n", 431),
        ("/v1/listen", "".join(f"X-{n}: y\r\n" for n in range(MAX_HEADERS)), 431),
        ("/v1/listen", "".join(f"X-{n}: {'y' * 1000}\r\n" for n in range(20)), 431),
        ("/v1/listen", f"X-Huge: {'x' * 1_000_000}\r\n", 431),
        ("/v1/listen", "no header\r\n", 400),
    ],
    ids=["query", "one header", "count", "all headers", "a megabyte", "nonsense"],
)
async def test_a_request_that_is_too_large_is_answered_and_not_read(
    kind: str, path: str, headers: str, status: int
) -> None:
    async with a_server() as server:
        first = await answer(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n{kind}{headers}\r\n")

    assert first.startswith(f"HTTP/1.1 {status} ")


async def test_the_largest_allowed_handshake_is_taken() -> None:
    padding = {f"X-{n}": "y" * 1400 for n in range(10)}
    async with a_server() as server:
        query = "roles=" + "r" * 64 + "&token=" + "t" * (MAX_TARGET_BYTES - 100)
        async with connect(f"{server.url}/v1/listen?{query}", additional_headers=padding) as socket:
            assert '"session.started"' in str(await socket.recv())


async def test_nonsense_behind_a_good_request_ends_the_connection() -> None:
    async with a_server() as server, plain(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n\x00\x01\x02 nonsense\r\n\r\n")
        received = await everything(reader)

    assert received.count(b"HTTP/1.1 200") == 1


# --- too often


async def test_controls_come_at_a_bounded_rate() -> None:
    async with a_server(max_controls_per_s=5) as server, listen(server) as socket:
        for _ in range(6):
            await socket.send('{"type": "keepalive"}')

        code, reason = await how_closed(socket)

    assert (code, reason) == (1008, "protocol: more than 5 text messages and pings in a second")


async def test_pings_come_at_a_bounded_rate() -> None:
    async with a_server(max_controls_per_s=5) as server, listen(server) as socket:
        await flood(socket, *[Frame(Opcode.PING, b"x" * 125)] * 50)

        assert (await how_closed(socket))[0] == 1008


async def test_a_message_comes_in_a_bounded_number_of_pieces() -> None:
    pieces = [Frame(Opcode.BINARY, b"", fin=False), *[Frame(Opcode.CONT, b"", fin=False)] * MAX_FRAMES]
    async with a_server() as server, listen(server, max_size=None) as socket:
        await flood(socket, *pieces)

        code, reason = await how_closed(socket)

    assert (code, reason) == (1008, f"protocol: a message comes in more than {MAX_FRAMES} pieces")


async def test_audio_in_small_messages_is_no_flood() -> None:
    async with a_server(max_controls_per_s=1) as server, ListenClient(server.url, SPEECH) as client:
        for start in range(0, len(UTTERANCE), 640):
            await client.send(UTTERANCE[start : start + 640])
        await client.finish()

        assert [event async for event in client][-1].type == "session.ended"


# --- compressed


async def test_compression_is_declined() -> None:
    async with a_server() as server, listen(server, compression="deflate") as socket:
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


@pytest.mark.parametrize("opcode", [Opcode.BINARY, Opcode.TEXT])
async def test_a_frame_that_claims_to_be_compressed_is_refused(opcode: Opcode) -> None:
    async with a_server() as server, listen(server) as socket:
        first, *rest = Frame(opcode, b"\xaa\x00").serialize(mask=True)
        socket.transport.write(bytes([first | RSV1, *rest]))
        code, _ = await how_closed(socket)
        events = await converse(server, UTTERANCE)

    assert code == 1002
    assert events[-1].type == "session.ended"


async def test_a_peer_that_sends_audio_is_alive_though_it_answers_no_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ping_interval", "ping_timeout"):
        soon = property(lambda _self: 0.05, lambda _self, _value: None)
        monkeypatch.setattr(GuardedWebSocket, name, soon, raising=False)
    audio = Frame(Opcode.BINARY, pcm(silence(0.02))).serialize(mask=True, extensions=[])
    answered = 0
    async with a_server() as server, plain(server) as (reader, writer):
        writer.write(f"GET /v1/listen HTTP/1.1\r\nHost: {server.host}\r\n{UPGRADE}\r\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            while data := await reader.read(65_536):
                if PING in data and answered < 4:
                    answered += 1
                    writer.write(audio)

    assert answered == 4
