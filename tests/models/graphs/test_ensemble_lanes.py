"""Lanes: parts of an ensemble's graph that are computed by themselves, and put together again."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.bundle import find_bundle, load_bundle
from models.deepser import DeepSER, DeepSERConfig
from models.engines.base import EngineOutput
from models.engines.graph_inputs import (
    ALL_LANES,
    ANSWERS_OUTPUT,
    GIVEN_INPUT,
    LANE_INPUT,
    LANES_NOTE,
    OUTPUTS,
    feature_input,
    length_input,
)
from models.engines.onnx import OnnxEngine
from models.ensemble import Ensemble
from models.errors import EngineError
from models.fused_weights import Stack, fused_weights
from models.graphs.ensemble import ensemble_graph
from models.graphs.ensemble_lanes import deal
from models.graphs.text import TextGraph
from models.modalities import PaddedBatch, TokenBatch, pad_tokens
from tests.fakes.checkpoints import tiny_checkpoint
from tests.fakes.ensembles import DIMS, config, configs, modality, random_batch, random_ensemble, rows, some_row_is_read

MODALITIES = [modality(name) for name in DIMS]
MIXED = [
    config("acoustic", "prosody"),
    config("acoustic", "text", width=4),
    config("prosody", heads=2),
    config("acoustic", "prosody"),
    config("text", pooling="attentive_statistics"),
]


def batches(ensemble: Ensemble, lengths: list[list[int]], room: int = 0) -> dict[str, PaddedBatch]:
    inputs, frames = random_batch(ensemble, some_row_is_read(lengths, len(ensemble.modalities)), room)
    return {name: PaddedBatch(inputs[name].numpy(), frames[name].numpy()) for name in inputs}


def assert_same(found: EngineOutput, wanted: EngineOutput) -> None:
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.attributes / 6, wanted.attributes / 6, rtol=0, atol=1e-6)


def stacks_of(shapes: list[DeepSERConfig]) -> tuple[Stack, ...]:
    return fused_weights((shape, DeepSER(shape).numpy_state()) for shape in shapes)


def noted(graph: bytes) -> list[list[int]]:
    (note,) = onnx.load_from_string(graph).metadata_props
    assert note.key == LANES_NOTE
    found: list[list[int]] = json.loads(note.value)
    return found


@settings(deadline=None, max_examples=10)
@given(
    st.lists(configs(), min_size=1, max_size=5),
    rows,
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_lanes_give_what_the_graph_as_a_whole_gives(
    shapes: list[DeepSERConfig], lengths: list[list[int]], room: int, lanes: int, threads: int, seed: int
) -> None:
    ensemble = random_ensemble(shapes, seed)
    inputs = batches(ensemble, lengths, room)
    whole = OnnxEngine(ensemble_graph(ensemble), ensemble.modalities, threads=1)
    dealt = OnnxEngine(ensemble_graph(ensemble, lanes=lanes), ensemble.modalities, threads=threads)
    assert_same(dealt.run(inputs), whole.run(inputs))


@pytest.mark.parametrize(("shapes", "lanes"), [(MIXED, 1), ([config("text")] * 3, 4)])
def test_one_lane_is_the_graph_as_a_whole(shapes: list[DeepSERConfig], lanes: int) -> None:
    ensemble = random_ensemble(shapes, 0)
    graph = ensemble_graph(ensemble, lanes=lanes)
    assert graph == ensemble_graph(ensemble)
    assert not onnx.load_from_string(graph).metadata_props


def test_no_lane_is_refused() -> None:
    with pytest.raises(EngineError, match="1 lane or more, not in 0"):
        ensemble_graph(random_ensemble([config("text")], 0), lanes=0)


class Lanes:
    """The graph of `MIXED` in two lanes, call by call."""

    def __init__(self) -> None:
        self.ensemble = random_ensemble(MIXED, 3)
        graph = ensemble_graph(self.ensemble, lanes=2)
        self.places = noted(graph)
        self._session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self.feed: dict[str, NDArray[np.generic]] = {}
        for name, batch in batches(self.ensemble, [[3, 2, 4], [5, 0, 1]]).items():
            self.feed |= {feature_input(name): batch.features, length_input(name): batch.lengths}

    def answers(self, lane: int, told: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._run([ANSWERS_OUTPUT], lane, told)[0])

    def scores(self, lane: int, told: NDArray[np.float32]) -> EngineOutput:
        return EngineOutput(*map(np.asarray, self._run(list(OUTPUTS), lane, told)))

    def _run(self, names: list[str], lane: int, told: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = self._session.run(
            names, {**self.feed, LANE_INPUT: np.array(lane), GIVEN_INPUT: told}
        )
        return found


@pytest.fixture(scope="module")
def two() -> Lanes:
    return Lanes()


@pytest.fixture
def told() -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(size=(2, len(MIXED), 10)).astype(np.float32)


def test_a_lane_computes_its_own_members_and_takes_the_others_as_given(two: Lanes, told: NDArray[np.float32]) -> None:
    every = two.answers(ALL_LANES, told)
    assert not (every == told).any()
    for lane, places in enumerate(two.places):
        others = [place for place in range(len(MIXED)) if place not in places]
        found = two.answers(lane, told)
        np.testing.assert_array_equal(found[:, others], told[:, others])
        np.testing.assert_allclose(found[:, places], every[:, places], rtol=0, atol=1e-6)


def test_a_lane_that_there_is_none_of_scores_what_is_given(two: Lanes, told: NDArray[np.float32]) -> None:
    every = two.answers(ALL_LANES, told)
    np.testing.assert_array_equal(two.answers(2, told), told)
    assert_same(two.scores(2, every), two.scores(ALL_LANES, told))
    assert np.abs(two.scores(2, told).probabilities - two.scores(2, every).probabilities).max() > 1e-3


def test_lanes_hold_every_member_once_and_every_weight_once() -> None:
    ensemble = random_ensemble(MIXED, 0)
    whole, dealt = ensemble_graph(ensemble), ensemble_graph(ensemble, lanes=3)
    assert sorted(place for own in noted(dealt) for place in own) == list(range(len(MIXED)))
    assert ensemble_graph(ensemble, lanes=3) == dealt
    sizes = [
        sum(onnx.numpy_helper.to_array(one).size for one in onnx.load_from_string(graph).graph.initializer)
        for graph in (whole, dealt)
    ]
    assert sizes[1] < 1.02 * sizes[0]


def test_the_dearest_stack_has_a_lane_to_itself() -> None:
    shapes = [config("text"), config("acoustic", "prosody", width=32, feed_forward=64), config("prosody", heads=2)]
    dealt = deal(stacks_of(shapes), MODALITIES, {}, 2)
    assert [lane.places for lane in dealt] == [(1,), (0, 2)]
    assert [sorted(lane.modalities) for lane in dealt] == [["acoustic", "prosody"], ["prosody", "text"]]


def test_the_lanes_of_the_shipped_bundle_are_of_three_members_and_four() -> None:
    ensemble = load_bundle(find_bundle("base")).ensemble()
    assert sorted(map(len, noted(ensemble_graph(ensemble, lanes=2)))) == [3, 4]


def test_members_that_read_an_encoder_inside_share_a_lane() -> None:
    dealt = deal(stacks_of(MIXED), MODALITIES, {"text": 10}, 4)
    (reading,) = (lane for lane in dealt if "text" in lane.modalities)
    assert reading.places == (1, 4)
    both = deal(stacks_of(MIXED), MODALITIES, {"text": 10, "acoustic": 10}, 4)
    assert sorted(lane.places for lane in both) == [(0, 1, 3, 4), (2,)]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextGraph]:
    folder = tiny_checkpoint("bert", tmp_path_factory.mktemp("bert"), hidden_size=8, num_attention_heads=2)
    return {"text": TextGraph.read(folder, layers=2)}


def test_an_encoder_inside_is_computed_in_the_lane_of_its_readers_only(text: dict[str, TextGraph]) -> None:
    graph = onnx.load_from_string(ensemble_graph(random_ensemble(MIXED, 0), text=text, lanes=4)).graph
    branches = [a.g for node in graph.node if node.op_type == "If" for a in node.attribute if a.name == "then_branch"]
    erf = [sum(node.op_type == "Erf" for node in part.node) for part in (graph, *branches)]
    assert erf[0] == 0
    assert sorted(erf) == [0] * len(branches) + [text["text"].shape.num_hidden_layers]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_with_an_encoder_inside_lanes_and_rows_give_what_the_whole_gives(
    text: dict[str, TextGraph], count: int
) -> None:
    ensemble = random_ensemble(MIXED, 0)
    inputs: dict[str, PaddedBatch | TokenBatch] = {**batches(ensemble, [[3, i % 3, 1] for i in range(count)])}
    inputs["text"] = pad_tokens([np.array([1, *range(5, 5 + i), 2]) if i != 1 else None for i in range(count)])
    whole = OnnxEngine(ensemble_graph(ensemble, text=text), ensemble.modalities, threads=1).run(inputs)
    dealt = OnnxEngine(ensemble_graph(ensemble, text=text, lanes=3), ensemble.modalities, threads=3)
    assert dealt.reads_tokens == {"text"}
    assert_same(dealt.run(inputs), whole)


class Watched(onnxruntime.InferenceSession):  # type: ignore[misc]
    """Notes which lanes are asked for; two lanes wait for each other, as they can only where both run at once."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.asked: list[int] = []
        self._together = threading.Barrier(2, timeout=20)

    def run(self, names: list[str], feed: dict[str, NDArray[np.generic]]) -> Any:
        lane = int(feed[LANE_INPUT])
        self.asked.append(lane)
        if lane in (0, 1):
            self._together.wait()
        return super().run(names, feed)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Watched]:
    opened: list[Watched] = []

    def open_one(*arguments: Any, **settings: Any) -> Watched:
        opened.append(Watched(*arguments, **settings))
        return opened[-1]

    monkeypatch.setattr("models.engines.onnx.onnxruntime.InferenceSession", open_one)
    return opened


@pytest.mark.parametrize(
    ("threads", "count", "asked"), [(1, 3, [-1]), (2, 1, [0, 1, 2]), (2, 3, [0, 1, 2]), (4, 1, [0, 1, 2])]
)
def test_lanes_run_at_once_where_there_is_more_than_one_thread(
    watched: list[Watched], threads: int, count: int, asked: list[int]
) -> None:
    ensemble = random_ensemble(MIXED, 0)
    engine = OnnxEngine(ensemble_graph(ensemble, lanes=2), ensemble.modalities, threads=threads)
    engine.run(batches(ensemble, [[2, 2, 2]] * count))
    assert sorted(watched[0].asked) == asked


@pytest.mark.parametrize(("count", "asked"), [(2, [0, 1, 2]), (3, [-1, -1])])
def test_with_an_encoder_inside_more_rows_than_threads_are_dealt_as_rows(
    watched: list[Watched], text: dict[str, TextGraph], count: int, asked: list[int]
) -> None:
    ensemble = random_ensemble(MIXED, 0)
    engine = OnnxEngine(ensemble_graph(ensemble, text=text, lanes=2), ensemble.modalities, threads=2)
    inputs: dict[str, PaddedBatch | TokenBatch] = {**batches(ensemble, [[2, 2, 2]] * count)}
    engine.run({**inputs, "text": pad_tokens([np.array([1, 5, 2])] * count)})
    assert sorted(watched[0].asked) == asked


def test_callers_share_the_threads_without_waiting_for_each_other_or_mixing_answers() -> None:
    ensemble = random_ensemble(MIXED, 1)
    whole = OnnxEngine(ensemble_graph(ensemble), ensemble.modalities, threads=1)
    dealt = OnnxEngine(ensemble_graph(ensemble, lanes=3), ensemble.modalities, threads=2)
    asked = [batches(ensemble, [[1 + i, 2, i % 3], [0, i, 1]][: 1 + i % 2]) for i in range(6)]
    wanted = [whole.run(inputs) for inputs in asked]
    together = threading.Barrier(6)

    def ask(caller: int) -> list[EngineOutput]:
        together.wait()
        return [dealt.run(asked[(caller + i) % 6]) for i in range(12)]

    with ThreadPoolExecutor(6) as callers:
        answers = list(callers.map(ask, range(6)))
    for caller, found in enumerate(answers):
        for i, output in enumerate(found):
            assert_same(output, wanted[(caller + i) % 6])


@pytest.mark.parametrize(
    ("note", "message"),
    [
        (None, "does not say which members its lanes compute"),
        ("[[0, 1], 2]", "does not say which members its lanes compute"),
        ("[[0, 1, 3], [4]]", r"lanes compute members \[\[0, 1, 3\], \[4\]\], not each of 5 once"),
    ],
)
def test_a_graph_that_does_not_say_what_its_lanes_are_is_refused(note: str | None, message: str) -> None:
    ensemble = random_ensemble(MIXED, 0)
    model = onnx.load_from_string(ensemble_graph(ensemble, lanes=2))
    onnx.helper.set_model_props(model, {} if note is None else {LANES_NOTE: note})
    with pytest.raises(EngineError, match=message):
        OnnxEngine(model.SerializeToString(), ensemble.modalities)
