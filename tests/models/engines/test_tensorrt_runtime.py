"""What runs TensorRT engines, on a GPU and a library that are fakes: padding, memory, recorded work, errors."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle import Bundle
from models.engines import tensorrt
from models.engines.base import Engine, EngineOutput
from models.engines.graph_inputs import feature_input, length_input
from models.engines.onnx import OnnxEngine
from models.engines.tensorrt_file import EngineRecord, TensorEntry, pack_engine
from models.engines.tensorrt_lanes import MOST_SHAPES
from models.engines.tensorrt_memory import Memory
from models.engines.tensorrt_runtime import TensorRTEngine
from models.engines.tensorrt_shapes import ShapeBucket, Sizes
from models.errors import EngineError, FeatureError
from models.graphs.ensemble import ensemble_graph
from models.modalities import PaddedBatch
from tests.fakes.bundles import tiny_bundle
from tests.fakes.gpus import FakeCuda, FakeEngine, fake_library

ENGINE = b"what TensorRT wrote"
TIMES = {"acoustic": (1, 6, 12), "prosody": (1, 6, 12), "text": (1, 4)}


def bucket(*batches: int, longest: int = 99) -> ShapeBucket:
    times = {name: tuple(step for step in steps if step <= longest) for name, steps in TIMES.items()}
    return ShapeBucket(Sizes(batches, batches[0]), {name: Sizes(steps, steps[-1]) for name, steps in times.items()})


@dataclass(frozen=True)
class Made:
    """An engine and the fakes beneath it."""

    engine: TensorRTEngine
    cuda: FakeCuda
    inside: FakeEngine


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def graph(bundle: Bundle) -> bytes:
    return ensemble_graph(bundle.ensemble())


@pytest.fixture(scope="module")
def reference(bundle: Bundle, graph: bytes) -> OnnxEngine:
    return OnnxEngine(graph, bundle.modalities, threads=1)


def file_of(bundle: Bundle, *profiles: ShapeBucket, library: str = "tensorrt_rtx", version: str = "1.0") -> bytes:
    inputs = []
    for m in bundle.modalities:
        inputs.append(TensorEntry(name=feature_input(m.name), dtype="float32", shape=(-1, -1, m.dim)))
        inputs.append(TensorEntry(name=length_input(m.name), dtype="int64", shape=(-1,)))
    outputs = [("probabilities", len(bundle.manifest.labels)), ("attributes", 3)]
    record = EngineRecord(
        library=library,
        library_version=version,
        capabilities=("8.9",),
        precision="fp32",
        inputs=tuple(inputs),
        outputs=tuple(TensorEntry(name=name, dtype="float32", shape=(-1, width)) for name, width in outputs),
        profiles=profiles or (bucket(1, 4, 8),),
        layers={},
        graph_sha256="0" * 64,
        structure_sha256=None,
        engine_bytes=len(ENGINE),
        build_s=1.0,
    )
    return pack_engine(record, ENGINE)


def made(bundle: Bundle, graph: bytes, *profiles: ShapeBucket, rtx: bool = True, **options: Any) -> Made:
    cuda = options.pop("cuda", None) or FakeCuda()
    library, opened = fake_library(cuda, {ENGINE: graph}, rtx=rtx)
    content = file_of(bundle, *profiles, library=library.name)
    engine = TensorRTEngine(content, bundle.modalities, cuda=cuda, library=library, **options)
    return Made(engine, cuda, opened[0])


def batch(bundle: Bundle, frames: list[dict[str, int]], seed: int = 0) -> dict[str, PaddedBatch]:
    rng = np.random.default_rng(seed)
    inputs = {}
    for m in bundle.modalities:
        lengths = np.array([row.get(m.name, 0) for row in frames], dtype=np.int64)
        features = rng.standard_normal((len(frames), max(1, int(lengths.max())), m.dim)).astype(np.float32)
        inputs[m.name] = PaddedBatch(features, lengths)
    return inputs


def assert_same(found: EngineOutput, wanted: EngineOutput) -> None:
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.attributes, wanted.attributes, rtol=0, atol=1e-5)


row = st.fixed_dictionaries({name: st.integers(0, steps[-1]) for name, steps in TIMES.items()}).filter(
    lambda row: any(row.values())
)


@pytest.mark.parametrize("rtx", [True, False])
@settings(deadline=None, max_examples=8)
@given(st.lists(st.tuples(st.lists(row, min_size=1, max_size=8), st.integers(0, 9)), min_size=1, max_size=3))
def test_padded_to_a_shape_rows_score_as_they_do_unpadded(
    bundle: Bundle, graph: bytes, reference: OnnxEngine, rtx: bool, calls: list[tuple[list[dict[str, int]], int]]
) -> None:
    one = made(bundle, graph, rtx=rtx)
    for frames, seed in calls:
        inputs = batch(bundle, frames, seed)
        assert_same(one.engine.run(inputs), reference.run(inputs))


def test_it_is_an_engine(bundle: Bundle, graph: bytes) -> None:
    engine = made(bundle, graph).engine
    assert isinstance(engine, Engine)
    assert (engine.name, engine.modalities, engine.reads_tokens) == ("tensorrt", bundle.modalities, frozenset())


def test_inputs_are_padded_to_the_next_shape(bundle: Bundle, graph: bytes) -> None:
    one = made(bundle, graph)
    one.engine.run(batch(bundle, [{"acoustic": 5, "text": 2}, {"acoustic": 3, "text": 2}]))
    shapes = {name: shape for _, name, shape in one.inside.shapes}
    assert shapes["acoustic_features"] == (4, 6, 512)
    assert shapes["prosody_features"] == (4, 1, 52)
    assert shapes["text_features"] == (4, 4, 384)
    assert shapes["text_lengths"] == (4,)


def test_the_first_profile_with_room_is_taken(bundle: Bundle, graph: bytes) -> None:
    one = made(bundle, graph, bucket(1, longest=6), bucket(1, 8, longest=6), bucket(1, 8))
    for frames, rows in ((3, 1), (3, 2), (9, 1)):
        one.engine.run(batch(bundle, [{"acoustic": frames}] * rows))
    assert list(dict.fromkeys(profile for profile, _, _ in one.inside.shapes)) == [0, 1, 2]


def test_what_no_shape_has_room_for_is_refused(bundle: Bundle, graph: bytes) -> None:
    engine = made(bundle, graph).engine
    with pytest.raises(
        FeatureError, match=r"'acoustic': 13.* do not fit into the engine, which takes .*'acoustic': 12"
    ):
        engine.run(batch(bundle, [{"acoustic": 13}]))
    with pytest.raises(FeatureError, match="do not fit into the engine: give it fewer rows at a time"):
        engine.layer_times_ms(batch(bundle, [{"acoustic": 2}] * 9))


def test_more_rows_than_it_takes_are_scored_in_parts(bundle: Bundle, graph: bytes, reference: OnnxEngine) -> None:
    one = made(bundle, graph, bucket(1, 4, longest=6), bucket(1, 2))
    for frames in (5, 9):
        inputs = batch(bundle, [{"acoustic": frames, "text": row % 3} for row in range(9)])
        assert_same(one.engine.run(inputs), reference.run(inputs))
    shapes = {shape[:2] for _, name, shape in one.inside.shapes if name == "acoustic_features"}
    assert shapes == {(4, 6), (1, 6), (2, 12), (1, 12)}


@pytest.mark.parametrize("rtx", [True, False])
def test_a_shape_takes_memory_once(bundle: Bundle, graph: bytes, rtx: bool) -> None:
    one = made(bundle, graph, rtx=rtx)
    one.engine.run(batch(bundle, [{"acoustic": 5}]))
    held = set(one.cuda.memory)
    for seed in range(3):
        one.engine.run(batch(bundle, [{"acoustic": 4}], seed))
    assert set(one.cuda.memory) == held
    assert one.inside.contexts == 1


def test_work_is_recorded_once_and_replayed(bundle: Bundle, graph: bytes) -> None:
    one = made(bundle, graph, rtx=False)
    one.engine.run(batch(bundle, [{"acoustic": 5}]))
    one.cuda.asked.clear()
    one.engine.run(batch(bundle, [{"acoustic": 4}], 1))
    assert one.cuda.asked == ["use", "replay", "wait"]
    assert len(one.cuda.captures) == 1


def test_a_library_that_records_by_itself_is_told_to(bundle: Bundle, graph: bytes) -> None:
    one = made(bundle, graph, rtx=True)
    one.engine.run(batch(bundle, [{"acoustic": 5}]))
    assert one.inside.settings.cuda_graph_strategy == "whole graph"
    assert one.inside.settings.strategy == "user managed"
    assert not one.cuda.captures


def test_work_that_cannot_be_recorded_is_done_all_the_same(
    bundle: Bundle, graph: bytes, reference: OnnxEngine, caplog: pytest.LogCaptureFixture
) -> None:
    cuda = FakeCuda()
    cuda.captures_fail = True
    inputs = batch(bundle, [{"acoustic": 5}])
    with caplog.at_level(logging.WARNING):
        found = made(bundle, graph, rtx=False, cuda=cuda).engine.run(inputs)
    assert_same(found, reference.run(inputs))
    assert "is not recorded" in caplog.text


def test_memory_of_the_shape_used_longest_ago_is_given_back(bundle: Bundle, graph: bytes) -> None:
    times = Sizes(tuple(range(1, MOST_SHAPES + 3)), 1)
    one = made(bundle, graph, ShapeBucket(Sizes((1,), 1), dict.fromkeys(TIMES, times)), rtx=False)
    for frames in range(1, MOST_SHAPES + 3):
        one.engine.run(batch(bundle, [{"acoustic": frames}]))
    assert len(one.cuda.captures) == MOST_SHAPES


@pytest.mark.parametrize("rtx", [True, False])
def test_closed_it_holds_nothing(bundle: Bundle, graph: bytes, rtx: bool) -> None:
    one = made(bundle, graph, rtx=rtx)
    one.engine.run(batch(bundle, [{"acoustic": 5}]))
    one.engine.close()
    assert (one.cuda.memory, one.cuda.streams, one.cuda.captures) == ({}, set(), set())


def test_calls_from_several_threads_get_their_own_answers(bundle: Bundle, graph: bytes, reference: OnnxEngine) -> None:
    one = made(bundle, graph)
    start = threading.Barrier(4)

    def call(seed: int) -> None:
        inputs = batch(bundle, [{"acoustic": 1 + seed, "text": 2}], seed)
        wanted = reference.run(inputs)
        start.wait()
        for _ in range(5):
            assert_same(one.engine.run(inputs), wanted)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(4)))


def test_a_second_lane_is_not_used_where_calls_never_meet(bundle: Bundle, graph: bytes) -> None:
    one = made(bundle, graph, lanes=3)
    for _ in range(4):
        one.engine.run(batch(bundle, [{"acoustic": 5}]))
    assert one.inside.contexts == 1


def test_a_failing_call_says_why_and_the_next_starts_afresh(
    bundle: Bundle, graph: bytes, reference: OnnxEngine
) -> None:
    one = made(bundle, graph)
    inputs = batch(bundle, [{"acoustic": 5}])
    one.engine.run(inputs)
    one.inside.computes_fail = True
    with pytest.raises(EngineError, match="does not compute: no kernel image is available"):
        one.engine.run(inputs)
    assert not one.cuda.memory
    one.inside.computes_fail = False
    assert_same(one.engine.run(inputs), reference.run(inputs))


@pytest.mark.parametrize("rtx", [True, False])
def test_layers_are_timed_with_nothing_recorded(bundle: Bundle, graph: bytes, rtx: bool) -> None:
    one = made(bundle, graph, rtx=rtx)
    assert one.engine.layer_times_ms(batch(bundle, [{"acoustic": 5}])) == {"everything": 1.5}
    assert not one.cuda.captures
    assert not rtx or one.inside.settings.cuda_graph_strategy == "disabled"
    assert not one.cuda.memory


def test_on_a_gpu_inspection_tells_what_the_engine_became(
    bundle: Bundle, graph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda()
    library, _ = fake_library(cuda, {ENGINE: graph}, rtx=True)
    monkeypatch.setattr(tensorrt, "Cuda", lambda: cuda)
    monkeypatch.setattr(tensorrt, "tensorrt_library", lambda name: library)
    inspection = tensorrt.inspect_engine(file_of(bundle))
    assert inspection.device_memory_bytes == 4096
    assert inspection.compiled_layers == ("layer 0 as one line",)
    assert inspection.not_opened is None


def test_an_answer_that_is_no_number_is_an_error(bundle: Bundle, graph: bytes) -> None:
    one = made(bundle, graph)
    one.inside.answers_are_rubbish = True
    with pytest.raises(EngineError, match="not finite"):
        one.engine.run(batch(bundle, [{"acoustic": 5}]))


def test_kernels_of_an_earlier_process_are_taken_up(bundle: Bundle, graph: bytes, tmp_path: Path) -> None:
    kernels = Memory(tmp_path / "kernels")
    kernels.keep(b"kernels of yesterday")
    assert made(bundle, graph, kernels=kernels).engine.runtime_cache() == b"kernels of yesterday"
    assert made(bundle, graph, kernels=kernels, rtx=False).engine.runtime_cache() is None


def test_kernels_are_kept_when_a_shape_was_met_for_the_first_time(bundle: Bundle, graph: bytes, tmp_path: Path) -> None:
    kernels = Memory(tmp_path / "not there yet" / "kernels")
    engine = made(bundle, graph, kernels=kernels).engine
    assert kernels.recall() is None

    engine.run(batch(bundle, [{"acoustic": 5}]))
    assert kernels.recall() == b"kernels"
    kernels.path.unlink()
    engine.run(batch(bundle, [{"acoustic": 4}]))
    assert kernels.recall() is None
    engine.run(batch(bundle, [{"acoustic": 9}]))
    assert kernels.recall() == b"kernels"


def test_where_kernels_cannot_be_kept_the_engine_answers_all_the_same(
    bundle: Bundle, graph: bytes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    engine = made(bundle, graph, kernels=Memory(tmp_path / "file" / "kernels")).engine
    assert np.isfinite(engine.run(batch(bundle, [{"acoustic": 5}])).probabilities).all()


def test_kernels_that_do_not_fit_are_compiled_again(
    bundle: Bundle, graph: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kernels = Memory(tmp_path / "kernels")
    kernels.keep(b"of another driver")
    with caplog.at_level(logging.WARNING):
        one = made(bundle, graph, kernels=kernels)
    assert one.engine.runtime_cache() == b"kernels"
    assert "do not fit" in caplog.text


def test_an_engine_of_another_version_is_refused(bundle: Bundle, graph: bytes) -> None:
    cuda = FakeCuda()
    library, _ = fake_library(cuda, {ENGINE: graph}, rtx=True, version="2.0")
    with pytest.raises(EngineError, match=r"built by tensorrt_rtx 1\.0, here is tensorrt_rtx 2\.0"):
        TensorRTEngine(file_of(bundle), bundle.modalities, cuda=cuda, library=library)


def test_an_engine_of_the_other_library_is_refused(bundle: Bundle, graph: bytes) -> None:
    cuda = FakeCuda()
    library, _ = fake_library(cuda, {ENGINE: graph}, rtx=False)
    with pytest.raises(EngineError, match=r"built by tensorrt_rtx 1\.0, here is tensorrt 1\.0"):
        TensorRTEngine(file_of(bundle), bundle.modalities, cuda=cuda, library=library)


def test_an_engine_that_the_gpu_does_not_run_is_refused_with_the_reason(bundle: Bundle) -> None:
    cuda = FakeCuda()
    library, _ = fake_library(cuda, {}, rtx=True)
    with pytest.raises(EngineError, match=r"built for compute capability 8\.9: compute capability 7\.0 is not supp"):
        TensorRTEngine(file_of(bundle), bundle.modalities, cuda=cuda, library=library)


def test_an_engine_of_another_bundle_is_refused(bundle: Bundle, graph: bytes) -> None:
    cuda = FakeCuda()
    library, _ = fake_library(cuda, {ENGINE: graph}, rtx=True)
    with pytest.raises(EngineError, match=r"the graph reads .* the bundle gives \['text_features', 'text_lengths'\]"):
        TensorRTEngine(file_of(bundle), bundle.modalities[-1:], cuda=cuda, library=library)
