"""From a bundle to an engine: checked before it is used, kept in a cache that may be damaged."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import models.compile as compiler
from models.admission import TOLERANCE
from models.bundle import Bundle
from models.compile import compile_bundle, open_engine
from models.engines import store
from models.engines.base import EngineOutput
from models.engines.onnx import OnnxEngine
from models.engines.store import engine_cache
from models.engines.torch import TorchEngine
from models.errors import EngineError
from tests.fakes.bundles import CompiledBundle, tiny_bundle


@pytest.fixture
def cache(compiled: CompiledBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the cache, to damage; holds the engine of `compiled.bundle`."""
    monkeypatch.setenv("MEDUSA_CACHE", str(shutil.copytree(compiled.cache, tmp_path / "cache")))
    return tmp_path / "cache"


@pytest.fixture
def exports(compiled: CompiledBundle, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Exports that happened, each of which hands out the graph that is known to be right."""
    happened: list[str] = []
    graph = Path(compiled.report.path).read_bytes()

    def export(bundle: Bundle, _text: object) -> bytes:
        happened.append(bundle.manifest.name)
        return graph

    monkeypatch.setattr(compiler, "export_onnx", export)
    return happened


def no_export(bundle: Bundle, _text: object) -> bytes:
    raise EngineError("PyTorch cannot export this ensemble to ONNX: unsupported")


def test_the_report_says_how_near_the_engine_is(compiled: CompiledBundle) -> None:
    report = compiled.report
    assert (report.engine, report.precision, report.cached) == ("onnx", "fp32", False)
    assert 0 <= report.largest_difference <= TOLERANCE
    assert report.label_agreement == 1.0
    assert report.rows >= 12
    assert report.seconds > 0
    assert Path(report.path).is_relative_to(compiled.cache / "engines")


def test_an_engine_is_compiled_once(compiled: CompiledBundle, cache: Path, exports: list[str]) -> None:
    report = compile_bundle(compiled.bundle)
    assert exports == []
    assert report.cached
    assert Path(report.path).is_relative_to(cache)
    assert report.largest_difference == compiled.report.largest_difference


def test_it_is_compiled_again_when_forced(compiled: CompiledBundle, cache: Path, exports: list[str]) -> None:
    assert not compile_bundle(compiled.bundle, force=True).cached
    assert exports == ["tiny"]


@pytest.mark.parametrize("name", ["engine-*.onnx", "engine.json"])
@pytest.mark.parametrize("damage", ["changed", "truncated", "emptied", "deleted"])
def test_a_damaged_cache_is_built_again(
    compiled: CompiledBundle, cache: Path, exports: list[str], name: str, damage: str
) -> None:
    (path,) = cache.rglob(name)
    content = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    else:
        changed = bytes([content[0] ^ 1]) + content[1:]
        path.write_bytes({"changed": changed, "truncated": content[:-20], "emptied": b""}[damage])
    assert not compile_bundle(compiled.bundle).cached
    assert exports == ["tiny"]
    assert compile_bundle(compiled.bundle).cached
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".incoming")] == []


def test_a_cached_report_of_another_release_is_built_again(
    compiled: CompiledBundle, cache: Path, exports: list[str]
) -> None:
    (path,) = cache.rglob("engine.json")
    path.write_text('["a list"]')
    assert not compile_bundle(compiled.bundle).cached


def test_bundles_and_library_versions_do_not_share_an_engine(
    compiled: CompiledBundle, cache: Path, exports: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Path(compile_bundle(compiled.bundle).path)
    renamed = dataclasses.replace(compiled.bundle, sha256="0" * 64)
    assert Path(compile_bundle(renamed).path) != ours
    monkeypatch.setattr("importlib.metadata.version", lambda _: "99")
    assert Path(compile_bundle(compiled.bundle).path) != ours
    assert exports == ["tiny", "tiny"]


def test_an_engine_that_answers_otherwise_than_pytorch_is_not_admitted(
    compiled: CompiledBundle, cache: Path, exports: list[str], tmp_path: Path
) -> None:
    other = tiny_bundle(tmp_path / "other", seed=1)
    with pytest.raises(EngineError, match="the engine differs from PyTorch by"):
        compile_bundle(other)
    assert exports == ["tiny"]
    assert len(list(cache.rglob("engine-*.onnx"))) == 1


def test_an_engine_that_answers_nan_is_not_admitted(
    compiled: CompiledBundle, cache: Path, exports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nan(self: OnnxEngine, inputs: object) -> EngineOutput:
        return EngineOutput(np.full((12, 7), np.nan, dtype=np.float32), np.ones((12, 3), dtype=np.float32))

    monkeypatch.setattr(OnnxEngine, "run", nan)
    with pytest.raises(EngineError, match="differs from PyTorch by nan"):
        compile_bundle(compiled.bundle, force=True)


def test_auto_is_onnx_runtime(compiled: CompiledBundle, cache: Path) -> None:
    assert isinstance(open_engine(compiled.bundle), OnnxEngine)


def test_auto_falls_back_to_pytorch_and_says_why(
    compiled: CompiledBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path))
    monkeypatch.setattr(compiler, "export_onnx", no_export)
    with caplog.at_level(logging.WARNING):
        assert isinstance(open_engine(compiled.bundle), TorchEngine)
    assert "PyTorch cannot export this ensemble to ONNX: unsupported" in caplog.text


def test_onnx_asked_for_and_not_to_be_had_is_an_error(
    compiled: CompiledBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path))
    monkeypatch.setattr(compiler, "export_onnx", no_export)
    with pytest.raises(EngineError, match="unsupported"):
        open_engine(compiled.bundle, "onnx")


def test_a_cache_that_cannot_be_written_is_named_and_the_engine_is_used_all_the_same(
    compiled: CompiledBundle,
    exports: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineError, match=r"cannot be kept in .*/file/engines/.*point MEDUSA_CACHE"):
        compile_bundle(compiled.bundle)
    with caplog.at_level(logging.WARNING):
        assert isinstance(open_engine(compiled.bundle), OnnxEngine)
    assert "built anew at every start" in caplog.text


def test_torch_needs_no_cache(compiled: CompiledBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path / "cache"))
    assert isinstance(open_engine(compiled.bundle, "torch"), TorchEngine)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("kind", "precision", "message"), [("cuda", "fp32", "auto, onnx, torch"), ("onnx", "int8", "use fp32")]
)
def test_engines_and_precisions_there_are_none_of_are_refused(
    compiled: CompiledBundle, kind: str, precision: str, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        open_engine(compiled.bundle, kind, precision)


def test_targets_there_are_none_of_are_refused(compiled: CompiledBundle) -> None:
    with pytest.raises(EngineError, match="cannot compile to tensorrt in fp16"):
        compile_bundle(compiled.bundle, "tensorrt", "fp16")


def test_the_cache_lies_in_the_users_cache_folder_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDUSA_CACHE", raising=False)
    monkeypatch.setattr(store, "user_cache_dir", lambda name, **_: f"/home/someone/.cache/{name}")
    assert engine_cache() == Path("/home/someone/.cache/medusa-live/engines")


def test_serving_from_the_cache_needs_no_pytorch(compiled: CompiledBundle) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from models.bundle import load_bundle; from models.compile import open_engine;"
        "engine = open_engine(load_bundle(Path(sys.argv[1])));"
        "print(engine.name, 'torch' in sys.modules)"
    )
    environment = {**os.environ, "MEDUSA_CACHE": str(compiled.cache)}
    found = subprocess.run(
        [sys.executable, "-c", code, str(compiled.bundle.folder)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.split() == ["onnx", "False"]
