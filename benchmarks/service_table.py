"""How long a machine takes for a batch, as a table: measured elsewhere, measured here, or assumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.errors import BenchmarkError
from models.windows import FINAL_WINDOWS, INTERIM_WINDOWS

VERSION: Final = 1
BUCKETS_S: Final = tuple(sorted({*FINAL_WINDOWS.buckets_s, *INTERIM_WINDOWS.buckets_s}))
ORIGINS: Final = ("assumed", "measured")
ASSUMED_GPU: Final = Path(__file__).parent / "service_times_assumed_gpu.json"
"""A machine like a GPU, thought up: most of a batch's time is paid once, whatever its size."""


@dataclass(frozen=True, slots=True)
class BatchTime:
    """What a batch takes: something once, and something for each request in it."""

    once_s: float
    each_s: float

    def of(self, size: int) -> float:
        """Seconds for a batch of so many requests."""
        return self.once_s + self.each_s * size


@dataclass(frozen=True, slots=True)
class ServiceTable:
    """Batch times by length bucket, with and without words."""

    machine: str
    """What it is of, in words."""
    origin: str
    """One of `ORIGINS`."""
    times: Mapping[tuple[float, bool], BatchTime]
    """By the bucket's seconds, and whether words are wanted; every bucket of `BUCKETS_S`, both ways."""

    def batch_s(self, window_s: float, size: int, *, words: bool) -> float:
        """Seconds for a batch of so many requests of one bucket."""
        return self.times[window_s, words].of(size)

    def scaled(self, factor: float) -> ServiceTable:
        """A machine that takes so many times as long."""
        times = {key: BatchTime(t.once_s * factor, t.each_s * factor) for key, t in self.times.items()}
        return ServiceTable(f"{self.machine}, times {factor:g}", self.origin, times)

    def to_json(self) -> dict[str, Any]:
        """As `load_service_table` reads it."""
        return {
            "service_times": VERSION,
            "machine": self.machine,
            "origin": self.origin,
            "batches": [
                {"window_s": window_s, "words": words, **asdict(time)}
                for (window_s, words), time in sorted(self.times.items())
            ],
        }


def load_service_table(path: Path) -> ServiceTable:
    """Reads a table: a JSON object with `service_times` (1), `machine`, `origin` and `batches`.

    Each of `batches` has `window_s`, `words`, `once_s` and `each_s`; together they name every length bucket once with
    words and once without.

    Raises:
        BenchmarkError: it cannot be read, or is not that.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path.name} cannot be read as JSON: {error}") from error
    try:
        if read["service_times"] != VERSION:
            raise BenchmarkError(f"{path.name} is of version {read['service_times']!r}: this reads version {VERSION}")
        machine, origin = str(read["machine"]), str(read["origin"])
        rows = [(float(row["window_s"]), bool(row["words"]), row) for row in read["batches"]]
        times = {(window, words): BatchTime(float(row["once_s"]), float(row["each_s"])) for window, words, row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise BenchmarkError(
            f"{path.name} is no table of service times ({type(error).__name__}: {error}): it needs service_times, "
            "machine, origin and batches, each with window_s, words, once_s and each_s"
        ) from error
    _check(path.name, origin, times, len(rows))
    return ServiceTable(machine, origin, times)


def _check(name: str, origin: str, times: Mapping[tuple[float, bool], BatchTime], rows: int) -> None:
    if origin not in ORIGINS:
        raise BenchmarkError(f"{name}: origin must be one of {', '.join(ORIGINS)}, got {origin!r}")
    wanted = {(window_s, words) for window_s in BUCKETS_S for words in (False, True)}
    if wanted != times.keys() or rows != len(wanted):
        buckets = ", ".join(f"{window_s:g}" for window_s in BUCKETS_S)
        raise BenchmarkError(f"{name} must name each bucket ({buckets} s) once with words and once without")
    for (window_s, _), time in times.items():
        if not (time.once_s >= 0 and time.each_s >= 0 and 0 < time.of(1) < float("inf")):
            raise BenchmarkError(
                f"{name}: a batch of {window_s:g} s must take some time, got once_s {time.once_s}, each_s {time.each_s}"
            )
