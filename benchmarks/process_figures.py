"""What a process takes of the machine, as Linux and NVIDIA's tool tell it; elsewhere nothing is known.

The one file that knows of /proc.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_UTIME, _STIME = 11, 12
"""Places in /proc/PID/stat, counted behind the program's name (proc(5): fields 14 and 15)."""
_GPU_TOOL: Final = "nvidia-smi"
_GPU_QUERY: Final = ("--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits")
_GPU_PATIENCE_S: Final = 5.0
_NS_PER_S: Final = 1e9


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one process, all threads together, at one moment."""

    cpu_s: float
    """Processor time since it began."""
    rss_bytes: int
    """Resident memory."""
    descriptors: int
    """Open files and sockets."""
    threads: int
    first_thread_s: float | None
    """Processor time of the thread that the process began with; None where the system does not say."""


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """Of the first GPU, whoever uses it, at one moment."""

    busy_percent: float
    memory_mib: float


def process_usage(pid: int) -> Usage | None:
    """What a process takes; None where the system does not say, or the process is gone."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8")
        status = (_PROC / str(pid) / "status").read_text(encoding="utf-8")
        fields = stat.rpartition(")")[2].split()
        ticks = int(fields[_UTIME]) + int(fields[_STIME])
        named = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        resident_kib, threads = int(named["VmRSS"].split()[0]), int(named["Threads"])
        descriptors = sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())
    except (OSError, IndexError, ValueError, KeyError):
        return None
    cpu_s = ticks / os.sysconf("SC_CLK_TCK")
    return Usage(cpu_s, resident_kib * 1024, descriptors, threads, _first_thread_s(pid))


def _first_thread_s(pid: int) -> float | None:
    """To the nanosecond, where the kernel keeps statistics of its scheduler (/proc/PID/task/TID/schedstat)."""
    try:
        return (
            int((_PROC / str(pid) / "task" / str(pid) / "schedstat").read_text(encoding="utf-8").split()[0]) / _NS_PER_S
        )
    except (OSError, IndexError, ValueError):
        return None


def gpu_usage() -> GpuUsage | None:
    """What is taken of the first GPU; None where there is none, or its tool is not installed."""
    tool = shutil.which(_GPU_TOOL)
    if tool is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [tool, *_GPU_QUERY], capture_output=True, text=True, timeout=_GPU_PATIENCE_S, check=True
        )
        busy, memory = done.stdout.splitlines()[0].split(",")
        return GpuUsage(float(busy), float(memory))
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None


class Watch:
    """Keeps the moments of one process, and says what they amount to."""

    def __init__(self, pid: int) -> None:
        """Has seen nothing yet.

        Args:
            pid: of the process.
        """
        self._pid = pid
        self._seen: list[tuple[float, Usage]] = []
        self._gpu: list[GpuUsage] = []

    def look(self, now_s: float) -> None:
        """Looks at the process; takes a moment where there is a GPU.

        Args:
            now_s: on any clock that goes on evenly.
        """
        usage = process_usage(self._pid)
        if usage is not None:
            self._seen.append((now_s, usage))
        gpu = gpu_usage()
        if gpu is not None:
            self._gpu.append(gpu)

    @property
    def cpu_cores(self) -> float | None:
        """Processors kept busy between the first look and the last; None where nothing is known."""
        if len(self._seen) < 2:
            return None
        (from_s, before), (to_s, after) = self._seen[0], self._seen[-1]
        return (after.cpu_s - before.cpu_s) / (to_s - from_s)

    @property
    def first_thread_cores(self) -> float | None:
        """Of them, what the first thread took: the one that runs a server's event loop."""
        if len(self._seen) < 2:
            return None
        (from_s, before), (to_s, after) = self._seen[0], self._seen[-1]
        if before.first_thread_s is None or after.first_thread_s is None:
            return None
        return (after.first_thread_s - before.first_thread_s) / (to_s - from_s)

    @property
    def peak_rss_mib(self) -> float | None:
        """The most resident memory at any look."""
        return max(usage.rss_bytes for _, usage in self._seen) / 2**20 if self._seen else None

    @property
    def gpu_percent(self) -> float | None:
        """How busy the GPU was on average."""
        return sum(gpu.busy_percent for gpu in self._gpu) / len(self._gpu) if self._gpu else None

    @property
    def gpu_memory_mib(self) -> float | None:
        """The most memory of the GPU that was taken."""
        return max(gpu.memory_mib for gpu in self._gpu) if self._gpu else None
