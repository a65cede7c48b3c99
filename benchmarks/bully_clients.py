"""Clients that take more than their share: `python -m benchmarks.bully_clients JOB`.

One sends audio many times faster than it is spoken, one subscribes to all events and reads none, one speaks and reads
none. The process says `ready` on stdout, begins when a line comes on stdin, ends when stdin does, and writes what it
did.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from benchmarks.job import Job
from benchmarks.live_clients import READY
from benchmarks.live_lines import SPEECH
from benchmarks.raw_websocket import EVENTS, LISTEN, Opcode, connected, frame, upgrade

CHUNK_S: Final = 0.1
SPEED: Final = 100.0
"""Of the fast sender, in times real time, where the server takes it."""
_STALLED_S: Final = 10.0
"""A stalled peer holds its connection for so long, whether or not the server has given it up, then comes back."""
_PAUSE_S: Final = 0.5
"""Before a bully that was thrown out comes back."""
_READ_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class BulliesJob(Job):
    """What one process of bullies is to do; travels as JSON."""

    url: str
    audio: str
    """File of what they say: mono PCM16 at 16 kHz, without a header."""
    out: str
    speed: float = SPEED
    senders: int = 1
    subscribers: int = 1
    speakers: int = 0


@dataclass(slots=True)
class Tally:
    """What bullies did."""

    counts: Counter[str] = field(default_factory=Counter)
    """Connections by kind, those that were refused or broken, and bytes of audio that went out."""
    seconds: float = 0.0

    def to_json(self) -> str:
        """As it is written."""
        sent_s = self.counts["sent_bytes"] / SPEECH.bytes_per_s
        speed = sent_s / self.seconds if self.seconds else 0.0
        shown = {name: count for name, count in sorted(self.counts.items()) if name != "sent_bytes"}
        return json.dumps({**shown, "audio_s": round(sent_s, 1), "times_real_time": round(speed, 1)})


async def fast_sender(url: str, data: bytes, speed: float, tally: Tally) -> None:
    """Sends audio `speed` times faster than it is spoken, as far as the socket takes it, until it is thrown out."""
    async with connected(url) as (reader, writer):
        if not await upgrade(reader, writer, url, LISTEN):
            tally.counts["refused"] += 1
            return
        tally.counts["fast_senders"] += 1
        reading = asyncio.create_task(_read_all(reader))
        size = round(CHUNK_S * SPEECH.bytes_per_s)
        began_s = time.monotonic()
        try:
            for number, start in enumerate(cycle(range(0, len(data) - size + 1, size))):
                if reading.done():
                    return
                await asyncio.sleep(max(0.0, began_s + number * CHUNK_S / speed - time.monotonic()))
                writer.write(frame(Opcode.BINARY, data[start : start + size]))
                await writer.drain()
                tally.counts["sent_bytes"] += size
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def stalled_subscriber(url: str, tally: Tally) -> None:
    """Subscribes to everything and reads nothing."""
    async with connected(url, deaf=True) as (reader, writer):
        if not await upgrade(reader, writer, url, f"{EVENTS}?session=*"):
            tally.counts["refused"] += 1
            return
        tally.counts["stalled_subscribers"] += 1
        await asyncio.sleep(_STALLED_S)


async def stalled_speaker(url: str, data: bytes, tally: Tally) -> None:
    """Speaks at the pace of speech and reads no answer."""
    async with connected(url, deaf=True) as (reader, writer):
        if not await upgrade(reader, writer, url, LISTEN):
            tally.counts["refused"] += 1
            return
        tally.counts["stalled_speakers"] += 1
        size = round(CHUNK_S * SPEECH.bytes_per_s)
        for start in range(0, min(len(data), round(_STALLED_S * SPEECH.bytes_per_s)) - size + 1, size):
            writer.write(frame(Opcode.BINARY, data[start : start + size]))
            await writer.drain()
            await asyncio.sleep(CHUNK_S)


async def again_and_again(bully: Callable[[], Coroutine[Any, Any, None]], tally: Tally) -> None:
    """Lets a bully come back whenever it was thrown out."""
    while True:
        try:
            await bully()
        except (OSError, TimeoutError):
            tally.counts["broken"] += 1
        await asyncio.sleep(_PAUSE_S)


async def _read_all(reader: asyncio.StreamReader) -> None:
    while await reader.read(_READ_BYTES):
        pass


async def run_bullies(job: BulliesJob) -> Tally:
    """All bullies of a process, from a line on stdin until its end."""
    data = await asyncio.to_thread(Path(job.audio).read_bytes)
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    tally = Tally()
    if not await stdin.readline():
        return tally
    began_s = time.monotonic()
    bullies: list[Callable[[], Coroutine[Any, Any, None]]] = [
        *[lambda: fast_sender(job.url, data, job.speed, tally)] * job.senders,
        *[lambda: stalled_subscriber(job.url, tally)] * job.subscribers,
        *[lambda: stalled_speaker(job.url, data, tally)] * job.speakers,
    ]
    tasks = [asyncio.create_task(again_and_again(bully, tally)) for bully in bullies]
    await stdin.read()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tally.seconds = time.monotonic() - began_s
    return tally


def main() -> None:
    """Runs the job whose file the command line names."""
    job = BulliesJob.from_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(job.out).write_text(asyncio.run(run_bullies(job)).to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
