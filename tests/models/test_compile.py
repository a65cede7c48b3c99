"""From a bundle to an engine: checked before it is used, kept in a cache that may be damaged."""

from __future__ import annotations

import dataclasses
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import models.compile as compiler
from models.admission import TOLERANCE
from models.compile import CompiledEngine, Order, check_engine, compile_engine, write_graph
from models.engine_places import key_of
from models.engines import store
from models.engines.base import EngineOutput
from models.engines.onnx import OnnxEngine
from models.engines.store import engine_cache
from models.engines.tensorrt_file import pack_engine, read_engine
from models.engines.torch import TorchEngine
from models.errors import EngineError
from models.inspection import inspect
from tests.fakes.bundles import CompiledBundle, tiny_bundle


@pytest.fixture
def cache(compiled: CompiledBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the cache, to damage; holds the engine of `compiled.bundle`."""
    monkeypatch.setenv("MEDUSA_CACHE", str(shutil.copytree(compiled.cache, tmp_path / "cache")))
    return tmp_path / "cache"


@dataclasses.dataclass
class KnownGraph:
    """A graph that was written before."""

    content: bytes
    weights_bytes: int = 0

    def serialise(self) -> bytes:
        return self.content


@pytest.fixture
def exports(compiled: CompiledBundle, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Exports that happened, each of which hands out the graph that is known to be right."""
    happened: list[str] = []
    graph = KnownGraph(Path(compiled.report.path).read_bytes())

    def export(order: Order, _ranges: object) -> KnownGraph:
        happened.append(order.bundle.manifest.name)
        return graph

    monkeypatch.setattr(compiler, "write_graph", export)
    return happened


def test_the_report_says_how_near_the_engine_is(compiled: CompiledBundle) -> None:
    report = compiled.report
    assert (report.engine, report.precision, report.cached) == ("onnx", "fp32", False)
    assert 0 <= report.largest_difference <= TOLERANCE
    assert report.label_agreement == 1.0
    assert report.rows >= 12
    assert report.seconds > 0
    assert Path(report.path).is_relative_to(compiled.cache / "engines")


def test_an_engine_is_compiled_once(compiled: CompiledBundle, cache: Path, exports: list[str]) -> None:
    report = compile_engine(Order(compiled.bundle)).report
    assert exports == []
    assert report.cached
    assert Path(report.path).is_relative_to(cache)
    assert report.largest_difference == compiled.report.largest_difference


def test_it_is_compiled_again_when_forced(compiled: CompiledBundle, cache: Path, exports: list[str]) -> None:
    assert not compile_engine(Order(compiled.bundle), force=True).report.cached
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
    assert not compile_engine(Order(compiled.bundle)).report.cached
    assert exports == ["tiny"]
    assert compile_engine(Order(compiled.bundle)).report.cached
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".incoming")] == []


@pytest.fixture
def in_two_files(compiled: CompiledBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CompiledBundle:
    """As if its weights were too many for a file."""
    monkeypatch.setattr(compiler, "MOST_FILE_BYTES", 10_000)
    monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path / "two"))
    return CompiledBundle(compiled.bundle, tmp_path / "two", compile_engine(Order(compiled.bundle)).report)


def test_more_weights_than_a_file_holds_lie_beside_the_graph(
    compiled: CompiledBundle, in_two_files: CompiledBundle
) -> None:
    order = Order(compiled.bundle)
    found = compile_engine(order)
    assert found.report.cached
    assert found.report.largest_difference is not None
    assert found.report.largest_difference <= TOLERANCE
    assert found.weights is not None
    assert found.weights.parent == Path(found.report.path).parent
    size = Path(found.report.path).stat().st_size
    assert size == len(found.content) < compiled.report.size_bytes - 20_000
    assert found.report.size_bytes == size + found.weights.stat().st_size
    assert check_engine(order).report == found.report
    inside = inspect(order, found)
    whole = inspect(order, CompiledEngine(Path(compiled.report.path).read_bytes(), compiled.report))
    assert (inside.weights_bytes, inside.size_bytes) == (whole.weights_bytes, found.report.size_bytes)


@pytest.mark.parametrize("name", ["engine-*.onnx", "weights-*"])
@pytest.mark.parametrize("damage", ["changed", "deleted"])
def test_an_engine_of_two_files_of_which_one_is_damaged_is_built_again(
    in_two_files: CompiledBundle, name: str, damage: str
) -> None:
    (path,) = in_two_files.cache.rglob(name)
    content = path.read_bytes()
    path.unlink()
    if damage == "changed":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert not compile_engine(Order(in_two_files.bundle)).report.cached
    assert path.read_bytes() == content
    assert compile_engine(Order(in_two_files.bundle)).report.cached


def test_what_is_too_large_for_a_file_needs_a_cache_that_can_be_written(
    in_two_files: CompiledBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineError, match=r"cannot be kept in .*/file/engines/.*point MEDUSA_CACHE"):
        compile_engine(Order(in_two_files.bundle))


def test_a_cached_report_of_another_release_is_built_again(
    compiled: CompiledBundle, cache: Path, exports: list[str]
) -> None:
    (path,) = cache.rglob("engine.json")
    path.write_text('["a list"]')
    assert not compile_engine(Order(compiled.bundle)).report.cached


def test_bundles_and_library_versions_do_not_share_an_engine(
    compiled: CompiledBundle, cache: Path, exports: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Path(compile_engine(Order(compiled.bundle)).report.path)
    renamed = dataclasses.replace(compiled.bundle, sha256="0" * 64)
    assert Path(compile_engine(Order(renamed)).report.path) != ours
    monkeypatch.setattr("importlib.metadata.version", lambda _: "99")
    assert Path(compile_engine(Order(compiled.bundle)).report.path) != ours
    assert exports == ["tiny", "tiny"]


def test_an_engine_that_answers_otherwise_than_pytorch_is_not_admitted(
    compiled: CompiledBundle, cache: Path, exports: list[str], tmp_path: Path
) -> None:
    other = tiny_bundle(tmp_path / "other", seed=1)
    with pytest.raises(EngineError, match="the engine differs from PyTorch by"):
        compile_engine(Order(other))
    assert exports == ["tiny"]
    assert len(list(cache.rglob("engine-*.onnx"))) == 1


def test_an_engine_that_answers_nan_is_not_admitted(
    compiled: CompiledBundle, cache: Path, exports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nan(self: OnnxEngine, inputs: object) -> EngineOutput:
        return EngineOutput(np.full((12, 7), np.nan, dtype=np.float32), np.ones((12, 3), dtype=np.float32))

    monkeypatch.setattr(OnnxEngine, "run", nan)
    with pytest.raises(EngineError, match="differs from PyTorch by nan"):
        compile_engine(Order(compiled.bundle), force=True)


def test_where_the_cache_cannot_be_written_the_engine_is_handed_over_with_the_reason(
    compiled: CompiledBundle, exports: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path / "file"))
    handed_over = compile_engine(Order(compiled.bundle))
    assert handed_over.content == Path(compiled.report.path).read_bytes()
    assert re.search(r"cannot be kept in .*/file/engines/.*point MEDUSA_CACHE", str(handed_over.fault))
    assert handed_over.report.path == ""


@pytest.mark.parametrize(
    ("target", "precision", "capabilities", "message"),
    [
        ("onyx", "fp32", (), "cannot compile to onyx in fp32: this release compiles to onnx in fp32, int8; ten"),
        ("onnx", "fp16", (), "cannot compile to onnx in fp16"),
        ("onnx", "fp32", ("8.9",), "onnx runs on the CPU"),
    ],
)
def test_what_cannot_be_compiled_is_refused(
    compiled: CompiledBundle, target: str, precision: str, capabilities: tuple[str, ...], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        Order(compiled.bundle, target, precision, capabilities=capabilities)


def test_engines_that_take_other_weights_are_tensorrts(compiled: CompiledBundle) -> None:
    with pytest.raises(EngineError, match="onnx is written anew in seconds"):
        Order(compiled.bundle, refittable=True)


def test_integers_are_for_encoders_that_stand_inside(compiled: CompiledBundle) -> None:
    with pytest.raises(EngineError, match="int8 is for encoders that stand inside, and none can"):
        write_graph(Order(compiled.bundle, precision="int8"))
    with pytest.raises(EngineError, match="members are in fp32 already in int8 on onnx"):
        Order(compiled.bundle, precision="int8", keep_fp32=("head",))


def test_a_cached_engine_is_checked_again_on_request(compiled: CompiledBundle, cache: Path) -> None:
    assert check_engine(Order(compiled.bundle)).report.largest_difference == compiled.report.largest_difference
    shutil.rmtree(cache)
    with pytest.raises(EngineError, match="no onnx engine of tiny is in the cache: compile it first"):
        check_engine(Order(compiled.bundle))


def test_the_cache_lies_in_the_users_cache_folder_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDUSA_CACHE", raising=False)
    monkeypatch.setattr(store, "user_cache_dir", lambda name, **_: f"/home/someone/.cache/{name}")
    assert engine_cache() == Path("/home/someone/.cache/medusa-live/engines")


CAPABILITIES = ("8.6",)


def for_cards(compiled: CompiledBundle, precision: str = "fp32") -> Order:
    return Order(compiled.bundle, "tensorrt_rtx", precision, capabilities=CAPABILITIES)


@pytest.fixture(scope="module")
def built(compiled: CompiledBundle, tmp_path_factory: pytest.TempPathFactory) -> CompiledBundle:
    pytest.importorskip("tensorrt_rtx")
    folder = tmp_path_factory.mktemp("tensorrt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDUSA_CACHE", str(folder))
        return CompiledBundle(compiled.bundle, folder, compile_engine(for_cards(compiled)).report)


class TestTensorRT:
    """Built for cards that are not here: kept, refused where it is not what was written, checked where it runs."""

    @pytest.fixture
    def own(self, built: CompiledBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The file of the engine, in a cache of this test's own."""
        monkeypatch.setenv("MEDUSA_CACHE", str(shutil.copytree(built.cache, tmp_path / "cache")))
        (path,) = (tmp_path / "cache").rglob("engine-*.engine")
        return path

    def test_it_is_built_and_waits_for_its_check(self, built: CompiledBundle) -> None:
        report = built.report
        assert (report.engine, report.capabilities, report.rows) == ("tensorrt_rtx", CAPABILITIES, 0)
        assert report.largest_difference is None
        assert report.size_bytes == Path(report.path).stat().st_size

    def test_it_is_found_again(self, built: CompiledBundle, own: Path) -> None:
        assert compile_engine(for_cards(built)).report.cached

    def test_other_cards_and_precisions_have_engines_of_their_own(self, built: CompiledBundle, own: Path) -> None:
        keys = {key_of(order) for order in (for_cards(built), for_cards(built, "fp16"), Order(built.bundle))}
        keys.add(key_of(Order(built.bundle, "tensorrt_rtx", capabilities=("8.9",))))
        assert len(keys) == 4

    def test_a_damaged_one_is_built_again(self, built: CompiledBundle, own: Path) -> None:
        own.write_bytes(own.read_bytes()[:-1])
        assert not compile_engine(for_cards(built)).report.cached

    def test_one_of_another_version_is_built_again(
        self, built: CompiledBundle, own: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = read_engine(own.read_bytes())
        stale = pack_engine(file.record.model_copy(update={"library_version": "0.9"}), file.engine)
        place = store.EngineStore(own.parent.name)
        place.keep(stale, ".engine", dataclasses.asdict(built.report))
        with caplog.at_level(logging.WARNING):
            assert not compile_engine(for_cards(built)).report.cached
        assert "was built by tensorrt_rtx 0.9, here is" in caplog.text

    def test_it_cannot_be_checked_without_a_gpu(self, built: CompiledBundle, own: Path) -> None:
        with pytest.raises(EngineError, match="nothing here runs the tensorrt_rtx engine"):
            check_engine(for_cards(built))

    def test_where_it_runs_its_check_is_made_up_for_and_kept(
        self, built: CompiledBundle, own: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(compiler, "runnable", lambda order, *_: TorchEngine(order.bundle))
        assert check_engine(for_cards(built)).report.largest_difference == 0
        monkeypatch.undo()
        monkeypatch.setenv("MEDUSA_CACHE", str(own.parents[2]))
        report = compile_engine(for_cards(built)).report
        assert (report.cached, report.largest_difference, report.rows) == (True, 0, 12)

    def test_it_is_taken_apart_without_a_gpu(self, built: CompiledBundle, own: Path) -> None:
        order = for_cards(built)
        inside = inspect(order, compile_engine(order))
        assert inside.precision == "fp32"
        assert inside.capabilities == CAPABILITIES
        assert {t.name: t.dtype for t in inside.inputs}["acoustic_features"] == "float32"
        assert sum(inside.layers.values()) > 100
        assert inside.note is not None


def test_a_graph_is_taken_apart(compiled: CompiledBundle, cache: Path) -> None:
    order = Order(compiled.bundle)
    inside = inspect(order, compile_engine(order))
    assert (inside.engine, inside.precision, inside.note) == ("onnx", "fp32", None)
    assert {t.name: t.shape for t in inside.outputs} == {"probabilities": ("batch", 7), "attributes": ("batch", 3)}
    assert inside.layers["MatMul"] > 10
    assert 0 < (inside.weights_bytes or 0) < inside.size_bytes
