"""Frames grouped inside a graph are grouped as they are outside."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from models.graphs.graph import Graph
from models.graphs.groups import emit_groups
from models.modalities import group_frames, grouped_width

DIM = 3
FRAMES = (7, 0, 1, 4, 6)


def grouped(
    features: NDArray[np.float32], frames: tuple[int, ...], stride: int, deviations: bool
) -> tuple[NDArray[np.float32], list[int]]:
    graph = Graph("groups")
    x = graph.input("x", np.float32, ("batch", "time", DIM))
    lengths = graph.input("lengths", np.int64, ("batch",))
    groups, counts = emit_groups(graph, x, lengths, dim=DIM, stride=stride, deviations=deviations)
    graph.output("groups", groups, np.float32, ("batch", "groups", grouped_width(DIM, deviations)))
    graph.output("counts", counts, np.int64, ("batch",))
    session = onnxruntime.InferenceSession(graph.serialise(), providers=["CPUExecutionProvider"])
    found, own = session.run(None, {"x": features, "lengths": np.array(frames)})
    return np.asarray(found), np.asarray(own).tolist()


@pytest.mark.parametrize(
    ("stride", "deviations"), [(1, False), *((stride, spread) for stride in (2, 3, 7, 20) for spread in (False, True))]
)
def test_groups_are_those_of_single_sequences_whatever_stands_in_the_padding(stride: int, deviations: bool) -> None:
    features = np.random.default_rng(0).normal(5.0, 1.0, (len(FRAMES), 8, DIM)).astype(np.float32)
    for row, count in enumerate(FRAMES):
        features[row, count:] = np.nan
    found, counts = grouped(features, FRAMES, stride, deviations)
    assert counts == [-(-count // stride) for count in FRAMES]
    for row, count in enumerate(FRAMES):
        expected = group_frames(features[row, :count], stride, deviations)
        np.testing.assert_allclose(found[row, : len(expected)], expected, atol=1e-5)


def test_there_is_room_for_a_group_where_nothing_is_heard() -> None:
    found, counts = grouped(np.ones((2, 1, DIM), dtype=np.float32), (0, 0), 4, True)
    assert (found.shape, counts) == ((2, 1, 2 * DIM), [0, 0])
    assert not found.any()
