"""What TensorRT needs to compute: contexts, memory and recorded work, held for each shape.

Each shape has its own execution context, memory of its inputs and outputs on both sides and, where the library does not
record by itself, a captured graph of copies and kernels. What is in between is computed in memory that all shapes of a
lane share: one call at a time goes along it. Calls that come at a time take different lanes, each a stream with shapes
of its own: while one computes, the other copies.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.engines.cuda_calls import Cuda
from models.engines.tensorrt_file import EngineRecord, TensorEntry
from models.engines.tensorrt_library import Library
from models.engines.tensorrt_shapes import Shape
from models.errors import EngineError

MOST_SHAPES: Final = 16
"""Shapes a lane holds memory for; the one used longest ago makes room for another."""

_LOG: Final = logging.getLogger(__name__)


class Contexts:
    """Makes execution contexts, one at a time."""

    def __init__(
        self, library: Library, engine: Any, runtime_cache: bytes | None = None, *, recorded: bool = True
    ) -> None:
        """Prepares what all contexts share.

        Args:
            library: TensorRT.
            engine: its own, opened.
            runtime_cache: kernels compiled in an earlier process, see `compiled_kernels`.
            recorded: whether work is recorded and replayed; layers are timed one by one only where it is not.
        """
        self._library = library
        self._engine = engine
        self._making = threading.Lock()
        self._settings: Any = None
        self._kernels: Any = None
        trt = library.module
        records_itself = hasattr(trt, "CudaGraphStrategy")
        self.to_record = recorded and not records_itself
        """Whether work is to be recorded because the library does not by itself."""
        if not records_itself:
            return
        self._settings = engine.create_runtime_config()
        self._settings.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        strategies = trt.CudaGraphStrategy
        self._settings.cuda_graph_strategy = strategies.WHOLE_GRAPH_CAPTURE if recorded else strategies.DISABLED
        self._kernels = self._settings.create_runtime_cache()
        if runtime_cache and not self._kernels.deserialize(runtime_cache):
            _LOG.warning("kernels compiled in an earlier process do not fit: they are compiled again")
        self._settings.set_runtime_cache(self._kernels)

    def context(self, profile: int, stream: int, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """A context for one shape, without memory."""
        strategy = self._library.module.ExecutionContextAllocationStrategy.USER_MANAGED
        with self._making:
            context = self._engine.create_execution_context(self._settings or strategy)
            if context is None or not context.set_optimization_profile_async(profile, stream):
                raise self._library.failure("TensorRT gives no execution context")
            for name, shape in shapes.items():
                if not context.set_input_shape(name, shape):
                    raise self._library.failure(f"TensorRT does not take {name} in shape {list(shape)}")
        return context

    def profiler(self) -> Any:
        """What a context tells the time of each layer; its base class is the library's own."""
        trt: Any = self._library.module
        return _profiler(trt)

    def compiled_kernels(self) -> bytes | None:
        """See `TensorRTEngine.runtime_cache`."""
        if self._kernels is None:
            return None
        with self._making:
            return bytes(self._kernels.serialize())

    def failure(self, what: str) -> EngineError:
        """See `Library.failure`."""
        return self._library.failure(what)


class Lane:
    """A stream, and what is held for each shape that came along it; of one call at a time."""

    def __init__(self, cuda: Cuda, contexts: Contexts, record: EngineRecord) -> None:
        self._cuda = cuda
        self._contexts = contexts
        self._record = record
        self._stream = cuda.stream()
        self._places: OrderedDict[tuple[int, Shape], _Place] = OrderedDict()
        self._scratch = _Scratch(0, 0)

    def layer_times_ms(self, profile: int, shape: Shape, feed: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        """How long each layer takes, once the call has been made before."""
        self.run(profile, shape, feed)
        return self._places[profile, shape].layer_times_ms(feed)

    def run(self, profile: int, shape: Shape, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The engine's outputs for inputs that fit into a shape, padding's included."""
        key = (profile, shape)
        place = self._places.pop(key, None)
        if place is None:
            while len(self._places) >= MOST_SHAPES:
                self._places.popitem(last=False)[1].close()
            place = _Place(self._cuda, self._contexts, self._record, self._stream, profile, shape, self._room)
        # One that fails is not kept: the next call makes it anew.
        try:
            answers = place.run(feed)
        except BaseException:
            place.close()
            if not self._places:
                self._clear()
            raise
        self._places[key] = place
        return answers

    def close(self) -> None:
        """Gives everything back."""
        self._clear()
        self._cuda.free_stream(self._stream)

    def _room(self, count: int) -> _Scratch:
        """So many bytes to compute in, at least: where there are fewer, what was recorded in them is given up."""
        if count > self._scratch.count:
            self._clear()
            self._scratch = _Scratch(self._cuda.allocate(count), count)
        return self._scratch

    def _clear(self) -> None:
        for place in self._places.values():
            place.close()
        self._places.clear()
        if self._scratch.count:
            self._cuda.free(self._scratch.address)
        self._scratch = _Scratch(0, 0)


@dataclass(frozen=True, slots=True)
class _Scratch:
    """Memory on the GPU for what is neither input nor output."""

    address: int
    count: int
    """Bytes."""


class _Place:
    """What is held for one shape: a context, memory on both sides, and recorded work."""

    def __init__(
        self,
        cuda: Cuda,
        contexts: Contexts,
        record: EngineRecord,
        stream: int,
        profile: int,
        shape: Shape,
        room: Callable[[int], _Scratch],
    ) -> None:
        self._cuda = cuda
        self._contexts = contexts
        self._stream = stream
        self._inputs = [_Tensor(entry, shape.of(entry.name, entry.shape)) for entry in record.inputs]
        self._outputs = [_Tensor(entry, (shape.batch, *entry.shape[1:])) for entry in record.outputs]
        self._recorded: Any = None
        try:
            self._context = contexts.context(profile, stream, {t.name: t.shape for t in self._inputs})
            for tensor in (*self._inputs, *self._outputs):
                tensor.allocate(cuda)
                if not self._context.set_tensor_address(tensor.name, tensor.device):
                    raise contexts.failure(f"TensorRT does not take the memory of {tensor.name}")  # noqa: TRY301
            needed = int(self._context.update_device_memory_size_for_shapes())
            if needed:
                scratch = room(needed)
                self._context.set_device_memory(scratch.address, scratch.count)
            if contexts.to_record:
                self._record()
        except BaseException:
            self.close()
            raise

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Copies in, computes, copies out."""
        for tensor in self._inputs:
            tensor.fill(feed[tensor.name])
        if self._recorded is None:
            self._enqueue()
        else:
            self._cuda.replay(self._recorded, self._stream)
        self._cuda.wait(self._stream)
        return {tensor.name: tensor.host.copy() for tensor in self._outputs}

    def layer_times_ms(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        """Milliseconds by layer, in the order in which they were done."""
        profiler = self._contexts.profiler()
        self._context.profiler = profiler
        try:
            self.run(feed)
        finally:
            self._context.profiler = None
        times: dict[str, float] = profiler.times_ms
        return times

    def close(self) -> None:
        """Gives everything back; what was recorded goes before the memory it uses."""
        if self._recorded is not None:
            self._cuda.free_capture(self._recorded)
            self._recorded = None
        self._context = None
        for tensor in (*self._inputs, *self._outputs):
            tensor.free(self._cuda)

    def _enqueue(self) -> None:
        for tensor in self._inputs:
            self._cuda.to_device(tensor.device, tensor.address, tensor.host.nbytes, self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise self._contexts.failure("TensorRT does not compute")
        for tensor in self._outputs:
            self._cuda.to_host(tensor.address, tensor.device, tensor.host.nbytes, self._stream)

    def _record(self) -> None:
        """Records a call's work; TensorRT wants to have done it once before."""
        self._enqueue()
        self._cuda.wait(self._stream)
        try:
            self._recorded = self._cuda.capture(self._stream, self._enqueue)
        except EngineError as error:
            _LOG.warning("TensorRT's work is not recorded, each call gives it anew: %s", error)


def _profiler(trt: Any) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times_ms: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times_ms[layer_name] = self.times_ms.get(layer_name, 0.0) + ms

    return Profiler()


class _Tensor:
    """An input or output in one shape: a buffer on the GPU and a pinned one on this side."""

    def __init__(self, entry: TensorEntry, shape: tuple[int, ...]) -> None:
        self.name = entry.name
        self.shape = shape
        self.host: NDArray[Any] = np.empty(0, dtype=entry.dtype)
        self.address = 0
        self.device = 0

    def allocate(self, cuda: Cuda) -> None:
        """Takes memory on both sides."""
        self.address, self.host = cuda.allocate_pinned(self.shape, self.host.dtype)
        self.device = cuda.allocate(self.host.nbytes)

    def free(self, cuda: Cuda) -> None:
        """Gives back what was taken."""
        if self.device:
            cuda.free(self.device)
        if self.address:
            self.host = np.empty(0, dtype=self.host.dtype)
            cuda.free_pinned(self.address)
        self.device = self.address = 0

    def fill(self, array: NDArray[Any]) -> None:
        """Copies an input in, with zeros around it."""
        self.host[len(array) :] = 0
        if array.ndim > 1:
            self.host[: len(array), array.shape[1] :] = 0
            self.host[: len(array), : array.shape[1]] = array
        else:
            self.host[: len(array)] = array
