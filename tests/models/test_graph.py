"""A graph written node by node: branches of which one runs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from models.errors import EngineError
from models.graph import Graph, Value


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
    monkeypatch.setattr("models.graph._LARGEST_FILE_BYTES", 500 * 500 * 4)
    with pytest.raises(EngineError, match=r"graph of large holds 0\.00 GB of weights, a file of ONNX holds 0\.00 GB"):
        graph.serialise()


def test_notes_are_read_from_the_opened_graph(chosen: Graph) -> None:
    chosen.note("made of", "two branches")
    session = onnxruntime.InferenceSession(chosen.serialise(), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"made of": "two branches"}
