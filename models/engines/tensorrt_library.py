"""TensorRT, whichever of its two libraries is there: they share one interface, and this is where it is imported.

`tensorrt_rtx` (TensorRT for RTX) finishes compiling on the card it runs on, so that one engine serves several
capabilities and is built on a machine without a GPU. `tensorrt` builds for the GPU at hand, data centres' included.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from models.errors import EngineError

LIBRARIES: Final = ("tensorrt_rtx", "tensorrt")
"""In the order in which they are looked for."""
PACKAGES: Final = {"tensorrt_rtx": "tensorrt-rtx-cu13", "tensorrt": "tensorrt"}

_LOG: Final = logging.getLogger(__name__)
_KEPT_ERRORS: Final = 5
_CAPABILITY: Final = re.compile(r"(?:sm_?)?(\d{1,2})\.?(\d)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Library:
    """One of the two, imported."""

    name: str
    version: str
    module: Any
    log: Any
    """The one logger that the library knows in this process; `errors` holds the last it was told."""

    @property
    def builds_ahead(self) -> bool:
        """Whether it builds for capabilities that are not at hand."""
        return hasattr(self.module, "ComputeCapability")

    def failure(self, what: str) -> EngineError:
        """An error to raise, with what the library said since the last one."""
        said = " ".join(self.log.errors)
        self.log.errors.clear()
        return EngineError(f"{what}: {said}" if said else f"{what}; {self.name} {self.version} does not say why")

    def capability(self, name: str) -> Any:
        """The library's own constant for a compute capability.

        Args:
            name: such as `8.9` or `SM89`.

        Raises:
            EngineError: it is none, or the library does not know it.
        """
        known = getattr(self.module.ComputeCapability, f"SM{plain_capability(name).replace('.', '')}", None)
        if known is None:
            there = sorted(
                (plain_capability(n) for n in dir(self.module.ComputeCapability) if n.startswith("SM")), key=float
            )
            raise EngineError(
                f"{self.name} {self.version} does not build for compute capability {name}: there are {', '.join(there)}"
            )
        return known


def plain_capability(name: str) -> str:
    """A compute capability as NVIDIA's tables write it: `8.9` for `SM89`, `sm_89` and `8.9`.

    Raises:
        EngineError: it is none.
    """
    found = _CAPABILITY.fullmatch(name)
    if found is None:
        raise EngineError(f"{name!r} is no compute capability: write 8.9 or SM89")
    return f"{found[1]}.{found[2]}"


@cache
def tensorrt_library(name: str | None = None) -> Library:
    """Imports a library.

    Args:
        name: one of `LIBRARIES`; the first that is installed by default.

    Raises:
        EngineError: no such library, or it is not installed.
    """
    if name is not None and name not in LIBRARIES:
        raise EngineError(f"no library {name!r}: there are {', '.join(LIBRARIES)}")
    for one in LIBRARIES if name is None else (name,):
        module = _imported(one)
        if module is not None:
            return Library(one, str(module.__version__), module, _log_of(module))
    raise EngineError(
        f"{' and '.join(LIBRARIES) if name is None else name} cannot be imported: "
        f"pip install {PACKAGES[name or LIBRARIES[0]]} (Linux or Windows on x86-64)"
    )


def _imported(name: str) -> Any:
    """The module; None where it, or a library of CUDA that it opens, is not there."""
    try:
        if name == "tensorrt_rtx":
            import tensorrt_rtx as module
        else:
            import tensorrt as module
    except (ImportError, OSError) as error:
        _LOG.debug("%s is not used: %s", name, error)
        return None
    return module


def _log_of(module: Any) -> Any:
    """A logger for the library; its base class is the library's own."""

    class Log(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=_KEPT_ERRORS)

        def log(self, severity: Any, message: str) -> None:
            if severity in (module.ILogger.INTERNAL_ERROR, module.ILogger.ERROR):
                self.errors.append(message)
            _LOG.debug("%s: %s", module.__name__, message)

    return Log()
