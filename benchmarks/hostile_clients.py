"""A process of clients that mean harm: `python -m benchmarks.hostile_clients JOB`.

It says `ready` on stdout, begins when a line comes on stdin, ends early when stdin ends, and writes what it did.
Messages count once the server has taken their connection: while it is away, the next waits.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.bully_clients import SPEED, Tally, fast_sender, stalled_speaker, stalled_subscriber
from benchmarks.hostile_messages import Afterwards, Attack, hostile
from benchmarks.job import Job
from benchmarks.live_clients import READY
from benchmarks.raw_websocket import authority, connected, upgrade

AT_A_TIME: Final = 16
"""Hostile connections."""
_READ_S: Final = 0.3
_HOLD_S: Final = 5.0
_FLOOD_S: Final = 5.0
_AGAIN_S: Final = 0.2
"""Between two attempts to reach a server that is away."""
_SEND_PATIENCE_S: Final = 5.0
_READ_BYTES: Final = 1 << 16
FLOODS: Final = "floods"
STALLED_SUBSCRIBERS: Final = "stalled subscribers"
STALLED_SPEAKERS: Final = "stalled speakers"


@dataclass(frozen=True, slots=True)
class HostileJob(Job):
    """What one process is to do; travels as JSON."""

    url: str
    audio: str
    """File of what floods say: mono PCM16 at 16 kHz, without a header."""
    out: str
    seconds: float
    """Over which all of it is spread."""
    seed: int
    messages: int
    floods: int
    stalled_subscribers: int
    stalled_speakers: int


async def attack(url: str, attack: Attack) -> bool:
    """Carries out one; whether the server was there for it."""
    try:
        async with connected(url) as (reader, writer):
            try:
                if attack.target is not None:
                    await upgrade(reader, writer, url, attack.target, headers=attack.headers)
                async with asyncio.timeout(_SEND_PATIENCE_S):
                    writer.write(attack.data)
                    await writer.drain()
                await _afterwards(reader, attack.afterwards)
            except (OSError, TimeoutError):
                pass  # thrown out before it was done: that is the server's good right
    except (ConnectionRefusedError, TimeoutError):
        return False
    except OSError:
        return True
    return True


async def _afterwards(reader: asyncio.StreamReader, how: Afterwards) -> None:
    if how is Afterwards.HOLD:
        await asyncio.sleep(_HOLD_S)
    elif how is Afterwards.READ:
        try:
            async with asyncio.timeout(_READ_S):
                while await reader.read(_READ_BYTES):
                    pass
        except TimeoutError:
            pass


async def attack_until_met(url: str, chosen: Attack, counts: Counter[str]) -> None:
    """Carries out one, as soon as the server is there, and counts it."""
    while not await attack(url, chosen):  # noqa: ASYNC110 - nobody tells when the server is back
        await asyncio.sleep(_AGAIN_S)
    counts[chosen.kind] += 1


async def flood(url: str, data: bytes, tally: Tally) -> None:
    """A few seconds of audio as fast as it goes."""
    try:
        async with asyncio.timeout(_FLOOD_S):
            await fast_sender(url, data, SPEED, tally)
    except TimeoutError:
        pass


async def run_hostile(job: HostileJob, counts: Counter[str], *, clock: Callable[[], float] = time.monotonic) -> None:
    """All of it, each at its time.

    Args:
        job: what there is to do.
        counts: is told what was done.
        clock: seconds.
    """
    rng = np.random.default_rng(job.seed)
    host, port = authority(job.url)
    data = await asyncio.to_thread(Path(job.audio).read_bytes)
    tally = Tally()
    deeds: list[tuple[float, Callable[[], Coroutine[Any, Any, None]]]] = []
    for at_s in rng.uniform(0, job.seconds, job.messages):
        chosen = hostile(rng, f"{host}:{port}")
        deeds.append((float(at_s), partial(attack_until_met, job.url, chosen, counts)))
    for name, count, bully in (
        (FLOODS, job.floods, partial(flood, job.url, data, tally)),
        (STALLED_SUBSCRIBERS, job.stalled_subscribers, partial(stalled_subscriber, job.url, tally)),
        (STALLED_SPEAKERS, job.stalled_speakers, partial(stalled_speaker, job.url, data, tally)),
    ):
        deeds += [(float(at), partial(_bully, name, bully, counts)) for at in rng.uniform(0, job.seconds, count)]
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(deed: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await deed()
        finally:
            places.release()

    began_s = clock()
    async with asyncio.TaskGroup() as running:
        for at_s, deed in sorted(deeds, key=lambda planned: planned[0]):
            await asyncio.sleep(max(0.0, at_s - (clock() - began_s)))
            await places.acquire()
            running.create_task(one(deed))


async def _bully(name: str, bully: Callable[[], Coroutine[Any, Any, None]], counts: Counter[str]) -> None:
    """Lets a bully in, again and again until the server is there for it."""
    while True:
        try:
            await bully()
        except ConnectionRefusedError:
            await asyncio.sleep(_AGAIN_S)
            continue
        except (OSError, TimeoutError):
            pass  # thrown out
        counts[name] += 1
        return


async def _run(job: HostileJob) -> Counter[str]:
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    counts: Counter[str] = Counter()
    if await stdin.readline():
        running = asyncio.create_task(run_hostile(job, counts))
        left_alone = asyncio.create_task(stdin.read())
        await asyncio.wait({running, left_alone}, return_when=asyncio.FIRST_COMPLETED)
        left_alone.cancel()
        if running.done():
            running.result()
        running.cancel()
        await asyncio.gather(running, left_alone, return_exceptions=True)
    return counts


def main() -> None:
    """Runs the job whose file the command line names."""
    job = HostileJob.from_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(job.out).write_text(json.dumps(asyncio.run(_run(job))), encoding="utf-8")


if __name__ == "__main__":
    main()
