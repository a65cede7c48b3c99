"""A Mosquitto of one's own on a free loopback port, which forgets nothing when it is killed."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from benchmarks.children import complaint
from benchmarks.errors import BenchmarkError

_PROGRAM: Final = "mosquitto"
_OUT_OF_SIGHT: Final = ("/usr/sbin", "/usr/local/sbin")
"""Where Debian keeps it, which is not on users' search path."""
_START_PATIENCE_S: Final = 15.0
_STOP_PATIENCE_S: Final = 10.0
_ASK_EVERY_S: Final = 0.05


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def mosquitto() -> str:
    """The program's path.

    Raises:
        BenchmarkError: it is not installed.
    """
    found = shutil.which(_PROGRAM, path=os.pathsep.join((os.environ.get("PATH", ""), *_OUT_OF_SIGHT)))
    if found is None:
        raise BenchmarkError("mosquitto is not installed: apt-get install mosquitto, or brew install mosquitto")
    return found


class Broker:
    """Starts, stops and kills it. What it holds for subscribers that are away is saved at every change.

    Args:
        folder: its own, for what it saves.
        port: on loopback.

    Raises:
        BenchmarkError: Mosquitto is not installed.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.port: Final = port
        self._program = mosquitto()
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        self._process: asyncio.subprocess.Process | None = None
        self._config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\n"
            # Started as root it would become somebody who may not write here.
            f"user {pwd.getpwuid(os.geteuid()).pw_name}\n"
            f"persistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n"
            "max_queued_messages 0\nmax_inflight_messages 0\nlog_dest stderr\nlog_type error\n",
            encoding="utf-8",
        )

    async def start(self) -> None:
        """Starts it, and waits until it listens.

        Raises:
            BenchmarkError: it does not.
        """
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self._program, "-c", str(self._config), stdout=log, stderr=log, start_new_session=True
            )
        try:
            async with asyncio.timeout(_START_PATIENCE_S):
                while not await self._listens():
                    if self._process.returncode is not None:
                        raise BenchmarkError(f"mosquitto did not start: {complaint(self._log)}")
                    await asyncio.sleep(_ASK_EVERY_S)
        except TimeoutError:
            raise BenchmarkError(f"mosquitto did not listen within {_START_PATIENCE_S:g} s") from None

    async def stop(self, *, kill: bool = False) -> None:
        """Ends it, in order or not, and waits until it is gone."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            if kill:
                process.kill()
            else:
                process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_PATIENCE_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.transport.abort()
        return True
