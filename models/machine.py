"""What a figure was measured on: it means nothing without."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

BENCHMARK_VERSION: Final = 1

_PROC_CPU: Final = Path("/proc/cpuinfo")
_PROC_MEMORY: Final = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine, without anything that names it."""

    cpu: str
    cores: int
    """That this process may use."""
    memory_gib: float
    gpu: str | None
    os: str


def this_machine() -> Machine:
    """The machine this runs on; what cannot be told is said to be unknown."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=_memory_gib(),
        gpu=_gpu(),
        os=f"{platform.system()} {platform.release().split('-')[0]}",
    )


def written(benchmark: str, settings: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
    """The one object every benchmark prints.

    Args:
        benchmark: its name.
        settings: what it was run with; no paths.
        results: its rows.
    """
    return {
        "benchmark": benchmark,
        "version": BENCHMARK_VERSION,
        "commit": _commit(),
        "machine": asdict(this_machine()),
        "settings": settings,
        "results": results,
    }


def _cpu() -> str:
    try:
        for line in _PROC_CPU.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def _memory_gib() -> float:
    try:
        for line in _PROC_MEMORY.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemTotal:"):
                return round(int(line.split()[1]) / 2**20, 1)
    except OSError:
        pass
    return 0.0


def _gpu() -> str | None:
    return _first_line("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")


def _commit() -> str | None:
    return _first_line("git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD")


def _first_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - fixed
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None
