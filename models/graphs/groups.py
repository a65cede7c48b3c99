"""Frames made one before members see them, as ONNX nodes: `models.modalities.group_frames` inside the graph."""

from __future__ import annotations

import numpy as np

from models.graphs.graph import Graph, Value
from models.graphs.layers import places, there


def emit_groups(
    graph: Graph, features: Value, frames: Value, *, dim: int, stride: int, deviations: bool
) -> tuple[Value, Value]:
    """Writes the mean of every `stride` frames and, beside it, how far they lie from it; the last may hold fewer.

    Args:
        graph: to add to.
        features: `[batch, time, dim]`, anything where there is padding.
        frames: `[batch]`, real frames of each sequence.
        dim: features a frame.
        stride: frames a group.
        deviations: whether each feature's standard deviation within the group follows the means.

    Returns:
        Groups `[batch, groups, dim]`, twice as wide with deviations, and how many are real, `[batch]`.
    """
    if stride == 1:
        return features, frames
    size, nothing = graph.constant([stride]), graph.constant(0.0)
    time = graph.size(features, 1)
    lacking = graph.op("Mod", graph.op("Neg", time), size)
    ends = graph.op("Concat", graph.constant([0, 0, 0, 0]), lacking, graph.constant([0]), axis=0)
    padded = graph.op("Pad", features, ends)
    count = graph.op("Div", graph.size(padded, 1), size)
    grouped = graph.reshape(padded, (graph.size(padded, 0), count, stride, dim))
    real = graph.reshape(there(graph, graph.size(padded, 1), frames), (graph.size(padded, 0), count, stride, 1))
    starts = graph.op("Mul", places(graph, count), size)
    left = graph.op("Sub", graph.reshape(frames, (-1, 1)), starts)
    # A group without a frame is nobody's: it is counted as one only so that nothing is divided by zero.
    own = graph.op("Min", graph.op("Max", left, graph.constant([1])), size)
    weight = graph.reshape(graph.cast(own, np.float32), (graph.size(padded, 0), count, 1))

    def mean(values: Value) -> Value:
        heard = graph.op("Where", real, values, nothing)
        return graph.op("Div", graph.op("ReduceSum", heard, graph.constant([2]), keepdims=0), weight)

    means = mean(grouped)
    rest = graph.constant(np.array(stride - 1, dtype=np.int64))
    groups = graph.op("Div", graph.op("Add", frames, rest), graph.constant(np.array(stride, dtype=np.int64)))
    if not deviations:
        return means, groups
    centred = graph.op("Sub", grouped, graph.op("Unsqueeze", means, graph.constant([2])))
    spread = graph.op("Sqrt", mean(graph.op("Mul", centred, centred)))
    return graph.op("Concat", means, spread, axis=2), groups
