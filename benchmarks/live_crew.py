"""The clients of one measurement: so many processes of them, started together, their records gathered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.children import child, complaint
from benchmarks.errors import BenchmarkError
from benchmarks.live_clients import GO, READY
from benchmarks.live_lines import NATIVE
from benchmarks.live_records import ClientsJob, StreamRecord, read_records
from streaming.client import CHUNK_S

START_PATIENCE_S: Final = 120.0
"""What clients may take to be there; they share the machine with others."""


@dataclass(frozen=True, slots=True)
class _Member:
    process: asyncio.subprocess.Process
    job: ClientsJob
    stderr: Path


class Crew:
    """Clients that are there and wait for the word."""

    def __init__(self, members: Sequence[_Member]) -> None:
        self._members = members

    @property
    def processes(self) -> int:
        """How many processes they are in."""
        return len(self._members)

    async def run(self) -> tuple[list[StreamRecord], float]:
        """Lets all of them begin, and waits until they are done.

        Returns:
            A record for each stream, in their order, and the processor time that all clients took.

        Raises:
            BenchmarkError: a process of clients broke.
        """
        for member in self._members:
            if member.process.stdin is not None:
                member.process.stdin.write(f"{GO}\n".encode())
        await asyncio.gather(*(member.process.wait() for member in self._members))
        records: list[StreamRecord] = []
        cpu_s = 0.0
        for member in self._members:
            try:
                own, taken_s = read_records(Path(member.job.out))
            except (OSError, ValueError) as error:
                raise BenchmarkError(f"the clients broke: {complaint(member.stderr)}") from error
            records += own
            cpu_s += taken_s
        return sorted(records, key=lambda record: record.stream), cpu_s


@asynccontextmanager
async def crew(
    url: str,
    audio: Sequence[Path],
    folder: Path,
    *,
    language: str | None,
    patience_s: float,
    streams_a_process: int,
    begins_s: Sequence[float] | None = None,
    protocol: str = NATIVE,
    telephone: bool = False,
) -> AsyncIterator[Crew]:
    """Clients for as long as the block runs.

    Args:
        url: of the server.
        audio: one file for each client.
        folder: for what passes between the processes.
        language: of the speech.
        patience_s: how long finals may take after the last audio.
        streams_a_process: clients in one process, at most.
        begins_s: when each client begins, after the word; by default all together, though not in step.
        protocol: that they speak.
        telephone: whether audio is sent as mu-law at 8 kHz, as it always is by protocols of telephony.

    Raises:
        BenchmarkError: they do not start.
    """
    begins_s = begins_s or [number / len(audio) * CHUNK_S for number in range(len(audio))]
    numbered = [
        (number, str(path), begin_s) for number, (path, begin_s) in enumerate(zip(audio, begins_s, strict=True))
    ]
    async with AsyncExitStack() as stack:
        members = []
        for start in range(0, len(numbered), streams_a_process):
            own = tuple(numbered[start : start + streams_a_process])
            out = str(folder / f"records-{start}")
            job = ClientsJob(url, language, CHUNK_S, patience_s, own, out, protocol, telephone or protocol != NATIVE)
            written, stderr = folder / f"job-{start}", folder / f"clients-{start}.log"
            written.write_text(job.to_json(), encoding="utf-8")
            process = await stack.enter_async_context(
                child("benchmarks.live_clients", str(written), folder=folder, stderr=stderr)
            )
            members.append(_Member(process, job, stderr))
        await asyncio.gather(*(_there(member) for member in members))
        yield Crew(members)


async def _there(member: _Member) -> None:
    if member.process.stdout is None:
        raise BenchmarkError("clients were started without an output")
    try:
        line = await asyncio.wait_for(member.process.stdout.readline(), START_PATIENCE_S)
    except TimeoutError:
        raise BenchmarkError(f"clients did not start within {START_PATIENCE_S:g} s") from None
    if line.decode().strip() != READY:
        raise BenchmarkError(f"clients did not start: {complaint(member.stderr)}")
