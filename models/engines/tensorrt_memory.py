"""What TensorRT has learnt on this machine, kept for the next process: how fast kernels are, and kernels it compiled.

Both save time and change no answer: what cannot be read or written is done without.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.engines.store import KERNELS, engine_cache, publish
from models.engines.tensorrt_library import Library

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Memory:
    """A file that TensorRT reads and writes whole; it checks itself whether what is in it fits."""

    path: Path

    def recall(self) -> bytes | None:
        """What was kept; None where there is nothing."""
        try:
            return self.path.read_bytes()
        except OSError:
            return None

    def keep(self, content: bytes | None) -> None:
        """Puts it in the place of what was there, in one step; nothing is done where there is nothing to keep."""
        if not content:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            publish(self.path, content)
        except OSError as error:
            _LOG.info("what TensorRT learnt is not kept in %s: %s", self.path, error)


def kernel_times(library: Library) -> Memory:
    """How fast kernels were in builds of a library: the next build measures what is new alone."""
    return Memory(engine_cache() / f"timing-{library.name}-{library.version}")


def compiled_kernels(engine: Path) -> Memory:
    """Kernels that cards of this machine compiled for an engine, beside its file."""
    return Memory(engine.with_name(KERNELS + engine.stem))
