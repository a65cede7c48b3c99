"""TensorRT engines built for named capabilities on a machine without a GPU, by the real library."""

from __future__ import annotations

import hashlib
import sys
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from models.bundle import Bundle, find_bundle, load_bundle
from models.engines import tensorrt
from models.engines.tensorrt import (
    DEFAULT_CAPABILITIES,
    BuildProgress,
    BuiltEngine,
    build_engine,
    inspect_engine,
    refit_engine,
)
from models.engines.tensorrt_file import pack_engine, read_engine
from models.engines.tensorrt_library import Library, plain_capability, tensorrt_library
from models.engines.tensorrt_shapes import ShapeBucket, Sizes, default_buckets
from models.engines.tensorrt_weights import numbered, structure_sha256
from models.errors import EngineError
from models.graphs.ensemble import ensemble_graph
from models.graphs.graph import Graph
from models.graphs.text import ARCHITECTURES, TextGraph, emit_text_encoder
from models.modalities import Modality
from tests.fakes.bundles import tiny_bundle
from tests.fakes.checkpoints import tiny_checkpoint
from tests.fakes.gpus import FakeCuda

pytest.importorskip("tensorrt_rtx", reason="the wheel of TensorRT for RTX is for Linux on x86-64")

SMALL = (ShapeBucket(Sizes((1, 4), 1), {"x": Sizes((1, 8), 8)}),)


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return load_bundle(find_bundle("base"))


@pytest.fixture(scope="module")
def built(shipped: Bundle) -> BuiltEngine:
    """The shipped bundle in half precision, for four capabilities at once."""
    graph = ensemble_graph(shipped.ensemble(), kind=np.float16)
    return build_engine(graph, default_buckets(shipped.modalities), capabilities=("SM80", "SM86", "SM89", "SM120"))


def small_graph(weight: float = 2.0) -> bytes:
    """One product: features and lengths in, one output."""
    graph = Graph("small")
    x = graph.input("x_features", np.float32, ("batch", "time", 4))
    lengths = graph.input("x_lengths", np.int64, ("batch",))
    y = graph.op("MatMul", x, graph.constant(np.full((4, 4), weight, np.float32)))
    counts = graph.op("Cast", graph.reshape(lengths, (-1, 1, 1)), to=1)
    graph.output("y", graph.op("Add", y, counts), np.float32, ("batch", "time", 4))
    return graph.serialise()


def other_structure() -> bytes:
    graph = Graph("other")
    x = graph.input("x_features", np.float32, ("batch", "time", 4))
    graph.output("y", graph.op("Add", x, graph.constant(np.ones((4, 4), np.float32))), np.float32, ("b", "t", 4))
    return graph.serialise()


@pytest.fixture(scope="module")
def small() -> BuiltEngine:
    return build_engine(small_graph(), SMALL, capabilities=("8.9",))


def test_the_shipped_bundle_is_built_for_four_capabilities(built: BuiltEngine) -> None:
    assert built.record.capabilities == ("8.0", "8.6", "8.9", "12.0") == DEFAULT_CAPABILITIES
    assert built.record.library == "tensorrt_rtx"
    assert built.record.engine_bytes < len(built.content) < 150e6


def test_its_inputs_and_outputs_are_those_of_the_bundle(built: BuiltEngine, shipped: Bundle) -> None:
    inputs = {entry.name: (entry.dtype, entry.shape) for entry in built.record.inputs}
    assert inputs == {
        **{f"{m.name}_features": ("float32", (-1, -1, m.dim)) for m in shipped.modalities},
        **{f"{m.name}_lengths": ("int64", (-1,)) for m in shipped.modalities},
    }
    assert [(entry.name, entry.dtype, entry.shape) for entry in built.record.outputs] == [
        ("probabilities", "float32", (-1, len(shipped.manifest.labels))),
        ("attributes", "float32", (-1, 3)),
    ]


def test_its_profile_spans_batches_to_128_and_speech_to_30_s(built: BuiltEngine) -> None:
    (profile,) = built.record.profiles
    assert profile.batch.steps == (1, 8, 32, 128)
    assert profile.times["acoustic"].steps == (1, 19, 63, 188)
    assert profile.shapes("acoustic_features", (-1, -1, 512)) == ((1, 1, 512), (8, 19, 512), (128, 188, 512))
    assert profile.shapes("text_lengths", (-1,)) == ((1,), (8,), (128,))


def test_its_products_are_in_half_precision_and_its_answers_in_single(built: BuiltEngine) -> None:
    layers = built.record.layers
    assert built.record.precision == "fp16"
    assert layers["matrix_multiply"]["float16"] > 20 * layers["matrix_multiply"]["float32"]
    assert set(layers["normalization"]) == {"float16"}
    assert layers["identity"] == {"float32": 2}


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_a_text_encoder_inside_is_built_too(architecture: str, tmp_path: Path) -> None:
    """With a profile from one token between those that open and close a text."""
    folder = tiny_checkpoint(architecture, tmp_path)
    text = TextGraph.read(folder, layers=1)
    words = Modality("text", "linguistic", architecture, text.dim)
    graph = Graph("text")
    tokens = graph.input("text_tokens", np.int64, ("batch", "text_time"))
    lengths = graph.input("text_lengths", np.int64, ("batch",))
    graph.output("y", emit_text_encoder(graph, text, tokens, lengths), np.float32, ("batch", "time", text.dim))
    built = build_engine(graph.serialise(), default_buckets([words], seconds=(3,)))
    assert built.record.inputs[0].dtype == "int64"
    assert built.record.profiles[0].shapes("text_tokens", (-1, -1)) == ((1, 3), (8, 20), (128, 20))


def test_inspection_without_a_gpu_tells_what_was_recorded(small: BuiltEngine) -> None:
    inspection = inspect_engine(small.content)
    assert inspection.record == small.record
    assert inspection.file_bytes == len(small.content)


def test_a_graph_in_single_precision_is_an_engine_in_single_precision(small: BuiltEngine) -> None:
    assert small.record.precision == "fp32"
    assert small.record.layers["matrix_multiply"] == {"float32": 1}


def test_a_damaged_engine_is_refused(small: BuiltEngine) -> None:
    content = bytearray(small.content)
    content[len(content) // 2] ^= 1
    with pytest.raises(EngineError, match="damaged or cut off"):
        inspect_engine(bytes(content))


@pytest.mark.parametrize("kept", [0, 10, 40, 200, -1])
def test_a_cut_off_engine_is_refused(small: BuiltEngine, kept: int) -> None:
    with pytest.raises(EngineError, match="build it again"):
        inspect_engine(small.content[:kept])


@pytest.mark.parametrize("foreign", [b"", b"not an engine", b"ONNX" * 1000])
def test_a_foreign_file_is_refused(foreign: bytes) -> None:
    with pytest.raises(EngineError, match="no TensorRT engine of ours"):
        inspect_engine(foreign)


def test_a_stale_engine_is_refused(small: BuiltEngine) -> None:
    graph = small_graph()
    assert inspect_engine(small.content, graph_sha256=hashlib.sha256(graph).hexdigest()).record == small.record
    with pytest.raises(EngineError, match="built from another graph"):
        inspect_engine(small.content, graph_sha256=hashlib.sha256(small_graph(3.0)).hexdigest())


def test_a_build_tells_how_far_it_is() -> None:
    told: list[BuildProgress] = []
    build_engine(small_graph(), SMALL, progress=told.append)
    assert {"Building engine"} < {one.phase for one in told}
    assert all(1 <= one.step <= one.steps for one in told)


def test_what_progress_raises_stops_the_build() -> None:
    told: list[BuildProgress] = []

    def stop(progress: BuildProgress) -> None:
        told.append(progress)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(small_graph(), SMALL, progress=stop)
    assert len(told) == 1


def test_a_graph_that_is_none_is_refused() -> None:
    with pytest.raises(EngineError, match="TensorRT cannot read the graph"):
        build_engine(b"not a graph", SMALL)


def test_an_operation_that_tensorrt_lacks_is_named() -> None:
    graph = Graph("unknown")
    x = graph.input("x_features", np.float32, ("batch", "time", 4))
    graph.output("y", graph.op("Det", graph.reshape(x, (-1, 2, 2))), np.float32, ("rows",))
    with pytest.raises(EngineError, match="Det det_"):
        build_engine(graph.serialise(), SMALL)


def test_an_input_without_sizes_is_named() -> None:
    other = (ShapeBucket(Sizes((1,), 1), {"voice": Sizes((1, 8), 8)}),)
    with pytest.raises(EngineError, match="the graph reads x_features, the bucket has sizes for voice"):
        build_engine(small_graph(), other)


@pytest.mark.parametrize(("name", "said"), [("9.0", "there are 7.5, 8.0"), ("fast", "no compute capability")])
def test_an_unknown_capability_is_refused(name: str, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        build_engine(small_graph(), SMALL, capabilities=(name,))


@pytest.mark.parametrize("name", ["8.9", "SM89", "sm_89", "89"])
def test_capabilities_are_written_in_several_ways(name: str) -> None:
    assert plain_capability(name) == "8.9"


def test_nothing_to_build_for_is_refused() -> None:
    with pytest.raises(EngineError, match="one bucket of shapes and one compute capability"):
        build_engine(small_graph(), SMALL, capabilities=())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "tensorrt_rtx and tensorrt cannot be imported: pip install tensorrt-rtx-cu13"),
        ("tensorrt", "tensorrt cannot be imported: pip install tensorrt "),
        ("openvino", "no library 'openvino': there are tensorrt_rtx, tensorrt"),
    ],
)
def test_a_library_that_is_not_there_is_named_with_its_package(
    name: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match=said):
        tensorrt_library.__wrapped__(name)


def test_an_engine_built_as_it_is_takes_no_other_weights(small: BuiltEngine) -> None:
    with pytest.raises(EngineError, match="takes no other weights"):
        refit_engine(small.content, small_graph(3.0))


class Refits:
    """A library on a GPU that takes weights; what it cannot do without one is a fake here."""

    def __init__(self, built: BuiltEngine, *, takes: bool = True) -> None:
        self.graphs: list[bytes] = []
        self.takes = takes
        refitter = SimpleNamespace(refit_cuda_engine=lambda: True)
        engine = SimpleNamespace(
            create_serialization_config=lambda: SimpleNamespace(set_flag=lambda flag: None),
            serialize_with_config=lambda settings: np.frombuffer(b"refitted", np.uint8),
        )
        module = SimpleNamespace(
            Runtime=lambda log: SimpleNamespace(deserialize_cuda_engine=lambda content: engine),
            Refitter=lambda engine, log: refitter,
            OnnxParserRefitter=lambda refitter, log: SimpleNamespace(refit_from_bytes=self.refit),
            SerializationFlag=SimpleNamespace(INCLUDE_REFIT=1),
        )
        log = SimpleNamespace(errors=deque())
        self.library = Library(built.record.library, built.record.library_version, module, log)

    def refit(self, graph: bytes, path: str | None) -> bool:
        assert path is None
        self.graphs.append(graph)
        return self.takes


@pytest.fixture
def refittable(small: BuiltEngine) -> bytes:
    record = small.record.model_copy(update={"structure_sha256": structure_sha256(small_graph())})
    return pack_engine(record, read_engine(small.content).engine)


@pytest.fixture
def gpu(small: BuiltEngine, monkeypatch: pytest.MonkeyPatch) -> Refits:
    refits = Refits(small)
    monkeypatch.setattr(tensorrt, "Cuda", FakeCuda)
    monkeypatch.setattr(tensorrt, "tensorrt_library", lambda name: refits.library)
    return refits


def test_other_weights_are_given_by_their_place(refittable: bytes, gpu: Refits) -> None:
    file = read_engine(refit_engine(refittable, small_graph(3.0)))
    assert gpu.graphs == [numbered(small_graph(3.0))]
    assert bytes(file.engine) == b"refitted"
    assert file.record.graph_sha256 == hashlib.sha256(small_graph(3.0)).hexdigest()


def test_weights_that_tensorrt_does_not_take_are_an_error(refittable: bytes, gpu: Refits) -> None:
    gpu.takes = False
    with pytest.raises(EngineError, match="does not take the new weights"):
        refit_engine(refittable, small_graph(3.0))


def test_a_graph_of_another_structure_is_no_other_weights(refittable: bytes) -> None:
    with pytest.raises(EngineError, match="differs from the engine's in more than its weights"):
        refit_engine(refittable, other_structure())


def test_two_bundles_of_the_same_members_differ_in_nothing_but_weights(tmp_path: Path) -> None:
    first, second = (ensemble_graph(tiny_bundle(tmp_path / str(seed), seed=seed).ensemble()) for seed in (0, 1))
    wider = ensemble_graph(tiny_bundle(tmp_path / "wide", width=16).ensemble())
    assert first != second
    assert structure_sha256(first) == structure_sha256(second) != structure_sha256(wider)
    assert numbered(numbered(first)) == numbered(first)
