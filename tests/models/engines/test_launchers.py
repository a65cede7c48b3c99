"""How work reaches a device. No CUDA is needed here: a fake records what is asked, by PyTorch's signatures."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch

from models.engines.launchers import EagerLauncher, GraphLauncher
from models.errors import EngineError


class FakeCuda:
    """Two devices; what is done within a capture is recorded, not done, until it is replayed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.captures: list[dict[str, Any]] = []
        self.graphs: list[weakref.ref[FakeCuda.Graph]] = []
        self.fails = False
        self._signature = inspect.signature(torch.cuda.graph)
        fakes: dict[str, Any] = {
            "is_available": lambda: True,
            "device_count": lambda: 2,
            "current_device": lambda: 0,
            "graph_pool_handle": lambda: (0, 1),
            "Stream": lambda device: self.Stream(self, device),
            "stream": nullcontext,
            "device": nullcontext,
            "Event": lambda: self.Event(self),
            "CUDAGraph": lambda: self.Graph(self),
            "graph": self.graph,
        }
        for name, fake in fakes.items():
            patch.setattr(torch.cuda, name, fake)
        patch.setattr(torch, "zeros", lambda *shape, device: self.asked.append(f"zeros on {device}"))

    class Stream:
        def __init__(self, cuda: FakeCuda, device: torch.device) -> None:
            self._cuda, self.device = cuda, device

        def synchronize(self) -> None:
            self._cuda.asked.append("synchronize")

    class Event:
        def __init__(self, cuda: FakeCuda) -> None:
            self._cuda = cuda

        def record(self, stream: FakeCuda.Stream) -> None:
            self._cuda.asked.append(f"record on {stream.device}")

        def synchronize(self) -> None:
            self._cuda.asked.append("wait")

    class Graph:
        def __init__(self, cuda: FakeCuda) -> None:
            self._cuda = cuda
            cuda.graphs.append(weakref.ref(self))

        def replay(self) -> None:
            self._cuda.asked.append("replay")

    @contextmanager
    def graph(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        asked = self._signature.bind(*args, **kwargs).arguments
        self.captures.append({name: value for name, value in asked.items() if name != "cuda_graph"})
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.asked.append("capture")
        yield
        self.asked.append("captured")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return FakeCuda(monkeypatch)


def test_work_is_warmed_up_before_it_is_captured_and_then_only_replayed(cuda: FakeCuda) -> None:
    launcher = GraphLauncher()
    cuda.asked.clear()
    replay = launcher.captured(lambda: cuda.asked.append("work"))
    assert cuda.asked == ["work", "work", "work", "synchronize", "capture", "work", "captured"]
    cuda.asked.clear()
    replay()
    assert cuda.asked == ["replay"]


def test_captures_share_a_pool_and_leave_other_threads_alone(cuda: FakeCuda) -> None:
    launcher = GraphLauncher(1)
    for _ in range(2):
        launcher.captured(lambda: None)
    assert [capture["pool"] for capture in cuda.captures] == [(0, 1)] * 3
    assert {capture["capture_error_mode"] for capture in cuda.captures} == {"thread_local"}
    assert {capture["stream"].device for capture in cuda.captures} == {torch.device("cuda:1")}


def test_the_pool_outlives_the_captures_that_share_it(cuda: FakeCuda) -> None:
    """A graph of the launcher's own is in it from the start: PyTorch gives up a pool with its last graph."""
    launcher = GraphLauncher()
    assert cuda.asked == ["capture", "zeros on cuda:0", "captured"]
    own = cuda.graphs[0]
    launcher.captured(lambda: None)
    gc.collect()
    assert own() is not None
    assert cuda.graphs[1]() is None


def test_a_mark_waits_for_what_was_asked_on_its_stream(cuda: FakeCuda) -> None:
    launcher = GraphLauncher()
    cuda.asked.clear()
    wait = launcher.mark()
    assert cuda.asked == ["record on cuda:0"]
    wait()
    assert cuda.asked[1:] == ["wait"]


def test_what_cuda_refuses_is_an_engine_error(cuda: FakeCuda) -> None:
    launcher = GraphLauncher()
    cuda.fails = True
    with pytest.raises(EngineError, match="cuda:0 cannot capture the ensemble as a graph: operation not permitted"):
        launcher.captured(lambda: None)


def test_work_that_fails_before_it_is_captured_is_an_engine_error(cuda: FakeCuda) -> None:
    def work() -> None:
        raise torch.OutOfMemoryError("tried to allocate 3 GiB")

    with pytest.raises(EngineError, match="the ensemble does not run on cuda:0: tried to allocate 3 GiB"):
        GraphLauncher().captured(work)


@pytest.mark.parametrize("device", [-1, 2])
def test_a_device_that_is_not_there_is_named(cuda: FakeCuda, device: int) -> None:
    with pytest.raises(EngineError, match=rf"no CUDA device {device}: PyTorch finds 2, counted from 0"):
        GraphLauncher(device)


def test_without_cuda_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match="finds no CUDA device here: use the engine onnx or torch"):
        GraphLauncher()


def test_eager_work_is_done_in_every_call() -> None:
    launcher = EagerLauncher()
    done: list[str] = []
    work = launcher.captured(lambda: done.append("work"))
    with launcher.stream():
        work()
        work()
        launcher.mark()()
    assert done == ["work"] * 2
    assert (launcher.device, launcher.pinned) == (torch.device("cpu"), False)
