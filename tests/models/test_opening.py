"""The engine that answers: the one asked for, or the best that works here."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import models.compile as compiler
from models import opening
from models.compile import Order
from models.engines.cuda import CudaEngine
from models.engines.launchers import EagerLauncher
from models.engines.onnx import OnnxEngine
from models.engines.torch import TorchEngine
from models.errors import EngineError
from models.graphs.graph import Graph
from models.opening import open_engine
from tests.fakes.bundles import CompiledBundle


@pytest.fixture
def cache(compiled: CompiledBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the cache that holds the engine of `compiled.bundle`."""
    monkeypatch.setenv("MEDUSA_CACHE", str(shutil.copytree(compiled.cache, tmp_path / "cache")))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a GPU, wherever this runs."""
    monkeypatch.setattr(opening, "_driver_is_there", lambda: False)


def no_graph(order: Order, _ranges: object) -> Graph:
    raise EngineError("this ensemble cannot be written: unsupported")


def test_auto_is_onnx_runtime(compiled: CompiledBundle, cache: Path) -> None:
    assert isinstance(open_engine(compiled.bundle), OnnxEngine)


def test_auto_falls_back_to_pytorch_and_says_why(
    compiled: CompiledBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path))
    monkeypatch.setattr(compiler, "write_graph", no_graph)
    with caplog.at_level(logging.WARNING):
        assert isinstance(open_engine(compiled.bundle), TorchEngine)
    assert "this ensemble cannot be written: unsupported" in caplog.text


def test_onnx_asked_for_and_not_to_be_had_is_an_error(
    compiled: CompiledBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path))
    monkeypatch.setattr(compiler, "write_graph", no_graph)
    with pytest.raises(EngineError, match="unsupported"):
        open_engine(compiled.bundle, "onnx")


def test_where_the_cache_cannot_be_written_the_engine_is_used_all_the_same(
    compiled: CompiledBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert isinstance(open_engine(compiled.bundle), OnnxEngine)
    assert "built anew at every start" in caplog.text


def test_torch_needs_no_cache(compiled: CompiledBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path / "cache"))
    assert isinstance(open_engine(compiled.bundle, "torch"), TorchEngine)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("kind", "precision", "message"),
    [
        ("onyx", "fp32", "auto, tensorrt"),
        ("onnx", "bf16", "use fp32"),
        ("torch", "fp16", "use fp32"),
        ("cuda", "int8", "use fp32, fp16, bf16"),
        ("auto", "int8", "no engine works here in int8"),
    ],
)
def test_engines_and_precisions_there_are_none_of_are_refused(
    compiled: CompiledBundle, kind: str, precision: str, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        open_engine(compiled.bundle, kind, precision)


def test_serving_from_the_cache_needs_no_pytorch(compiled: CompiledBundle) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from models.bundle import load_bundle; from models.opening import open_engine;"
        "engine = open_engine(load_bundle(Path(sys.argv[1])));"
        "print(engine.name, 'torch' in sys.modules)"
    )
    environment = {**os.environ, "MEDUSA_CACHE": str(compiled.cache)}
    found = subprocess.run(
        [sys.executable, "-c", code, str(compiled.bundle.folder)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.split() == ["onnx", "False"]


def test_auto_says_what_it_took_and_why_nothing_better(
    compiled: CompiledBundle, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        open_engine(compiled.bundle)
    assert "engine auto: onnx (tensorrt: there is no NVIDIA driver" in caplog.text


def test_auto_takes_captured_graphs_where_there_is_a_gpu_and_no_tensorrt(
    compiled: CompiledBundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_driver_is_there", lambda: True)
    monkeypatch.setattr(opening, "TENSORRT", ("tensorrt", "tensorrt_rtx"))

    def without_tensorrt(order: Order) -> None:
        raise EngineError(f"{order.target} cannot be imported")

    monkeypatch.setattr(opening, "compile_engine", without_tensorrt)
    monkeypatch.setattr(
        "models.engines.cuda.CudaEngine", lambda ensemble, precision: CudaEngine(ensemble, launcher=EagerLauncher())
    )
    assert open_engine(compiled.bundle).name == "cuda"


@pytest.mark.parametrize("kind", ["tensorrt", "tensorrt_rtx", "cuda"])
def test_a_gpu_engine_asked_for_without_a_gpu_is_an_error(compiled: CompiledBundle, kind: str) -> None:
    with pytest.raises(EngineError, match="no NVIDIA driver"):
        open_engine(compiled.bundle, kind)
