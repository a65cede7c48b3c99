"""Files of half-precision frames as read-only arrays: nothing is read before it is used, nothing is copied."""

from __future__ import annotations

import contextlib
import errno
import mmap
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.errors import FeatureStoreError


def map_halves(path: Path, columns: int) -> NDArray[np.float16]:
    """Maps the whole rows of a file into memory.

    Args:
        path: of a file with at least one row.
        columns: values a row.

    Returns:
        `[rows, columns]`, read-only.

    Raises:
        FeatureStoreError: the system lets this process open no more files.
        OSError: the file is not there or cannot be read.
    """
    try:
        return _map(path, columns)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
    _allow_more_files()
    try:
        return _map(path, columns)
    except OSError as error:
        raise FeatureStoreError(
            f"{path}: cannot be opened ({error}); raise the limit of open files, ulimit -n"
        ) from error


def _map(path: Path, columns: int) -> NDArray[np.float16]:
    row_bytes = columns * np.dtype(np.float16).itemsize
    with path.open("rb") as file:
        rows = path.stat().st_size // row_bytes
        if sys.version_info >= (3, 13):
            mapped = mmap.mmap(file.fileno(), rows * row_bytes, access=mmap.ACCESS_READ, trackfd=False)
        else:
            # Holds a descriptor for as long as a view of the array lives.
            mapped = mmap.mmap(file.fileno(), rows * row_bytes, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, dtype=np.float16).reshape(rows, columns)


def _allow_more_files() -> None:
    """Hundreds of hours are hundreds of files: raises this process's own limit as far as it may."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
