"""A GPU and a TensorRT that are not there: memory is arrays, engines compute with ONNX Runtime."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.engines.cuda_calls import Cuda
from models.engines.tensorrt_library import Library
from models.errors import EngineError


class FakeCuda(Cuda):
    """Keeps a list of what it was asked, and does it at once."""

    def __init__(self) -> None:
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.asked: list[str] = []
        self.streams: set[int] = set()
        self.captures: set[int] = set()
        self.captures_fail = False
        self._numbers = itertools.count(1000)
        self._recording: list[Callable[[], None]] | None = None
        self._captured: dict[int, list[Callable[[], None]]] = {}

    @property
    def capability(self) -> str:
        return "8.9"

    def use(self) -> None:
        self.asked.append("use")

    def allocate(self, count: int) -> int:
        address = next(self._numbers)
        # Rubbish, as on a GPU.
        self.memory[address] = np.full(count, 0xAB, dtype=np.uint8)
        self.asked.append(f"allocate {count}")
        return address

    def free(self, address: int) -> None:
        del self.memory[address]

    def allocate_pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, NDArray[Any]]:
        address = self.allocate(int(np.prod(shape)) * dtype.itemsize)
        self.memory[address][...] = 0
        return address, self.memory[address].view(dtype).reshape(shape)

    def free_pinned(self, address: int) -> None:
        self.free(address)

    def stream(self) -> int:
        stream = next(self._numbers)
        self.streams.add(stream)
        return stream

    def free_stream(self, stream: int) -> None:
        self.streams.remove(stream)

    def to_device(self, device: int, host: int, count: int, stream: int) -> None:
        self.enqueue("copy in", stream, lambda: self._copy(device, host, count))

    def to_host(self, host: int, device: int, count: int, stream: int) -> None:
        self.enqueue("copy out", stream, lambda: self._copy(host, device, count))

    def wait(self, stream: int) -> None:
        assert stream in self.streams
        self.asked.append("wait")

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        assert stream in self.streams
        if self.captures_fail:
            raise EngineError("CUDA error 900: operation not permitted when stream is capturing")
        self._recording = []
        work()
        number = next(self._numbers)
        self._captured[number], self._recording = self._recording, None
        self.captures.add(number)
        return number

    def replay(self, captured: int, stream: int) -> None:
        assert stream in self.streams
        assert captured in self.captures
        self.asked.append("replay")
        for step in self._captured[captured]:
            step()

    def free_capture(self, captured: int) -> None:
        self.captures.remove(captured)

    def enqueue(self, what: str, stream: int, step: Callable[[], None]) -> None:
        """Does a step now or, while work is captured, when it is replayed."""
        assert stream in self.streams
        if self._recording is not None:
            self._recording.append(step)
            return
        self.asked.append(what)
        step()

    def array(self, address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """What lies at an address."""
        return self.memory[address].view(dtype).reshape(shape)

    def _copy(self, to: int, source: int, count: int) -> None:
        self.memory[to][:count] = self.memory[source][:count]


class FakeContext:
    """Computes what the graph says, on the fake GPU's memory."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self.profile: int | None = None
        self.profiler: Any = None
        self.scratch = 0

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        assert stream in self._engine.cuda.streams
        self.profile = profile
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        self._engine.shapes.append((self.profile, name, shape))
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        return 4096

    def set_device_memory(self, address: int, count: int) -> None:
        assert self._engine.cuda.memory[address].size == count
        self.scratch = address

    def execute_async_v3(self, stream: int) -> bool:
        if self._engine.computes_fail:
            self._engine.log.errors.append("no kernel image is available")
            return False
        self._engine.cuda.enqueue("compute", stream, self._compute)
        return True

    def _compute(self) -> None:
        if self.profiler is not None:
            self.profiler.report_layer_time("everything", 1.5)
        cuda, session = self._engine.cuda, self._engine.session
        assert self.scratch in cuda.memory
        kinds = {"tensor(float)": "float32", "tensor(int64)": "int64"}
        feed = {
            entry.name: cuda.array(self._addresses[entry.name], self._shapes[entry.name], kinds[entry.type])
            for entry in session.get_inputs()
        }
        for entry, answer in zip(session.get_outputs(), session.run(None, feed), strict=True):
            answers = np.full_like(answer, np.nan) if self._engine.answers_are_rubbish else answer
            cuda.array(self._addresses[entry.name], answer.shape, "float32")[...] = answers


class FakeEngine:
    """What the fake library opens."""

    def __init__(self, cuda: FakeCuda, graph: bytes, log: Any) -> None:
        self.cuda = cuda
        self.log = log
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.shapes: list[tuple[int | None, str, tuple[int, ...]]] = []
        self.contexts = 0
        self.settings: Any = None
        self.computes_fail = False
        self.answers_are_rubbish = False
        self.num_layers = 1
        self.device_memory_size_v2 = 4096

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_layer_information=lambda number, form: f"layer {number} as {form}\n")

    def create_runtime_config(self) -> Any:
        self.settings = FakeSettings()
        return self.settings

    def create_execution_context(self, settings: Any) -> FakeContext:
        assert settings in (self.settings, "user managed")
        self.contexts += 1
        return FakeContext(self)


class FakeSettings:
    """A runtime configuration."""

    def __init__(self) -> None:
        self.strategy: Any = None
        self.cuda_graph_strategy: Any = None
        self.cache: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> FakeKernels:
        return FakeKernels()

    def set_runtime_cache(self, cache: FakeKernels) -> None:
        self.cache = cache


class FakeKernels:
    """Kernels compiled at run time."""

    def __init__(self) -> None:
        self._content = b"kernels"

    def deserialize(self, content: bytes) -> bool:
        if not content.startswith(b"kernels"):
            return False
        self._content = content
        return True

    def serialize(self) -> bytes:
        return self._content


def fake_library(
    cuda: FakeCuda, graphs: Mapping[bytes, bytes], *, rtx: bool, version: str = "1.0"
) -> tuple[Library, list[FakeEngine]]:
    """A library that opens what stands for a graph.

    Args:
        cuda: where its engines compute.
        graphs: ONNX by the bytes that stand for an engine.
        rtx: whether it is TensorRT for RTX, which captures graphs by itself.
        version: of the library.

    Returns:
        The library, and a list that grows by each engine it opens.
    """
    opened: list[FakeEngine] = []
    log = SimpleNamespace(errors=deque())

    def opens(engine: memoryview) -> FakeEngine | None:
        graph = graphs.get(bytes(engine))
        if graph is None:
            log.errors.append("compute capability 7.0 is not supported")
            return None
        opened.append(FakeEngine(cuda, graph, log))
        return opened[-1]

    module = SimpleNamespace(
        Runtime=lambda log: SimpleNamespace(deserialize_cuda_engine=opens),
        LayerInformationFormat=SimpleNamespace(ONELINE="one line"),
        IProfiler=object,
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user managed"),
    )
    if rtx:
        module.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole graph", DISABLED="disabled")
    return Library("tensorrt_rtx" if rtx else "tensorrt", version, module, log), opened
