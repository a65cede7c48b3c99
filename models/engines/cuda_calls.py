"""The few calls of CUDA's runtime that an engine needs: memory, streams, copies, captured graphs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import EngineError


class Cuda:
    """One GPU. Addresses and streams are plain numbers; every failure is an `EngineError`."""

    def __init__(self, device: int = 0) -> None:
        """Looks for the GPU.

        Args:
            device: which one, counted from 0.

        Raises:
            EngineError: the bindings are not installed, or there is no such GPU.
        """
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise EngineError(f"CUDA cannot be used ({error}): pip install cuda-bindings") from error
        self._runtime: Any = runtime
        self._device = device
        try:
            count = self._call(runtime.cudaGetDeviceCount)
        except (RuntimeError, OSError) as error:
            raise EngineError(f"no GPU can be used: {error}") from error
        if device >= count:
            raise EngineError(f"there is no GPU {device}: this machine has {count}")
        self.use()

    @property
    def capability(self) -> str:
        """Compute capability, such as `8.9`."""
        kind = self._runtime.cudaDeviceAttr
        attributes = (kind.cudaDevAttrComputeCapabilityMajor, kind.cudaDevAttrComputeCapabilityMinor)
        return ".".join(str(self._call(self._runtime.cudaDeviceGetAttribute, one, self._device)) for one in attributes)

    def use(self) -> None:
        """Makes the GPU the calling thread's own; each thread needs it once."""
        self._call(self._runtime.cudaSetDevice, self._device)

    def allocate(self, count: int) -> int:
        """Bytes on the GPU; their address."""
        return int(self._call(self._runtime.cudaMalloc, count))

    def free(self, address: int) -> None:
        """Gives bytes on the GPU back."""
        self._call(self._runtime.cudaFree, address)

    def allocate_pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, NDArray[Any]]:
        """An array in memory that the GPU reads and writes by itself, and its address; zeros at first."""
        count = int(np.prod(shape)) * dtype.itemsize
        address = int(self._call(self._runtime.cudaHostAlloc, count, self._runtime.cudaHostAllocDefault))
        array = np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address)).view(dtype).reshape(shape)
        array[...] = 0
        return address, array

    def free_pinned(self, address: int) -> None:
        """Gives such memory back; its array must not be used any more."""
        self._call(self._runtime.cudaFreeHost, address)

    def stream(self) -> int:
        """A new stream, which waits for no other."""
        return int(self._call(self._runtime.cudaStreamCreateWithFlags, self._runtime.cudaStreamNonBlocking))

    def free_stream(self, stream: int) -> None:
        """Gives a stream back."""
        self._call(self._runtime.cudaStreamDestroy, stream)

    def to_device(self, device: int, host: int, count: int, stream: int) -> None:
        """Copies bytes to the GPU, in the stream's turn."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call(self._runtime.cudaMemcpyAsync, device, host, count, kind, stream)

    def to_host(self, host: int, device: int, count: int, stream: int) -> None:
        """Copies bytes from the GPU, in the stream's turn."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call(self._runtime.cudaMemcpyAsync, host, device, count, kind, stream)

    def wait(self, stream: int) -> None:
        """Waits until a stream has done all it was given."""
        self._call(self._runtime.cudaStreamSynchronize, stream)

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        """Records what `work` gives a stream to do, without doing it.

        Returns:
            What `replay` takes.

        Raises:
            EngineError: some of it cannot be recorded.
        """
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call(self._runtime.cudaStreamBeginCapture, stream, mode)
        try:
            work()
        finally:
            # Ends the recording even where the work failed: the stream is of no use before.
            ended = self._runtime.cudaStreamEndCapture(stream)
        graph = self._checked(ended)
        replayable = self._call(self._runtime.cudaGraphInstantiate, graph, 0)
        self._call(self._runtime.cudaGraphDestroy, graph)
        return replayable

    def replay(self, captured: Any, stream: int) -> None:
        """Does what was recorded, all in one."""
        self._call(self._runtime.cudaGraphLaunch, captured, stream)

    def free_capture(self, captured: Any) -> None:
        """Gives a recording back."""
        self._call(self._runtime.cudaGraphExecDestroy, captured)

    def _call(self, function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
        return self._checked(function(*arguments))

    def _checked(self, answer: tuple[Any, ...]) -> Any:
        """The value of an answer whose first part says how it went."""
        status, *values = answer
        if int(status) != 0:
            _, said = self._runtime.cudaGetErrorString(status)
            raise EngineError(f"CUDA error {int(status)}: {said.decode() if isinstance(said, bytes) else said}")
        return values[0] if values else None
