"""Processes that a benchmark starts: the same code as its own, and gone when it is done with them, whatever happens."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

STOP_PATIENCE_S: Final = 15.0
"""What a child may take to end in order before it is killed."""

_ROOT: Final = Path(__file__).parents[1]


@asynccontextmanager
async def child(
    module: str, *arguments: str, folder: Path, stderr: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process for as long as the block runs, with pipes to its stdin and stdout.

    It is in a session of its own, so that Ctrl-C reaches it through us alone; at the end of the block it is asked to
    stop, then killed, and waited for.

    Args:
        module: what `python -m` runs.
        *arguments: of its command line.
        folder: that it works in.
        stderr: the file that it complains to.
        environment: beside our own.
    """
    path = os.pathsep.join(part for part in (str(_ROOT), os.environ.get("PYTHONPATH")) if part)
    with stderr.open("wb") as complaints:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
            cwd=folder,
            env={**os.environ, **(environment or {}), "PYTHONPATH": path},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await asyncio.shield(asyncio.ensure_future(stop(process)))


async def stop(process: asyncio.subprocess.Process, patience_s: float = STOP_PATIENCE_S) -> None:
    """Asks a process to stop, kills it where it does not, and waits until it is gone."""
    if process.stdin is not None:
        process.stdin.close()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(_gone(process), patience_s)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
    await _gone(process)


async def _gone(process: asyncio.subprocess.Process) -> None:
    """Waits for the end; what the process still writes is read, so that it does not wait for us."""
    if process.stdout is not None:
        while await process.stdout.read(1 << 16):
            pass
    await process.wait()


def complaint(stderr: Path) -> str:
    """The last thing that a child said on its stderr, for an error message."""
    lines = [line.strip() for line in stderr.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it said nothing")
