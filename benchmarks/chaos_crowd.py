"""The processes of clients in chaos: started together, let loose together, and called off where they do not end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from benchmarks.children import child, complaint
from benchmarks.errors import BenchmarkError
from benchmarks.live_clients import GO, READY

_START_PATIENCE_S: Final = 120.0
_CALL_OFF_S: Final = 15.0
"""What clients may take to write down what they saw."""


@asynccontextmanager
async def started(module: str, job: str, name: str, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of clients for as long as the block runs; it waits for the word.

    Args:
        module: that `python -m` runs.
        job: as it reads it.
        name: of its files.
        folder: for them.

    Raises:
        BenchmarkError: it does not start.
    """
    file, log = folder / name, folder / f"{name}.log"
    file.write_text(job, encoding="utf-8")
    async with child(module, str(file), folder=folder, stderr=log) as process:
        if process.stdout is None:
            raise BenchmarkError("clients were started without an output")
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _START_PATIENCE_S)
        except TimeoutError:
            raise BenchmarkError(f"{name} did not start within {_START_PATIENCE_S:g} s") from None
        if line.decode().strip() != READY:
            raise BenchmarkError(f"{name} did not start: {complaint(log)}")
        yield process


def give_the_word(*processes: asyncio.subprocess.Process) -> None:
    """Lets clients loose; those that know of a second word stop at it."""
    for process in processes:
        if process.stdin is not None:
            process.stdin.write(f"{GO}\n".encode())


async def call_off(processes: Sequence[asyncio.subprocess.Process]) -> None:
    """Has clients end now, and write down what they saw."""
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(_CALL_OFF_S):
            await asyncio.gather(*(process.wait() for process in processes))
