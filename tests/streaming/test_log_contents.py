"""Logs at their most talkative, over all that can go well and wrong, hold no word that was said and no token."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from models.logs import JsonLines
from streaming.client import EventsClient, ListenClient
from streaming.errors import StreamingError
from streaming.hub import EventHub
from streaming.recognition.request import RecognitionRequest, RecognitionResult
from streaming.server import RunningServer
from streaming.sinks.jsonl import JsonLinesSink
from tests.fakes.broker import running_broker
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.servers import PATIENCE_S, SPEECH, a_server, all_events, converse
from tests.fakes.shell import pcm, silence, speech
from tests.fakes.tokens import write_tokens

WORDS = ("zanzibar", "xylophone", "quetzalcoatl")
SAID = " ".join(WORDS)
MISTAKEN = "incorrect-horse-battery"
UTTERANCE = pcm(speech(0.6), silence(1.0))
SOFT_UTTERANCE = pcm(speech(0.6, 0.3), silence(1.0))


class QuotingRecognizer(FakeRecognizer):
    """Knows one sentence, and chokes on soft speech with an error that repeats it."""

    def __init__(self) -> None:
        super().__init__(lambda _request: SAID)

    def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
        if any(request.samples.max() < 0.4 for request in batch):
            raise RuntimeError(f"cannot align {SAID!r}")
        return super().recognize(batch)


class QuotingSink:
    """Fails at the first transcript, with an error that repeats it."""

    def __init__(self) -> None:
        self._hub: EventHub | None = None

    def attach(self, hub: EventHub) -> None:
        self._hub = hub

    async def run(self) -> None:
        if self._hub is None:
            raise RuntimeError("not attached")
        with self._hub.subscribe() as events:
            async for event in events:
                if SAID in event.to_json():
                    raise ValueError(event.to_json())


class FullDisk(io.StringIO):
    """A file that takes nothing more."""

    def write(self, text: str, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", text)


class Everything(logging.Handler):
    """Every record of every logger as a line for machines."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonLines())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What is logged by anything in this process, but for the client's own library."""
    everything, root = Everything(), logging.getLogger()
    before, client = root.level, logging.getLogger("websockets.client")
    root.addHandler(everything)
    root.setLevel(logging.DEBUG)
    client.setLevel(logging.WARNING)
    for name in ("httpcore", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    yield everything.lines
    root.removeHandler(everything)
    root.setLevel(before)
    for name in ("websockets.client", "httpcore", "httpx"):
        logging.getLogger(name).setLevel(logging.NOTSET)


async def misbehave(server: RunningServer, token: str) -> None:
    """Says words and tokens where they do not belong."""
    messages: tuple[str | bytes, ...] = (
        SAID,
        f'{{"type": "{SAID}"}}',
        f'{{"type": "flush", "{token}": 1}}',
        SAID * 1000,
        SAID.encode() * 1000,
    )
    for message in messages:
        with contextlib.suppress(ConnectionClosed):
            async with connect(f"{server.url}/v1/listen?token={token}", compression=None) as socket:
                await socket.send(message)
                async with asyncio.timeout(PATIENCE_S):
                    while True:
                        await socket.recv()
    for query in (f"roles={SAID.replace(' ', '/')}&token={token}", f"token={MISTAKEN}", f"{token}={SAID[:8]}"):
        with contextlib.suppress(ConnectionClosed):
            async with connect(f"{server.url}/v1/listen?{query}", compression=None) as socket:
                while True:
                    await socket.recv()
    for shown in (token, MISTAKEN):
        offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{shown}")]
        await leave(connect(f"{server.url}/v1/realtime", subprotocols=offered, compression=None))
        key = {"X-Hume-Api-Key": shown}
        path = "/v1/expression/audio/realtime"
        await leave(connect(f"{server.url}{path}", additional_headers=key, compression=None))
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(f"GET /metrics?token={token} HTTP/1.1\r\n{SAID}\r\n\r\n".encode())
    await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    async with httpx.AsyncClient() as client:
        await client.get(f"{server.http_url}/metrics?token={token}")
        await client.get(f"{server.http_url}/{token}/{WORDS[0]}", headers={"Authorization": f"Bearer {MISTAKEN}"})


async def leave(connecting: connect) -> None:
    """Says something wrong, where it is let in, and goes."""
    with contextlib.suppress(ConnectionClosed, InvalidStatus):
        async with connecting as socket:
            await socket.recv()
            await socket.send(f'{{"type": "{SAID}"}}')
            await socket.recv()


async def test_a_whole_run_with_all_its_errors_logs_neither_words_nor_tokens(tmp_path: Path, logged: list[str]) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    token = tokens["every scope"]
    async with (
        running_broker(tmp_path) as broker,
        a_server(
            QuotingRecognizer(),
            sinks=[QuotingSink(), JsonLinesSink(FullDisk(), "a full disk")],
            mqtt={"enabled": True, "port": broker.port},
            tokens_file=str(tmp_path / "tokens"),
            max_message_bytes=2048,
        ) as server,
    ):
        spoken = await converse(server, UTTERANCE, token=token)
        await converse(server, SOFT_UTTERANCE, token=token)
        async with EventsClient(server.url, session=spoken[0].session, after=0, token=token) as watcher:
            replayed = await all_events(watcher)
        async with ListenClient(server.url, SPEECH, token=token) as vanishing:
            await vanishing.send(UTTERANCE)
        with contextlib.suppress(StreamingError):
            await converse(server, UTTERANCE, token=MISTAKEN)
        await misbehave(server, token)

    log = "\n".join(logged)
    assert SAID in "".join(event.to_json() for event in replayed)
    for trouble in (
        "QuotingSink stopped by a fault: ValueError",
        "a full disk",
        "failed: RuntimeError at",
        "Invalid HTTP",
    ):
        assert trouble in log
    assert not [said for said in (*WORDS, *tokens.values(), MISTAKEN) if said in log]
