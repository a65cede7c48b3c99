"""The server under chaos: killed, started again on its port, and asked all the time whether it still answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchmarkError
from benchmarks.live_server import MeasuredServer, ServerKind, measured_server

ASK_EVERY_S: Final = 0.25
_REQUEST: Final = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
_WELL: Final = b"HTTP/1.1 200"


class ChaosServer:
    """One server after another on one port.

    Args:
        kind: of server; its last argument is the port.
        port: on loopback.
        folder: an empty one, for logs.
        environment: see `overrides`.
        config: its config.toml, by an absolute path; None for the defaults.
    """

    def __init__(
        self, kind: ServerKind, port: int, folder: Path, environment: Mapping[str, str], config: Path | None
    ) -> None:
        self.port: Final = port
        self.lives = 0
        """Processes so far."""
        self.down_s = 0.0
        """Time without a server that is ready, once the first was."""
        self._kind = ServerKind(kind.module, (*kind.arguments[:-1], str(port)))
        self.folder: Final = folder
        self._environment = environment
        self._config = config
        self._stack = AsyncExitStack()
        self._running: MeasuredServer | None = None

    @property
    def running(self) -> MeasuredServer | None:
        """The process that is up and ready; None while there is none."""
        return self._running

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def fault(self) -> str | None:
        """Why it is gone although nobody killed it."""
        return None if self._running is None else self._running.fault

    async def start(self) -> None:
        """Starts it, and waits until it is ready.

        Raises:
            BenchmarkError: it does not get there.
        """
        self.lives += 1
        folder = self.folder / f"life-{self.lives}"
        folder.mkdir()
        self._stack = AsyncExitStack()
        self._running = await self._stack.enter_async_context(
            measured_server(self._kind, folder, self._environment, config=self._config)
        )

    async def kill_and_start(self) -> None:
        """SIGKILL, and another one in its place.

        Raises:
            BenchmarkError: it was gone before, or the next does not get ready.
        """
        running, self._running = self._running, None
        if running is None:
            raise BenchmarkError("there is no server to kill")
        if running.fault is not None:
            raise BenchmarkError(running.fault)
        began_s = time.monotonic()
        running.process.kill()
        await running.process.wait()
        await self._stack.aclose()
        await self.start()
        self.down_s += time.monotonic() - began_s

    async def stop(self) -> None:
        """Ends it in order, or not."""
        self._running = None
        await self._stack.aclose()


class HealthWatch:
    """Asks `/healthz` again and again, and keeps how long answers took.

    Args:
        server: that is asked while it is up.
        bound_s: an answer that takes longer is none.
    """

    def __init__(self, server: ChaosServer, bound_s: float) -> None:
        self._server = server
        self._bound_s = bound_s
        self.answers_s: Final[list[float]] = []
        """Of each answer."""
        self.unanswered = 0
        """Questions without an answer within the bound, to a server that was up all the while."""

    async def run(self) -> None:
        """Asks until cancelled."""
        while True:
            asked = self._server.running
            began_s = time.monotonic()
            if asked is not None:
                answered = await self._ask()
                took_s = time.monotonic() - began_s
                if answered:
                    self.answers_s.append(took_s)
                elif self._server.running is asked:
                    self.unanswered += 1
            await asyncio.sleep(max(0.0, ASK_EVERY_S - (time.monotonic() - began_s)))

    async def _ask(self) -> bool:
        writer = None
        try:
            async with asyncio.timeout(self._bound_s):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
                writer.write(_REQUEST)
                return (await reader.read(len(_WELL))).startswith(_WELL)
        except (OSError, TimeoutError):
            return False
        finally:
            if writer is not None:
                writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()
