"""A real Mosquitto on a free loopback port, and a way to it that tests may open and cut."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt

PATIENCE_S = 10.0


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """Starts and stops the broker."""

    def __init__(self, folder: Path, port: int, *, persistent: bool = False) -> None:
        self.port = port
        self._config = folder / "mosquitto.conf"
        # A broker that is started as root becomes somebody else, who may not write here.
        keep = f"persistence true\npersistence_location {folder}/\nuser {getpass.getuser()}\n"
        self._persistence = keep if persistent else "persistence false\n"
        self._process: asyncio.subprocess.Process | None = None

    @staticmethod
    def program() -> str:
        """Path of the `mosquitto` program, which Debian keeps out of users' search path."""
        found = shutil.which(
            "mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
        )
        if found is None:
            raise FileNotFoundError("mosquitto is not installed: run 'make test' or 'apt-get install mosquitto'")
        return found

    async def start(self) -> None:
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\n{self._persistence}log_dest stderr\n"
        )
        self._process = await asyncio.create_subprocess_exec(
            self.program(), "-c", str(self._config), stderr=asyncio.subprocess.PIPE
        )
        stderr = self._process.stderr
        if stderr is None:
            raise RuntimeError("mosquitto was started without a log")
        lines: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            while line := (await stderr.readline()).decode():
                lines.append(line)
                if " running" in line:
                    return
        raise RuntimeError("mosquitto did not start:\n" + "".join(lines))

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.communicate()
        self._process = None

    @contextlib.asynccontextmanager
    async def listening(self, topics: str) -> AsyncIterator[Heard]:
        """Everything published to `topics` from now on, and what is retained there."""
        async with aiomqtt.Client("127.0.0.1", self.port) as client:
            await client.subscribe(topics, qos=1)
            yield Heard(client)


class Heard:
    """Messages as they arrive."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client

    async def next(self) -> aiomqtt.Message:
        async with asyncio.timeout(PATIENCE_S):
            return await anext(aiter(self._client.messages))

    async def take(self, count: int) -> list[aiomqtt.Message]:
        return [await self.next() for _ in range(count)]


def payload(message: aiomqtt.Message) -> dict[str, Any]:
    """The JSON object a message holds."""
    if not isinstance(message.payload, bytes):
        raise TypeError(f"the payload of {message.topic} is no text")
    decoded: dict[str, Any] = json.loads(message.payload)
    return decoded


@contextlib.asynccontextmanager
async def running_broker(folder: Path, port: int | None = None, *, persistent: bool = False) -> AsyncIterator[Broker]:
    """A broker for as long as the block runs; a persistent one knows its subscribers again when it is started anew."""
    broker = Broker(folder, port or free_port(), persistent=persistent)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


class Way:
    """A TCP port that leads to a broker while it is open, so that a broker can seem away to one client alone."""

    def __init__(self, broker: Broker) -> None:
        self.port = free_port()
        self._broker = broker
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._broker.port)
        self._open |= {writer, there_writer}
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        self._open -= {writer, there_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
