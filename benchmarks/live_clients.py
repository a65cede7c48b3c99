"""A process of clients for `medusa bench live`: `python -m benchmarks.live_clients JOB`.

It says `ready` on stdout, begins when a line comes on stdin, and ends early when stdin ends: clients do not outlive who
started them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.live_lines import SPEECH, audio_of, line_of
from benchmarks.live_records import ClientsJob, StreamRecord, write_records
from streaming.audio.sources import AudioFormat
from streaming.errors import StreamingError
from streaming.events import Event

READY: Final = "ready"
GO: Final = "go"


async def send_in_time(
    send: Callable[[bytes], Awaitable[None]],
    data: bytes,
    *,
    audio: AudioFormat = SPEECH,
    chunk_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    late_ms: list[float],
) -> None:
    """Sends audio at the pace of speech, each message when its last sample would have been spoken.

    Args:
        send: takes a message.
        data: mono audio.
        audio: its format.
        chunk_s: audio in one message.
        clock: seconds since the first sample.
        sleep: waits.
        late_ms: is given how late each message was, before it is sent.
    """
    size = round(chunk_s * audio.rate_hz) * audio.encoding.sample_bytes
    for start in range(0, len(data), size):
        message = data[start : start + size]
        due_s = (start + len(message)) / audio.bytes_per_s
        await sleep(max(0.0, due_s - clock()))
        late_ms.append(max(0.0, clock() - due_s) * 1000)
        await send(message)


async def run_client(job: ClientsJob, stream: int, file: Path, delay_s: float) -> StreamRecord:
    """One client's session, from its first sample to `session.ended`; what goes wrong is in the record."""
    received: list[tuple[float, Event]] = []
    late_ms: list[float] = []
    error = None
    await asyncio.sleep(delay_s)
    data, audio = audio_of(job, await asyncio.to_thread(file.read_bytes))
    try:
        async with line_of(job) as line:
            began_s = time.monotonic()

            def clock() -> float:
                return time.monotonic() - began_s

            def note(event: Event) -> None:
                received.append((clock(), event))

            async def send_all() -> None:
                await send_in_time(line.send, data, audio=audio, chunk_s=line.chunk_s, clock=clock, late_ms=late_ms)
                await line.finish()

            sending = asyncio.create_task(send_all())
            try:
                async with asyncio.timeout(len(data) / audio.bytes_per_s + job.patience_s):
                    async for event in line:
                        note(event)
                    await sending
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
    except StreamingError as failure:
        error = f"{failure.code}: {failure}"
    except TimeoutError:
        error = f"the session had not ended {job.patience_s:g} s after its last audio"
    return StreamRecord(stream, tuple(received), tuple(late_ms), error)


async def run_clients(job: ClientsJob) -> tuple[list[StreamRecord], float]:
    """All clients of a process at a time; their records, and the processor time they took."""
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    if not await stdin.readline():
        return [], 0.0
    before_s = time.process_time()
    clients = [
        asyncio.create_task(run_client(job, stream, Path(file), delay_s)) for stream, file, delay_s in job.streams
    ]
    left_alone = asyncio.create_task(_end_when_left(stdin, clients))
    records = await asyncio.gather(*clients)
    left_alone.cancel()
    return records, time.process_time() - before_s


async def _end_when_left(stdin: asyncio.StreamReader, clients: Sequence[asyncio.Task[StreamRecord]]) -> None:
    await stdin.read()
    for client in clients:
        client.cancel()


def main() -> None:
    """Runs the job whose file the command line names."""
    job = ClientsJob.from_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    records, cpu_s = asyncio.run(run_clients(job))
    write_records(Path(job.out), records, cpu_s)


if __name__ == "__main__":
    main()
