"""A server with faults inside, for chaos alone: `python -m benchmarks.chaos_server --port 8765`.

It is the real service around a recogniser that raises, on a clock that leaps, with an outbox whose disk is full at
times. `medusa serve` knows nothing of it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np

from streaming.config import Settings, load_settings
from streaming.events import ModelInfo
from streaming.recognition.request import RecognitionRequest, RecognitionResult
from streaming.server import print_addresses, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streaming.recognition.recognizer import Recognizer

EXCEPTIONS: Final = "recogniser exceptions"
CLOCK_LEAPS: Final = "clock leaps"
FULL_DISKS: Final = "full disks"
FAULTS_FILE: Final = "inside-faults.json"
RAISING: Final = 0.03
"""Of all batches."""
LEAP_EVERY_S: Final = (5.0, 20.0)
LEAP_S: Final = (0.1, 120.0)
"""Forwards alone: no clock that is asked for intervals goes back, but a machine that slept finds it elsewhere."""
FULL_EVERY_S: Final = (5.0, 20.0)
FULL_FOR_S: Final = (0.5, 4.0)
_FULL_BYTES: Final = 4096
"""No file may grow beyond it while the disk is full: the outbox is longer from its first event on."""


class ProvokedError(RuntimeError):
    """A recogniser that breaks because it was told to."""


class RaisingRecognizer:
    """A recogniser that breaks at moments which the seed draws.

    Args:
        recognizer: the real one.
        rng: draws whether a batch breaks.
        counts: is told of each that did.
    """

    def __init__(self, recognizer: Recognizer, rng: np.random.Generator, counts: Counter[str]) -> None:
        self._recognizer = recognizer
        self._rng = rng
        self._counts = counts

    @property
    def model(self) -> ModelInfo:
        """As the recogniser says."""
        return self._recognizer.model

    def window_s(self, request: RecognitionRequest) -> float:
        """As the recogniser says."""
        return self._recognizer.window_s(request)

    def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
        """As the recogniser does, unless it is time to break.

        Raises:
            ProvokedError: it is.
        """
        if self._rng.random() < RAISING:
            self._counts[EXCEPTIONS] += 1
            raise ProvokedError("provoked by the chaos benchmark")
        return self._recognizer.recognize(batch)

    def warm_up(self) -> None:
        """As the recogniser does."""
        self._recognizer.warm_up()


class LeapingClock:
    """Seconds that go on evenly, but for leaps.

    Args:
        rng: draws when it leaps, and how far.
        counts: is told of each leap.
        clock: an even one.
    """

    def __init__(
        self, rng: np.random.Generator, counts: Counter[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rng = rng
        self._counts = counts
        self._clock = clock
        self._ahead_s = 0.0
        self._next_s = clock() + float(rng.uniform(*LEAP_EVERY_S))

    def __call__(self) -> float:
        """The time."""
        now_s = self._clock()
        if now_s >= self._next_s:
            self._ahead_s += float(self._rng.uniform(*LEAP_S))
            self._next_s = now_s + float(self._rng.uniform(*LEAP_EVERY_S))
            self._counts[CLOCK_LEAPS] += 1
        return now_s + self._ahead_s


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process grows within the block, beyond what is less than a page of the outbox."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FULL_BYTES, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


async def fill_disk_at_times(rng: np.random.Generator, counts: Counter[str]) -> None:
    """Has the disk full every now and then, until cancelled."""
    while True:
        await asyncio.sleep(float(rng.uniform(*FULL_EVERY_S)))
        with full_disk():
            counts[FULL_DISKS] += 1
            await asyncio.sleep(float(rng.uniform(*FULL_FOR_S)))


async def run(
    settings: Settings, load: Callable[[], Recognizer], seed: int, **service_options: Any
) -> Mapping[str, int]:
    """Serves until SIGTERM or SIGINT, and says which faults there were.

    Args:
        settings: of the server.
        load: makes the recogniser.
        seed: of all faults.
        **service_options: for `LiveService`.
    """
    counts: Counter[str] = Counter()
    raising, leaping, filling = np.random.default_rng(seed).spawn(3)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    clock = LeapingClock(leaping, counts)
    async with running_server(
        settings, lambda: RaisingRecognizer(load(), raising, counts), clock=clock, **service_options
    ) as server:
        print_addresses(server)
        full = asyncio.create_task(fill_disk_at_times(filling, counts))
        try:
            await stopped.wait()
        finally:
            full.cancel()
            with suppress(asyncio.CancelledError):
                await full
    return counts


def inside_faults(folder: Path) -> dict[str, int]:
    """What the servers of a run did to themselves: the sum of all files that they left within a folder."""
    counts: Counter[str] = Counter()
    for file in sorted(folder.rglob(FAULTS_FILE)):
        counts.update(json.loads(file.read_text(encoding="utf-8")))
    return dict(counts)


@click.command()
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Of all faults.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="config.toml.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="On loopback; 0 for a free one.")
def main(seed: int, config: Path | None, port: int) -> None:
    """Serves as `medusa serve` does, with faults inside; leaves their number in its folder."""
    from streaming.recognition.recognizer import load_recognizer

    settings = at_port(Settings() if config is None else load_settings(config), port)
    counts = asyncio.run(run(settings, lambda: load_recognizer(settings), seed))
    Path(FAULTS_FILE).write_text(json.dumps(counts), encoding="utf-8")


def at_port(settings: Settings, port: int) -> Settings:
    """The same, on a loopback port."""
    server = settings.server.model_copy(update={"host": "127.0.0.1", "port": port})
    return settings.model_copy(update={"server": server})


if __name__ == "__main__":
    main()
