"""Where a measurement runs: a device, its threads, the memory that is free, and what else the machine is doing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from benchmarks.errors import BenchmarkError
from models.machine import this_machine

BUSY_SHARE: Final = 0.25
"""Of the cores, in use before a measurement: above it the machine counts as busy."""

_PROC_MEMORY: Final = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class Place:
    """A device, as PyTorch names it, and how many CPU threads may be used."""

    device: str
    threads: int

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.device.partition(":")[0] == "cuda"

    def synchronise(self) -> None:
        """Returns once a GPU has done what it was given; at once on a CPU."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def free_bytes(self) -> int | None:
        """Memory that can still be taken; None where the system does not say."""
        if self.on_gpu:
            free, _ = torch.cuda.mem_get_info(self.device)
            return int(free) + torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return _free_memory()

    @contextmanager
    def threads_set(self) -> Iterator[None]:
        """PyTorch computes with so many threads within the block."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def find_place(device: str, threads: int | None) -> Place:
    """Checks that a device is there.

    Args:
        device: `cpu`, `cuda`, `cuda:1`.
        threads: CPU threads; None for one a core.

    Raises:
        BenchmarkError: there is no such device here.
    """
    place = Place(device, threads or this_machine().cores)
    if device != "cpu" and not place.on_gpu:
        raise BenchmarkError(f"device {device!r} is not known: use cpu, cuda, or cuda:1 for the second GPU")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BenchmarkError(f"nothing can be measured on device {device!r} here: {reason}") from error
    return place


def load_average() -> float | None:
    """Processes that ran or wanted to, over the last minute; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def busy_note(load: float | None, cores: int) -> str | None:
    """What to say of a machine that was busy before a measurement; None where it was not.

    Args:
        load: average before.
        cores: that this process may use.
    """
    if load is None or load <= BUSY_SHARE * cores:
        return None
    return f"the machine was busy before: load average {load:g} on {cores} cores; times are longer than on an idle one"


def _free_memory() -> int | None:
    try:
        for line in _PROC_MEMORY.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
