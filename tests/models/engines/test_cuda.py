"""The engine of captured graphs. No CUDA is needed here: work is called as it is, through the same buffers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle import Bundle
from models.engines.base import EngineOutput
from models.engines.buckets import Buckets
from models.engines.cuda import CudaEngine
from models.engines.launchers import EagerLauncher, Work
from models.engines.torch import TorchEngine
from models.errors import EngineError
from models.modalities import PaddedBatch, pad
from tests.fakes.bundles import CompiledBundle

DIMS = {"acoustic": 512, "prosody": 52, "text": 384}
SMALL = Buckets(batch_sizes=(1, 2, 4), frames=(2, 4, 8))


class CountingLauncher(EagerLauncher):
    """Holds work to what a graph could replay: the same tensors every time."""

    def __init__(self) -> None:
        self.captures = 0
        self.replays = 0

    def captured(self, work: Work) -> Work:
        self.captures += 1
        work()

        def replay() -> None:
            self.replays += 1
            work()

        return replay


@pytest.fixture(scope="session")
def bundle(compiled: CompiledBundle) -> Bundle:
    return compiled.bundle


@pytest.fixture(scope="session")
def reference(bundle: Bundle) -> TorchEngine:
    return TorchEngine(bundle)


@pytest.fixture
def launcher() -> CountingLauncher:
    return CountingLauncher()


def inputs_of(lengths: list[tuple[int, int, int]], room: int = 0, seed: int = 0) -> dict[str, PaddedBatch]:
    rng = np.random.default_rng([seed, len(lengths)])
    inputs = {}
    for column, (name, dim) in enumerate(DIMS.items()):
        own = [row[column] for row in lengths]
        sequences = [rng.standard_normal((count, dim)).astype(np.float32) if count else None for count in own]
        inputs[name] = pad(sequences, dim, time=max(1, *own) + room)
    return inputs


def assert_close(found: EngineOutput, wanted: EngineOutput, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.attributes / 6, wanted.attributes / 6, rtol=0, atol=tolerance)


row = st.tuples(*[st.integers(0, 11)] * 3).filter(any)


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(row, min_size=1, max_size=9), room=st.integers(0, 9), seed=st.integers(0, 3))
def test_padded_to_a_bucket_everything_scores_as_it_does_one_by_one(
    reference: TorchEngine, small_engine: CudaEngine, lengths: list[tuple[int, int, int]], room: int, seed: int
) -> None:
    """Batches larger than the largest bucket and sequences longer than the longest included; buffers are used again."""
    inputs = inputs_of(lengths, room, seed)
    assert_close(small_engine.run(inputs), reference.run(inputs))


@pytest.fixture(scope="session")
def small_engine(bundle: Bundle) -> CudaEngine:
    return CudaEngine(bundle.ensemble(), launcher=EagerLauncher(), buckets=SMALL, graphs=3)


def test_what_a_buffer_held_before_is_not_seen(bundle: Bundle) -> None:
    engine = CudaEngine(bundle.ensemble(), launcher=EagerLauncher(), buckets=SMALL)
    short = inputs_of([(3, 2, 1), (5, 0, 0), (0, 1, 0)])
    first = engine.run(short)
    for seed in range(4):
        engine.run(inputs_of([(8, 8, 8)] * 4, seed=seed))
    again = engine.run(short)
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    np.testing.assert_array_equal(first.attributes, again.attributes)


def test_a_bucket_is_captured_once_and_then_replayed(bundle: Bundle, launcher: CountingLauncher) -> None:
    engine = CudaEngine(bundle.ensemble(), launcher=launcher, buckets=SMALL)
    for lengths in ([(3, 1, 1)], [(4, 2, 0)], [(3, 0, 2)]):
        engine.run(inputs_of(lengths))
    assert (launcher.captures, launcher.replays) == (1, 3)
    engine.run(inputs_of([(5, 1, 1)]))
    assert (launcher.captures, launcher.replays) == (2, 4)


def test_the_bucket_that_was_not_used_for_longest_makes_room(bundle: Bundle, launcher: CountingLauncher) -> None:
    engine = CudaEngine(bundle.ensemble(), launcher=launcher, buckets=SMALL, graphs=2)
    one, two, three = ([(frames, 1, 1)] for frames in (2, 4, 8))
    for lengths in (one, two, one, three):
        engine.run(inputs_of(lengths))
    assert launcher.captures == 3
    engine.run(inputs_of(one))
    assert launcher.captures == 3
    engine.run(inputs_of(two))
    assert launcher.captures == 4


def test_a_bucket_can_be_prepared_ahead_of_time(bundle: Bundle, launcher: CountingLauncher) -> None:
    engine = CudaEngine(bundle.ensemble(), launcher=launcher, buckets=SMALL)
    engine.prepare(2, {"acoustic": 7, "prosody": 7})
    assert (launcher.captures, launcher.replays) == (1, 0)
    engine.run({name: batch for name, batch in inputs_of([(5, 8, 0), (6, 1, 0)]).items() if name != "text"})
    assert (launcher.captures, launcher.replays) == (1, 1)
    with pytest.raises(EngineError, match="a batch of 5 does not fit"):
        engine.prepare(5, {"acoustic": 7})


def test_answers_are_the_callers_own(bundle: Bundle, reference: TorchEngine) -> None:
    engine = CudaEngine(bundle.ensemble(), launcher=EagerLauncher(), buckets=SMALL)
    first, second = inputs_of([(3, 2, 1)], seed=1), inputs_of([(3, 2, 1)], seed=2)
    kept = engine.run(first)
    engine.run(second)
    assert_close(kept, reference.run(first))
    assert kept.probabilities.flags.c_contiguous
    assert kept.attributes.flags.c_contiguous


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.02), ("fp16", 0.002)])
def test_lower_precisions_are_close_and_not_equal(
    bundle: Bundle, reference: TorchEngine, precision: str, tolerance: float
) -> None:
    engine = CudaEngine(bundle.ensemble(), precision, launcher=EagerLauncher(), buckets=SMALL)
    inputs = inputs_of([(7, 7, 5), (0, 0, 1), (3, 0, 0)])
    found, wanted = engine.run(inputs), reference.run(inputs)
    assert found.probabilities.dtype == np.float32
    assert np.abs(found.probabilities - wanted.probabilities).max() > 1e-6
    assert_close(found, wanted, tolerance)


def test_many_threads_and_few_buckets_do_not_mix_answers(bundle: Bundle, reference: TorchEngine) -> None:
    """Buckets make room for one another while they are in use."""
    engine = CudaEngine(bundle.ensemble(), launcher=EagerLauncher(), buckets=SMALL, graphs=1)
    batches = [inputs_of([(1 + i, 2, 1), (0, i, 1)], seed=i) for i in range(6)]
    wanted = [reference.run(batch) for batch in batches]
    together = threading.Barrier(4)

    def run(worker: int) -> list[EngineOutput]:
        together.wait()
        return [engine.run(batches[(worker + i) % 6]) for i in range(6)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(run, range(4)))
    for worker, found in enumerate(answers):
        for i, output in enumerate(found):
            assert_close(output, wanted[(worker + i) % 6])


def test_a_batch_that_fails_does_not_take_the_engine_with_it(bundle: Bundle, reference: TorchEngine) -> None:
    class Failing(EagerLauncher):
        fails = True

        def captured(self, work: Work) -> Work:
            if self.fails:
                raise EngineError("cuda:0 cannot capture the ensemble as a graph: out of memory")
            return work

    launcher = Failing()
    engine = CudaEngine(bundle.ensemble(), launcher=launcher, buckets=SMALL)
    inputs = inputs_of([(3, 2, 1)])
    for _ in range(4):
        with pytest.raises(EngineError, match="out of memory"):
            engine.run(inputs)
    launcher.fails = False
    assert_close(engine.run(inputs), reference.run(inputs))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "int8"}, "no precision 'int8' on this engine: there are fp32, fp16, bf16"),
        ({"graphs": 0}, "at least 1 graph must be kept, got 0"),
    ],
)
def test_arguments_out_of_bounds_are_refused(bundle: Bundle, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        CudaEngine(bundle.ensemble(), launcher=EagerLauncher(), **arguments)


def test_without_a_cuda_device_it_says_so(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match="finds no CUDA device here: use the engine onnx or torch"):
        CudaEngine(bundle.ensemble())


def test_a_device_without_enough_memory_is_named(bundle: Bundle) -> None:
    class Full(EagerLauncher):
        def stream(self) -> AbstractContextManager[object]:
            raise torch.OutOfMemoryError("tried to allocate 3 GiB")

    engine = CudaEngine(bundle.ensemble(), launcher=Full())
    with pytest.raises(EngineError, match=r"cpu has too little memory .* fewer graphs .*tried to allocate 3 GiB"):
        engine.run(inputs_of([(3, 2, 1)]))
