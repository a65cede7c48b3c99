"""The calls of CUDA's runtime, on bindings that are a fake: every one of them tells how it went beside its value."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from models.engines.cuda_calls import Cuda
from models.errors import EngineError


class Named:
    """Stands for any enumeration: every member is its own name."""

    def __getattr__(self, name: str) -> str:
        return name


class FakeRuntime(ModuleType):
    """Answers every call with success and a number, but for what `fails` names."""

    def __init__(self, devices: int = 1) -> None:
        super().__init__("cuda.bindings.runtime")
        self.devices = devices
        self.fails: dict[str, int] = {}
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in {"cudaDeviceAttr", "cudaMemcpyKind", "cudaStreamCaptureMode"}:
            return Named()
        if name in {"cudaHostAllocDefault", "cudaStreamNonBlocking"}:
            return 1
        if name == "cudaGetErrorString":
            return lambda status: (0, b"out of memory")

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.called.append(name)
            return self.fails.get(name, 0), self.value(name, arguments)

        return call

    def value(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "cudaDeviceGetAttribute":
            return 12 if arguments[0].endswith("Major") else 0
        return self.devices if name == "cudaGetDeviceCount" else 42


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    runtime = FakeRuntime()
    install(runtime, monkeypatch)
    return runtime


def install(runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = runtime  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)


def test_without_the_bindings_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(EngineError, match="pip install cuda-bindings"):
        Cuda()


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(FakeRuntime(devices=2), monkeypatch)
    with pytest.raises(EngineError, match="there is no GPU 2: this machine has 2"):
        Cuda(2)


def test_the_capability_is_written_as_in_nvidias_tables(runtime: FakeRuntime) -> None:
    assert Cuda().capability == "12.0"


def test_a_failing_call_is_an_error_with_cudas_words(runtime: FakeRuntime) -> None:
    cuda = Cuda()
    runtime.fails["cudaMalloc"] = 2
    with pytest.raises(EngineError, match="CUDA error 2: out of memory"):
        cuda.allocate(100)


def test_what_a_stream_is_given_while_it_records_can_be_replayed(runtime: FakeRuntime) -> None:
    cuda = Cuda()
    runtime.called.clear()
    captured = cuda.capture(7, lambda: cuda.to_device(1, 2, 3, 7))
    cuda.replay(captured, 7)
    assert runtime.called == [
        "cudaStreamBeginCapture",
        "cudaMemcpyAsync",
        "cudaStreamEndCapture",
        "cudaGraphInstantiate",
        "cudaGraphDestroy",
        "cudaGraphLaunch",
    ]


def test_recording_ends_even_where_the_work_fails(runtime: FakeRuntime) -> None:
    cuda = Cuda()
    runtime.fails["cudaMemcpyAsync"] = 1
    with pytest.raises(EngineError):
        cuda.capture(7, lambda: cuda.to_device(1, 2, 3, 7))
    assert runtime.called[-1] == "cudaStreamEndCapture"
