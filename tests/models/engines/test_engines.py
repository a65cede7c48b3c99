"""What every engine promises, for each engine."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.admission import TOLERANCE, check_inputs
from models.engines.base import Engine, EngineOutput
from models.engines.cuda import CudaEngine
from models.engines.launchers import EagerLauncher
from models.engines.onnx import OnnxEngine
from models.engines.torch import TorchEngine
from models.errors import EngineError, FeatureError
from models.graphs.ensemble import ensemble_graph
from models.inputs import Features, prepare
from models.modalities import PaddedBatch, pad
from tests.fakes.bundles import MEMBERS, CompiledBundle, tiny_bundle

NAMES = ("acoustic", "prosody", "text")
DIMS = {"acoustic": 512, "prosody": 52, "text": 384}
LONGEST = 12


@pytest.fixture(scope="session")
def torch_engine(compiled: CompiledBundle) -> TorchEngine:
    return TorchEngine(compiled.bundle)


@pytest.fixture(scope="session")
def onnx_engine(compiled: CompiledBundle) -> OnnxEngine:
    return OnnxEngine(Path(compiled.report.path), compiled.bundle.modalities, threads=1)


@pytest.fixture(scope="session")
def lanes_engine(tmp_path_factory: pytest.TempPathFactory) -> OnnxEngine:
    """Members of three shapes in two lanes; a batch is cut in two beside that."""
    folder = tmp_path_factory.mktemp("lanes") / "bundle"
    bundle = tiny_bundle(folder, widths={name: 4 + 4 * place for place, name in enumerate(MEMBERS)})
    return OnnxEngine(ensemble_graph(bundle.ensemble(), lanes=2), bundle.modalities, threads=4)


@pytest.fixture(scope="session")
def cuda_engine(compiled: CompiledBundle) -> CudaEngine:
    """On the CPU, where nothing is captured."""
    return CudaEngine(compiled.bundle.ensemble(), launcher=EagerLauncher())


@pytest.fixture(params=["torch_engine", "onnx_engine", "lanes_engine", "cuda_engine"], scope="session")
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(request.param)
    return found


@cache
def sequence(name: str, frames: int, seed: int) -> Features | None:
    rng = np.random.default_rng([seed, frames, NAMES.index(name)])
    return rng.standard_normal((frames, DIMS[name])).astype(np.float32) if frames else None


Row = tuple[int, int, int, int]
"""Frames of each modality, and a seed."""
rows = st.tuples(*[st.integers(0, LONGEST)] * 3, st.integers(0, 3)).filter(lambda row: any(row[:3]))


def batch_of(batch: list[Row], room: int = 0, names: tuple[str, ...] = NAMES) -> dict[str, PaddedBatch]:
    inputs = {}
    for name in names:
        column = NAMES.index(name)
        sequences = [sequence(name, row[column], row[3]) for row in batch]
        time = max(1, *(row[column] for row in batch)) + room
        inputs[name] = pad(sequences, DIMS[name], time=time)
    return inputs


def assert_rows_stand_alone(engine: Engine, batch: list[Row], room: int, names: tuple[str, ...] = NAMES) -> None:
    together = engine.run(batch_of(batch, room, names))
    for position, row in enumerate(batch):
        alone = engine.run(batch_of([row], names=names))
        np.testing.assert_allclose(together.probabilities[position], alone.probabilities[0], atol=1e-5, rtol=0)
        np.testing.assert_allclose(together.attributes[position], alone.attributes[0], atol=1e-5, rtol=0)


def test_it_answers_with_distributions_and_attributes_on_their_scale(engine: Engine) -> None:
    output = engine.run(batch_of([(5, 5, 3, 0), (0, 0, 3, 1)]))
    assert output.probabilities.shape == (2, 7)
    assert output.probabilities.dtype == output.attributes.dtype == np.float32
    np.testing.assert_allclose(output.probabilities.sum(axis=1), 1, atol=1e-5)
    assert ((output.attributes >= 1) & (output.attributes <= 7)).all()


def test_rows_that_differ_are_answered_differently(engine: Engine) -> None:
    first, second = engine.run(batch_of([(5, 5, 3, 0), (5, 5, 3, 1)])).probabilities
    assert np.abs(first - second).max() > 1e-3


@given(batch=st.lists(rows, min_size=1, max_size=6), room=st.integers(0, 7))
@settings(max_examples=40, deadline=None)
def test_a_segment_scores_the_same_alone_and_in_any_batch(engine: Engine, batch: list[Row], room: int) -> None:
    assert_rows_stand_alone(engine, batch, room)


@given(
    members=st.lists(st.sets(st.sampled_from(NAMES), min_size=1), min_size=1, max_size=3),
    batch=st.lists(rows, min_size=1, max_size=4),
)
@settings(max_examples=15, deadline=None)
def test_so_it_does_whatever_members_there_are(
    tmp_path_factory: pytest.TempPathFactory, members: list[set[str]], batch: list[Row]
) -> None:
    chosen = {f"member-{i}": tuple(sorted(modalities)) for i, modalities in enumerate(members)}
    read = tuple(sorted(set().union(*members)))
    batch = [row for row in batch if any(row[NAMES.index(name)] for name in read)] or [(1, 1, 1, 0)]
    bundle = tiny_bundle(tmp_path_factory.mktemp("members") / "bundle", members=chosen)
    assert_rows_stand_alone(TorchEngine(bundle), batch, room=3, names=read)


@given(batch=st.lists(rows, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_onnx_runtime_agrees_with_pytorch_on_any_batch_and_length(
    torch_engine: TorchEngine, onnx_engine: OnnxEngine, batch: list[Row]
) -> None:
    inputs = batch_of(batch)
    expected, found = torch_engine.run(inputs), onnx_engine.run(inputs)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(found.attributes, expected.attributes, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_single_modality_is_enough(engine: Engine, name: str) -> None:
    frames = sequence(name, 4, 0)
    assert frames is not None
    left_out = engine.run({name: pad([frames], DIMS[name])})
    others = {other: pad([None], DIMS[other]) for other in NAMES if other != name}
    explicit = engine.run({name: pad([frames], DIMS[name]), **others})
    np.testing.assert_allclose(left_out.probabilities, explicit.probabilities, atol=1e-6)


def test_frames_behind_a_truncated_length_are_not_read(engine: Engine) -> None:
    whole = batch_of([(9, 9, 3, 0)])
    acoustic = whole["acoustic"].features
    truncated = engine.run({**whole, "acoustic": PaddedBatch(acoustic, np.array([4]))})
    short = engine.run({**whole, "acoustic": PaddedBatch(acoustic[:, :4].copy(), np.array([4]))})
    np.testing.assert_allclose(truncated.probabilities, short.probabilities, atol=1e-5)
    assert np.abs(truncated.probabilities - engine.run(whole).probabilities).max() > 1e-4


def test_batch_and_every_modalitys_time_are_dynamic(engine: Engine) -> None:
    for batch, times in ((1, (1, 1, 1)), (2, (1, 40, 7)), (17, (300, 3, 1)), (3, (64, 64, 64))):
        found = engine.run(batch_of([(*times, seed) for seed in range(batch)]))
        assert found.probabilities.shape == (batch, 7)
        assert np.isfinite(found.probabilities).all()


def test_prepared_segments_are_what_it_reads(engine: Engine) -> None:
    inputs = prepare({"acoustic": [sequence("acoustic", 9, 0), None], "text": [None, sequence("text", 2, 0)]},
                     engine.modalities)  # fmt: skip
    assert inputs["acoustic"].lengths.tolist() == [5, 0]
    assert engine.run(inputs).probabilities.shape == (2, 7)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (batch_of([(3, 0, 0, 0), (0, 0, 0, 0)]), "row 1 has no modality at all"),
        ({"video": pad([None], 3)}, "unknown modality 'video'"),
        ({"text": pad([np.full((2, 384), np.nan, dtype=np.float32)], 384)}, "text holds values that are not finite"),
        ({}, "no modality at all"),
    ],
)
def test_inputs_it_cannot_score_are_refused(engine: Engine, inputs: dict[str, PaddedBatch], message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        engine.run(inputs)


def test_it_is_an_engine_and_says_which(engine: Engine) -> None:
    assert isinstance(engine, Engine)
    assert engine.name == {"TorchEngine": "torch", "OnnxEngine": "onnx", "CudaEngine": "cuda"}[type(engine).__name__]
    assert tuple(m.name for m in engine.modalities) == NAMES


def test_threads_share_it_without_mixing_answers(engine: Engine) -> None:
    batches = [batch_of([(3 + i, 2, 1, i % 4), (0, 4, 0, i % 3)]) for i in range(8)]
    expected = [engine.run(batch) for batch in batches]
    together = threading.Barrier(4)

    def run(worker: int) -> list[EngineOutput]:
        together.wait()
        return [engine.run(batches[(worker + i) % 8]) for i in range(8)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(run, range(4)))
    for worker, found in enumerate(answers):
        for i, output in enumerate(found):
            np.testing.assert_allclose(output.probabilities, expected[(worker + i) % 8].probabilities, atol=1e-6)


def test_a_graph_that_is_none_is_refused() -> None:
    with pytest.raises(EngineError, match="ONNX Runtime cannot open the graph"):
        OnnxEngine(b"not a graph", ())


def test_a_graph_of_another_bundle_is_refused(compiled: CompiledBundle) -> None:
    with pytest.raises(EngineError, match=r"the graph reads .*text_features.*, the bundle gives \['acoustic_features'"):
        OnnxEngine(Path(compiled.report.path), compiled.bundle.modalities[:1])


def test_the_check_covers_every_combination_of_modalities(compiled: CompiledBundle) -> None:
    inputs = check_inputs(compiled.bundle.modalities)
    combinations = {tuple(inputs[name].lengths[row] > 0 for name in NAMES) for row in range(len(inputs["text"]))}
    assert len(combinations) == 2 ** len(NAMES) - 1
    assert (False, False, False) not in combinations
