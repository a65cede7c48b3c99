"""How many threads compute, where that decides the last bit of a result."""

from __future__ import annotations

import os
from typing import Final

_NUMPY_THREADS: Final = ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "MKL_NUM_THREADS")
_OTHER_THREADS: Final = "OMP_NUM_THREADS"
"""Of CTranslate2, whose results do not depend on it, and of PyTorch."""


def one_numpy_thread() -> None:
    """Lets NumPy multiply matrices with one thread; to be called before it is imported.

    The last bit of a product depends on the number of threads, and an encoder in 8-bit arithmetic makes two percent of
    it: features would depend on the machine and on how many processes extract. What the user has set stays.
    """
    for name in _NUMPY_THREADS:
        os.environ.setdefault(name, "1")


def threads_each(jobs: int) -> int:
    """Threads of each of so many processes, so that all together use the processors this one may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // jobs)


def environment_of(threads: int) -> dict[str, str]:
    """What a process is started with that is to compute with so many threads; NumPy has one, see above."""
    return {_OTHER_THREADS: str(threads), **dict.fromkeys(_NUMPY_THREADS, "1")}
