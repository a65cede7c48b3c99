"""Clients that behave, in the middle of chaos: `python -m benchmarks.chaos_calls JOB`.

Each line makes one call after another at the pace of speech, and comes back whenever it is thrown out. The process
says `ready` on stdout and begins when a line comes on stdin; after another line nobody calls again, and it ends once
the last call does, or early when stdin ends.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.chaos_records import CallRecord, FinalAt, write_calls
from benchmarks.job import Job
from benchmarks.live_clients import READY
from benchmarks.live_lines import SPEECH
from streaming.client import CHUNK_S, ListenClient
from streaming.errors import CapacityError, ConnectionFailedError, StreamingError
from streaming.events import EmotionEvent

_AGAIN_S: Final = 0.5
"""Before a call that was not taken is tried again."""
_BREATH_BOUNDS_S: Final = (0.2, 1.0)
"""Between two calls."""


@dataclass(frozen=True, slots=True)
class CallsJob(Job):
    """What one process of well-behaved clients is to do; travels as JSON."""

    url: str
    language: str | None
    lines: int
    recordings: tuple[str, ...]
    """Files of mono PCM16 at 16 kHz, without a header."""
    patience_s: float
    """How long a client tries to come back, and how long finals may take after the last audio."""
    seed: int
    out: str


class _Call:
    """One call as it goes."""

    def __init__(self, job: CallsJob, line: int, recording: int, data: bytes) -> None:
        self._job = job
        self._line = line
        self._recording = recording
        self._data = data
        self._sent_bytes = 0
        self._sessions: dict[str, float] = {}
        self._finals: list[FinalAt] = []

    async def run(self) -> CallRecord:
        error = None
        audio_s = len(self._data) / SPEECH.bytes_per_s
        try:
            async with asyncio.timeout(audio_s + 2 * self._job.patience_s):
                await self._until_taken()
        except StreamingError as failure:
            error = f"{failure.code}: {failure}"
        except TimeoutError:
            error = f"the call had not ended {2 * self._job.patience_s:g} s after its time"
        return CallRecord(
            line=self._line,
            recording=self._recording,
            sent_s=round(self._sent_bytes / SPEECH.bytes_per_s, 3),
            sessions=tuple(self._sessions.items()),
            finals=tuple(self._finals),
            error=error,
        )

    async def _until_taken(self) -> None:
        """Calls until the server takes the call; what happens to it then is the client's to mend."""
        while True:
            taken = False
            try:
                async with ListenClient(
                    self._job.url, SPEECH, language=self._job.language, reconnect_s=self._job.patience_s
                ) as client:
                    taken = True
                    await self._speak(client)
            except (CapacityError, ConnectionFailedError):
                if taken:
                    raise
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    async def _speak(self, client: ListenClient) -> None:
        sending = asyncio.create_task(self._send(client))
        try:
            async for event in client:
                self._sessions.setdefault(event.session, client.offset_s)
                if isinstance(event, EmotionEvent) and event.final:
                    final = FinalAt(event.session, event.seq, event.channel, event.segment, event.start_s, event.end_s)
                    self._finals.append(final)
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, client: ListenClient) -> None:
        size = round(CHUNK_S * SPEECH.rate_hz) * SPEECH.encoding.sample_bytes
        began_s = time.monotonic()
        for start in range(0, len(self._data), size):
            piece = self._data[start : start + size]
            due_s = began_s + (start + len(piece)) / SPEECH.bytes_per_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            await client.send(piece)
            self._sent_bytes += len(piece)
        await client.finish()


async def run_line(
    job: CallsJob, line: int, audio: Sequence[bytes], records: list[CallRecord], enough: asyncio.Event
) -> None:
    """One call after another, until it is enough."""
    rng = np.random.default_rng([job.seed, line])
    while not enough.is_set():
        recording = int(rng.integers(len(audio)))
        records.append(await _Call(job, line, recording, audio[recording]).run())
        await asyncio.sleep(float(rng.uniform(*_BREATH_BOUNDS_S)))


async def run_calls(job: CallsJob) -> list[CallRecord]:
    """All lines of a process, from a line on stdin on."""
    audio = [await asyncio.to_thread(Path(path).read_bytes) for path in job.recordings]
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    records: list[CallRecord] = []
    if not await stdin.readline():
        return records
    enough = asyncio.Event()
    calling = asyncio.create_task(_all_lines(job, audio, records, enough))
    left_alone = asyncio.create_task(_end(stdin, enough))
    await asyncio.wait({calling, left_alone}, return_when=asyncio.FIRST_COMPLETED)
    if calling.done():
        calling.result()
    for task in (calling, left_alone):
        task.cancel()
    await asyncio.gather(calling, left_alone, return_exceptions=True)
    return records


async def _all_lines(job: CallsJob, audio: Sequence[bytes], records: list[CallRecord], enough: asyncio.Event) -> None:
    await asyncio.gather(*(run_line(job, line, audio, records, enough) for line in range(job.lines)))


async def _end(stdin: asyncio.StreamReader, enough: asyncio.Event) -> None:
    if await stdin.readline():
        enough.set()
        await stdin.read()


def main() -> None:
    """Runs the job whose file the command line names."""
    job = CallsJob.from_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    write_calls(Path(job.out), asyncio.run(run_calls(job)))


if __name__ == "__main__":
    main()
