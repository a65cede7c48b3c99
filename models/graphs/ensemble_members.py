"""The members of an ensemble as nodes of an ONNX graph: stacks of one shape, each over inputs that all share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN
from models.fused_weights import Fusion, Reader, Stack
from models.graphs.ensemble_layers import StackEmitter, States, Times, emit_times
from models.graphs.graph import Graph, Value
from models.graphs.precision import Kind, between, in_kind
from models.graphs.products import PLAIN, Products

LAYER_GROUPS: Final = ("readers", "first_fusion", "second_fusion", "head")
"""What can stay in single precision by itself: the modalities' encoders, both fusion encoders, latent and answers."""


class EnsembleEmitter:
    """Writes the members of an ensemble over shared inputs."""

    def __init__(
        self,
        graph: Graph,
        features: Mapping[str, Value],
        lengths: Mapping[str, Value],
        kinds: Mapping[str, Kind] | None = None,
        products: Mapping[str, Products] = MappingProxyType({}),
    ) -> None:
        """Takes the inputs.

        Args:
            graph: to add to.
            features: per modality `[batch, time, dim]`.
            lengths: per modality `[batch]`.
            kinds: precision of each of `LAYER_GROUPS`; single by default. Features and answers are in single
                precision whatever it is.
            products: how those of each group are written, in its precision by default.
        """
        self._products = {group: products.get(group, PLAIN) for group in LAYER_GROUPS}
        self._kinds = kinds or dict.fromkeys(LAYER_GROUPS, np.float32)
        self._graph = graph
        self._features = features
        batch = graph.size(next(iter(lengths.values())), 0)
        self._masks = {name: self._mask(features[name], lengths[name]) for name in features}
        self._durations = {name: graph.size(features[name], 1) for name in features}
        self._batch = batch
        self._times: dict[tuple[tuple[str, ...], Kind], Times] = {}
        self._standard: dict[tuple[str, bytes], Value] = {}

    def members(self, stacks: Sequence[Stack], labels: int) -> tuple[Value, Value]:
        """Every member's answer, whether it had something to read or not.

        Returns:
            Posteriors `[batch, members, labels]` and attributes `[batch, members, 3]`.
        """
        graph = self._graph
        logits: list[Value] = []
        attributes: list[Value] = []
        for stack in stacks:
            states = [self._read(reader) for reader in stack.readers]
            for fusion in stack.fusions:
                said = self._fuse(fusion, stack.readers, states)
                logits.append(graph.reshape(said[0], (fusion.members, -1, labels)))
                attributes.append(graph.reshape(said[1], (fusion.members, -1, 3)))
        order = np.argsort([place for stack in stacks for place in stack.places])
        return (
            graph.op("Softmax", self._in_order(logits, order), axis=-1),
            self._in_order(attributes, order),
        )

    def _in_order(self, answers: Sequence[Value], order: NDArray[np.int64]) -> Value:
        together = self._graph.op("Concat", *answers, axis=0) if len(answers) > 1 else answers[0]
        if not np.array_equal(order, np.arange(len(order))):
            together = self._graph.op("Gather", together, self._graph.constant(order.astype(np.int64)), axis=0)
        return self._graph.op("Transpose", together, perm=[1, 0, 2])

    def _mask(self, features: Value, lengths: Value) -> Value:
        """`[batch, 1, time]`, true on real frames."""
        graph = self._graph
        time = graph.op("Squeeze", graph.size(features, 1), graph.constant([0]))
        zero, one = (graph.constant(np.array(number, dtype=np.int64)) for number in (0, 1))
        positions = graph.op("Range", zero, time, one)
        return graph.op("Less", positions, graph.reshape(lengths, (-1, 1, 1)))

    def _times_of(self, modalities: tuple[str, ...], kind: Kind) -> Times:
        """The time axis of modalities one behind the other."""
        if (modalities, kind) not in self._times:
            graph = self._graph
            masks = [self._masks[name] for name in modalities]
            mask = masks[0] if len(masks) == 1 else graph.op("Concat", *masks, axis=2)
            time = self._durations[modalities[0]]
            for name in modalities[1:]:
                time = graph.op("Add", time, self._durations[name])
            self._times[modalities, kind] = emit_times(graph, self._batch, time, mask, kind)
        return self._times[modalities, kind]

    def _read(self, reader: Reader) -> States:
        graph = self._graph
        members = reader.encoder.members
        kind = self._kinds["readers"]
        key = reader.modality, reader.mean.tobytes() + reader.scale.tobytes()
        if key not in self._standard:
            flat = graph.reshape(self._features[reader.modality], (-1, reader.mean.size))
            centred = graph.op("Sub", flat, graph.constant(reader.mean))
            standard = graph.op("Mul", centred, graph.constant(reader.scale))
            self._standard[key] = between(graph, standard, np.float32, kind)
        x = self._standard[key]
        if reader.layers is not None:
            count = reader.layers.shape[1]
            dim = reader.mean.size // count
            weights = graph.constant(in_kind(reader.layers, kind).reshape(members, 1, 1, count))
            mixed = graph.op("MatMul", weights, graph.reshape(x, (-1, count, dim)))
            x = graph.reshape(mixed, (members, -1, dim) if members > 1 else (-1, dim))
        times = self._times_of((reader.modality,), kind)
        return StackEmitter(graph, members, kind, self._products["readers"]).encoder(reader.encoder, x, times)

    def _fuse(self, fusion: Fusion, readers: Sequence[Reader], states: Sequence[States]) -> tuple[Value, Value]:
        graph = self._graph
        members = fusion.members
        own: list[States] = []
        for name in fusion.modalities:
            reader, start, stop = fusion.rows[name]
            there = readers[reader].encoder.members
            state = states[reader]
            parts = (self._members(part, there, start, stop) for part in (state.h1, state.h2, state.h3))
            own.append(States(*parts))
        before, first_kind, second_kind, head_kind = (self._kinds[group] for group in LAYER_GROUPS)
        _, of_first, of_second, of_head = (self._products[group] for group in LAYER_GROUPS)
        summaries = [between(graph, state.h3, before, head_kind) for state in own]
        if fusion.first is not None and fusion.second is not None:
            width = fusion.latent.weight.shape[-1]
            flat = (members, -1, width) if members > 1 else (-1, width)
            times = self._times_of(fusion.modalities, first_kind)
            first_input = between(graph, _joined(graph, [state.h1 for state in own], axis=-2), before, first_kind)
            emitter = StackEmitter(graph, members, first_kind, of_first)
            first = emitter.encoder(fusion.first, graph.reshape(first_input, flat), times)
            unimodal = [between(graph, state.h2, before, second_kind) for state in own]
            second_input = _joined(graph, [*unimodal, between(graph, first.h2, first_kind, second_kind)], axis=-2)
            twice = self._times_of((*fusion.modalities, *fusion.modalities), second_kind)
            emitter = StackEmitter(graph, members, second_kind, of_second)
            second = emitter.encoder(fusion.second, graph.reshape(second_input, flat), twice)
            summaries.append(between(graph, second.h3, second_kind, head_kind))
        emitter = StackEmitter(graph, members, head_kind, of_head)
        hidden = graph.op("Relu", emitter.linear(fusion.latent, _joined(graph, summaries, axis=-1)))
        rated = between(graph, emitter.linear(fusion.to_attributes, hidden), head_kind, np.float32)
        rated = graph.op("Sigmoid", rated)
        logits = between(graph, emitter.linear(fusion.to_logits, hidden), head_kind, np.float32)
        return logits, on_scale(graph, rated)

    def _members(self, value: Value, there: int, start: int, stop: int) -> Value:
        """Some of the members of a stack; one alone loses its axis."""
        graph = self._graph
        if stop - start == there:
            return value
        if stop - start == 1:
            return graph.op("Gather", value, graph.constant(np.array(start, dtype=np.int64)), axis=0)
        return graph.op("Slice", value, graph.constant([start]), graph.constant([stop]), graph.constant([0]))


def on_scale(graph: Graph, share: Value) -> Value:
    """From 0 to 1 to the scale of attributes."""
    wide = graph.op("Mul", share, graph.constant(float(ATTRIBUTE_MAX - ATTRIBUTE_MIN)))
    return graph.op("Add", wide, graph.constant(float(ATTRIBUTE_MIN)))


def _joined(graph: Graph, values: Sequence[Value], axis: int) -> Value:
    return graph.op("Concat", *values, axis=axis) if len(values) > 1 else values[0]
