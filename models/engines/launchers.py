"""How the work of an engine reaches its device: called as it is, or replayed from a captured CUDA graph."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

import torch

from models.errors import EngineError

Work = Callable[[], None]

# The first calls choose algorithms and set up libraries, neither of which may happen within a capture.
_WARM_UPS: Final = 3
# PyTorch allows one capture at a time in a process.
_capturing = threading.Lock()


class Launcher(Protocol):
    """Where work is done; calls come one at a time."""

    @property
    def device(self) -> torch.device:
        """Where tensors have to lie."""
        ...

    @property
    def pinned(self) -> bool:
        """Whether memory of the host that is copied from and to should be pinned."""
        ...

    def stream(self) -> AbstractContextManager[object]:
        """What is asked of the device within runs in order with all other work of this launcher."""
        ...

    def captured(self, work: Work) -> Work:
        """Prepares work over tensors that stay where they are.

        Args:
            work: reads and writes the same tensors in every call, and does the same whatever they hold.

        Returns:
            What does it; to be called within `stream`.

        Raises:
            EngineError: the device cannot do it.
        """
        ...

    def mark(self) -> Work:
        """What, when called, waits until all that was asked for until now is done; any thread may call it."""
        ...


class EagerLauncher:
    """On the CPU, where work is done when the call returns."""

    device = torch.device("cpu")
    pinned = False

    def stream(self) -> AbstractContextManager[object]:
        """See `Launcher.stream`."""
        return nullcontext()

    def captured(self, work: Work) -> Work:
        """The work itself."""
        return work

    def mark(self) -> Work:
        """See `Launcher.mark`."""
        return lambda: None


class GraphLauncher:
    """Work is captured as a CUDA graph and replayed, on a stream of its own."""

    pinned = True

    def __init__(self, device: int | None = None) -> None:
        """Opens a stream.

        Args:
            device: which CUDA device, counted from 0; PyTorch's current one by default.

        Raises:
            EngineError: there is no such device, or it can capture nothing.
        """
        if not torch.cuda.is_available():
            raise EngineError(
                f"PyTorch {torch.__version__} finds no CUDA device here: use the engine onnx or torch, "
                "or install a driver and a build of PyTorch with CUDA"
            )
        index = torch.cuda.current_device() if device is None else device
        if not 0 <= index < torch.cuda.device_count():
            raise EngineError(f"no CUDA device {index}: PyTorch finds {torch.cuda.device_count()}, counted from 0")
        self.device = torch.device("cuda", index)
        self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        # Replays never overlap and leave nothing behind in it: all graphs can share their scratch memory.
        self._pool = torch.cuda.graph_pool_handle()
        # The pool lives as long as some graph does, and cannot be used again after that.
        self._anchor = self._graph(lambda: torch.zeros(1, device=self.device))

    def stream(self) -> AbstractContextManager[object]:
        """See `Launcher.stream`."""
        return torch.cuda.stream(self._stream)

    def captured(self, work: Work) -> Work:
        """Replays a graph of the work, which was done a few times before."""
        try:
            with self.stream():
                for _ in range(_WARM_UPS):
                    work()
            self._stream.synchronize()
        except RuntimeError as error:
            raise EngineError(f"the ensemble does not run on {self.device}: {error}") from error
        return self._graph(work).replay

    def _graph(self, work: Callable[[], object]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may go on using the device: only this one is captured.
            with (
                _capturing,
                torch.cuda.device(self.device),
                torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                work()
        except RuntimeError as error:
            raise EngineError(f"{self.device} cannot capture the ensemble as a graph: {error}") from error
        return graph

    def mark(self) -> Work:
        """See `Launcher.mark`."""
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(self._stream)
        return done.synchronize
