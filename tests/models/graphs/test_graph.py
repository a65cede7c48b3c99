"""A graph written node by node: branches of which one runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from models.errors import EngineError
from models.graphs.graph import Graph, Value


def run(graph: Graph, **inputs: NDArray[np.generic]) -> list[float]:
    session = onnxruntime.InferenceSession(graph.serialise(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, inputs)
    return np.asarray(found).tolist()  # type: ignore[no-any-return]


def more_than(graph: Graph, value: Value, bound: float) -> Value:
    return graph.op("Greater", graph.op("ReduceSum", value, keepdims=0), graph.constant(bound))


@pytest.fixture
def chosen() -> Graph:
    """Twice `x` plus one where that sums to more than ten, `x` as it is elsewhere."""
    graph = Graph("chosen")
    x = graph.input("x", np.float32, ("n",))
    twice = graph.op("Mul", x, graph.constant(2.0))
    value = graph.choose(
        more_than(graph, twice, 10.0),
        then=lambda: graph.op("Add", twice, graph.constant(1.0)),
        otherwise=lambda: x,
        kind=np.float32,
        shape=("n",),
    )
    graph.output("y", graph.op("Neg", value), np.float32, ("n",))
    return graph


@pytest.mark.parametrize(("x", "y"), [([1, 2], [-1, -2]), ([3, 4], [-7, -9])])
def test_the_chosen_branch_reads_what_was_written_before_it(chosen: Graph, x: list[float], y: list[float]) -> None:
    assert run(chosen, x=np.array(x, dtype=np.float32)) == y


def test_a_branch_stands_in_a_branch() -> None:
    graph = Graph("nested")
    x = graph.input("x", np.float32, ("n",))

    def inner() -> Value:
        return graph.choose(
            more_than(graph, x, 5.0),
            then=lambda: graph.op("Mul", x, graph.constant(10.0)),
            otherwise=lambda: graph.op("Mul", x, graph.constant(3.0)),
            kind=np.float32,
            shape=("n",),
        )

    value = graph.choose(more_than(graph, x, 2.0), then=inner, otherwise=lambda: x, kind=np.float32, shape=("n",))
    graph.output("y", value, np.float32, ("n",))
    assert [run(graph, x=np.array([number], dtype=np.float32)) for number in (1, 4, 6)] == [[1], [12], [60]]


def test_names_are_unique_and_constants_the_graphs_own(chosen: Graph) -> None:
    graph = onnx.load_from_string(chosen.serialise()).graph
    (choice,) = (node for node in graph.node if node.op_type == "If")
    branches = [attribute.g for attribute in choice.attribute]
    names = [name for part in (graph, *branches) for node in part.node for name in node.output]
    assert len(names) == len(set(names))
    assert not any(branch.initializer for branch in branches)
    assert len(graph.initializer) == 3


def test_what_was_written_in_a_branch_exists_there_only() -> None:
    graph = Graph("leak")
    x = graph.input("x", np.float32, ("n",))
    kept: list[Value] = []

    def leaks() -> Value:
        kept.append(graph.op("Neg", x))
        return kept[0]

    graph.choose(more_than(graph, x, 0.0), then=leaks, otherwise=lambda: x, kind=np.float32, shape=("n",))
    graph.output("y", graph.op("Abs", kept[0]), np.float32, ("n",))
    with pytest.raises(EngineError, match="graph of leak is not valid ONNX"):
        graph.serialise()


def test_more_weights_than_a_file_may_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph("large")
    x = graph.input("x", np.float32, ("n", 500))
    product = graph.op("MatMul", x, graph.constant(np.zeros((500, 500), dtype=np.float32)))
    graph.output("y", product, np.float32, ("n", 500))
    assert len(graph.serialise()) > 500 * 500 * 4
    monkeypatch.setattr("models.graphs.graph._LARGEST_FILE_BYTES", 500 * 500 * 4)
    with pytest.raises(EngineError, match=r"graph of large holds 0\.00 GB of weights, a file of ONNX holds 0\.00 GB"):
        graph.serialise()


@pytest.fixture
def product() -> Graph:
    """A product, a sum and a reshape: large weights, smaller ones, and a shape."""
    graph = Graph("product")
    chance = np.random.default_rng(0)
    weight, bias = (chance.normal(size=size).astype(np.float32) for size in ((30, 300), 300))
    x = graph.input("x", np.float32, ("n", 30))
    y = graph.op("Add", graph.op("MatMul", x, graph.constant(weight)), graph.constant(bias))
    graph.output("y", graph.reshape(y, (-1, 3)), np.float32, ("m", 3))
    return graph


def test_too_many_weights_for_a_file_lie_in_a_second_one(product: Graph, tmp_path: Path) -> None:
    weights = product.save(tmp_path / "graph.onnx", most_bytes=10_000)
    assert weights is not None
    assert weights.parent == tmp_path
    assert weights.stat().st_size > 31 * 300 * 4
    assert (tmp_path / "graph.onnx").stat().st_size < 1000
    x = {"x": np.random.default_rng(1).normal(size=(2, 30)).astype(np.float32)}
    beside, inside = (
        onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, x)[0]
        for source in (str(tmp_path / "graph.onnx"), product.serialise())
    )
    np.testing.assert_array_equal(beside, inside)
    tensors = onnx.load(str(tmp_path / "graph.onnx"), load_external_data=False).graph.initializer
    outside = [{e.key: e.value for e in tensor.external_data} for tensor in tensors if tensor.external_data]
    assert {entry["location"] for entry in outside} == {weights.name}
    assert [int(entry["offset"]) % 4096 for entry in outside] == [0, 0]
    assert len(tensors) == len(outside) + 1


def test_few_weights_stand_in_the_graph(product: Graph, tmp_path: Path) -> None:
    assert product.save(tmp_path / "graph.onnx") is None
    assert [path.name for path in tmp_path.iterdir()] == ["graph.onnx"]
    assert (tmp_path / "graph.onnx").read_bytes() == product.serialise()


def test_a_file_of_weights_is_named_by_what_is_in_it(product: Graph, tmp_path: Path) -> None:
    first, again = (product.save(tmp_path / name, most_bytes=1) for name in ("first.onnx", "again.onnx"))
    product.constant(np.ones(400, dtype=np.float32))
    other = product.save(tmp_path / "other.onnx", most_bytes=1)
    assert first == again != other


def test_what_is_no_graph_is_not_saved_with_its_weights_beside_it(product: Graph, tmp_path: Path) -> None:
    product.output("z", Value("nothing"), np.float32, ("n",))
    with pytest.raises(EngineError, match="graph of product is not valid ONNX"):
        product.save(tmp_path / "graph.onnx", most_bytes=1)


def test_notes_are_read_from_the_opened_graph(chosen: Graph) -> None:
    chosen.note("made of", "two branches")
    session = onnxruntime.InferenceSession(chosen.serialise(), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"made of": "two branches"}
