"""The servers that `medusa bench live` measures, each as a process of its own on a free loopback port."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from benchmarks.children import child, complaint
from benchmarks.errors import BenchmarkError

MEDUSA: Final = "medusa"
PLAIN: Final = "plain"
START_PATIENCE_S: Final = 300.0
"""A first start may fetch weights and compile an engine."""

_ADDRESS: Final = re.compile(r"ws://[^/\s]+")
_ASK_EVERY_S: Final = 0.2
_HTTP_PATIENCE_S: Final = 5.0
_READY: Final = 200


@dataclass(frozen=True, slots=True)
class ServerKind:
    """One kind of server."""

    module: str
    """That `python -m` runs; it prints where it listens and answers `/readyz`."""
    arguments: tuple[str, ...]


KINDS: Final[Mapping[str, ServerKind]] = MappingProxyType(
    {
        MEDUSA: ServerKind("models.console", ("serve", "--host", "127.0.0.1", "--port", "0")),
        PLAIN: ServerKind("benchmarks.plain_server", ("--port", "0")),
    }
)


@dataclass(frozen=True, slots=True)
class MeasuredServer:
    """A server that takes sessions."""

    url: str
    """Where clients connect, without a path."""
    process: asyncio.subprocess.Process
    stderr: Path

    @property
    def pid(self) -> int:
        """Of its process."""
        return self.process.pid

    @property
    def fault(self) -> str | None:
        """Why it is not there any more; None while it is."""
        code = self.process.returncode
        return None if code is None else f"the server ended with exit code {code}: {complaint(self.stderr)}"


def overrides(*, sessions: int, language: str | None) -> dict[str, str]:
    """What is set against the defaults, as environment variables: room, the language, and nothing beyond this machine.

    Args:
        sessions: that must find room.
        language: of the speech; None to detect it.
    """
    return {
        "MEDUSA_SERVER__MAX_SESSIONS": str(sessions),
        "MEDUSA_SERVER__TOKENS_FILE": "",
        "MEDUSA_SERVER__TLS_CERT": "",
        "MEDUSA_SERVER__TLS_KEY": "",
        "MEDUSA_MQTT__ENABLED": "false",
        "MEDUSA_ASR__LANGUAGE": language or "",
        "MEDUSA_LOGGING__LEVEL": "warning",
    }


@asynccontextmanager
async def measured_server(
    kind: ServerKind, folder: Path, environment: Mapping[str, str], *, config: Path | None = None
) -> AsyncIterator[MeasuredServer]:
    """A server for as long as the block runs; entered once it is ready.

    Args:
        kind: which.
        folder: an empty one that it works in, so that no config.toml is found there.
        environment: see `overrides`.
        config: its config.toml, by an absolute path; None for the defaults.

    Raises:
        BenchmarkError: it does not start.
    """
    stderr = folder / "server.log"
    arguments = (*kind.arguments, *(() if config is None else ("--config", str(config))))
    async with child(kind.module, *arguments, folder=folder, stderr=stderr, environment=environment) as process:
        try:
            async with asyncio.timeout(START_PATIENCE_S):
                url = await _address(process, stderr)
                while not await asyncio.to_thread(_ready, url):
                    if process.returncode is not None:
                        raise BenchmarkError(f"{kind.module} did not start: {complaint(stderr)}")
                    await asyncio.sleep(_ASK_EVERY_S)
        except TimeoutError:
            raise BenchmarkError(f"{kind.module} was not ready within {START_PATIENCE_S:g} s") from None
        yield MeasuredServer(url, process, stderr)


async def _address(process: asyncio.subprocess.Process, stderr: Path) -> str:
    if process.stdout is None:
        raise BenchmarkError("a server was started without an output")
    while line := (await process.stdout.readline()).decode():
        if found := _ADDRESS.search(line):
            return found[0]
    raise BenchmarkError(f"the server did not start: {complaint(stderr)}")


def _ready(url: str) -> bool:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=_HTTP_PATIENCE_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == _READY
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
