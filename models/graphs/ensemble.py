"""The fused ensemble as an ONNX graph, written node by node.

An exporter traces what PyTorch does and keeps its bookkeeping: thousands of nodes that reshape and measure shapes, more
than those that compute. A small ensemble on a CPU spends its time on them. This graph holds what is computed and little
else.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.deepser import DeepSER
from models.emotions import ATTRIBUTE_NAMES
from models.engines.graph_inputs import (
    ALL_LANES,
    ANSWERS_OUTPUT,
    GIVEN_INPUT,
    LANE_INPUT,
    LANES_NOTE,
    OUTPUTS,
)
from models.ensemble import Ensemble
from models.errors import EngineError
from models.fused_weights import Stack, fused_weights
from models.graphs.ensemble_inputs import GraphInputs, Speech
from models.graphs.ensemble_lanes import Lane, deal
from models.graphs.ensemble_members import LAYER_GROUPS, EnsembleEmitter, on_scale
from models.graphs.graph import Graph, Value
from models.graphs.precision import BFLOAT16, BFLOAT16_OPSET, SPEECH_GROUPS, TEXT_GROUP, Kind
from models.graphs.products import PLAIN, Products
from models.graphs.speech import SpeechGraph
from models.graphs.text import TextGraph
from models.meta import CENTRE, REACH

ENCODER_GROUPS: Final = (*SPEECH_GROUPS, TEXT_GROUP)
"""Of encoders inside."""
ALL_GROUPS: Final = (*LAYER_GROUPS, *ENCODER_GROUPS)


def ensemble_graph(
    ensemble: Ensemble,
    *,
    text: Mapping[str, TextGraph] = MappingProxyType({}),
    speech: Mapping[str, Speech] = MappingProxyType({}),
    kind: Kind = np.float32,
    products: Mapping[str, Products] = MappingProxyType({}),
    keep_fp32: Collection[str] = frozenset(),
    lanes: int = 1,
) -> bytes:
    """As `write_ensemble`, in one piece.

    Raises:
        EngineError: as there, or the graph does not come out valid, or is too large for one file.
        WeightsError: as there.
    """
    return write_ensemble(
        ensemble, text=text, speech=speech, kind=kind, products=products, keep_fp32=keep_fp32, lanes=lanes
    ).serialise()


def write_ensemble(
    ensemble: Ensemble,
    *,
    text: Mapping[str, TextGraph] = MappingProxyType({}),
    speech: Mapping[str, Speech] = MappingProxyType({}),
    kind: Kind = np.float32,
    products: Mapping[str, Products] = MappingProxyType({}),
    keep_fp32: Collection[str] = frozenset(),
    lanes: int = 1,
) -> Graph:
    """A trained ensemble as one ONNX graph: inputs and lengths in, calibrated scores out; batch and times dynamic.

    In several lanes the graph computes those members alone that it is asked for, and takes from outside what the others
    say. Lanes run beside each other and are put together by one more call, see `models.engines.onnx`.

    Args:
        ensemble: whose answers to give.
        text: encoders to put inside, by modality: these are read as tokens.
        speech: likewise; these hear the waveform or, where it is Whisper, read a log-mel spectrogram. All others are
            read as features.
        kind: precision of the members' layers and of speech encoders; inputs, outputs, text encoders and the
            meta-classifier are in single precision whatever it is.
        products: how products with constant weights are written, by group of `ALL_GROUPS`; in the group's precision by
            default.
        keep_fp32: which of `ALL_GROUPS` stay in single precision all the same, whatever is said of their products.
        lanes: parts that cores compute beside each other; fewer where members are of fewer shapes, or read one text
            encoder. With one the graph knows of none. Speech encoders are computed by every lane's call.

    Raises:
        EngineError: an unknown layer group, no lane, a weight that does not fit into the precision, or an encoder gives
            other features than members read.
        WeightsError: an encoder's checkpoint lacks a tensor.
    """
    unknown = set(keep_fp32) - set(ALL_GROUPS)
    if unknown:
        raise EngineError(f"no layer group {', '.join(sorted(unknown))}: there are {', '.join(ALL_GROUPS)}")
    kinds: dict[str, Kind] = {group: np.float32 if group in keep_fp32 else kind for group in ALL_GROUPS}
    written = {group: PLAIN if group in keep_fp32 else products.get(group, PLAIN) for group in ALL_GROUPS}
    text = {name: replace(own, products=written[TEXT_GROUP]) for name, own in text.items()}
    speech = {name: _in_arithmetic(own, kinds, written) for name, own in speech.items()}
    graph = Graph("medusa")
    if kind is BFLOAT16:
        graph.at_least(BFLOAT16_OPSET)
    inputs = GraphInputs.declare(graph, ensemble.modalities, text, speech)
    members = [member for member in ensemble.members if isinstance(member, DeepSER)]
    stacks = fused_weights((m.config, m.numpy_state()) for m in members)
    labels = len(ensemble.labels)
    writer = _MembersWriter(graph, inputs, kinds, written, len(members), labels)
    inside = {name: encoder.weights_a_token for name, encoder in text.items()}
    dealt = deal(stacks, ensemble.modalities, inside, lanes)
    said: Value | None = None
    if len(dealt) == 1:
        posteriors, rated = writer.at_once(stacks)
    else:
        posteriors, rated, said = writer.in_lanes(dealt)
    reads = np.array([[name in member.config.modalities for name in inputs.lengths] for member in members])
    posteriors, rated = _fill_silent(graph, posteriors, rated, list(inputs.lengths.values()), reads, labels)
    answers = _answers(graph, posteriors, rated, len(members) * (labels + len(ATTRIBUTE_NAMES)))
    meta = {name: value.numpy(force=True).astype(np.float64) for name, value in ensemble.meta.state_dict().items()}
    temperature = float(ensemble.state_dict()["temperature"])
    logits = _linear(graph, answers, meta["to_logits.weight"] / temperature, meta["to_logits.bias"] / temperature)
    attributes = _linear(graph, answers, meta["to_attributes.weight"], meta["to_attributes.bias"])
    scores = (graph.op("Softmax", logits, axis=-1), on_scale(graph, graph.op("Sigmoid", attributes)))
    for name, value, width in zip(OUTPUTS, scores, (labels, len(ATTRIBUTE_NAMES)), strict=True):
        graph.output(name, value, np.float32, ("batch", width))
    if said is not None:
        graph.output(ANSWERS_OUTPUT, said, np.float32, writer.shape(len(members)))
        graph.note(LANES_NOTE, json.dumps([lane.places for lane in dealt]))
    return graph


def _in_arithmetic(encoder: Speech, kinds: Mapping[str, Kind], products: Mapping[str, Products]) -> Speech:
    front, layers = SPEECH_GROUPS
    if isinstance(encoder, SpeechGraph):
        encoder = replace(encoder, front_products=products[front])
    return replace(encoder, kind=kinds[layers], front_kind=kinds[front], products=products[layers])


@dataclass(frozen=True, slots=True)
class _MembersWriter:
    """Writes what the members say, silent ones included."""

    graph: Graph
    inputs: GraphInputs
    kinds: Mapping[str, Kind]
    products: Mapping[str, Products]
    members: int
    labels: int

    def shape(self, members: int) -> tuple[str | int, ...]:
        """Of posteriors and, behind them, attributes."""
        return "batch", members, self.labels + len(ATTRIBUTE_NAMES)

    def at_once(self, stacks: Sequence[Stack], modalities: Collection[str] | None = None) -> tuple[Value, Value]:
        """Members over the modalities they read, all by default; see `EnsembleEmitter.members`."""
        graph, inputs = self.graph, self.inputs
        lengths = {n: length for n, length in inputs.lengths.items() if modalities is None or n in modalities}
        features = {name: inputs.features(graph, name) for name in lengths}
        return EnsembleEmitter(graph, features, lengths, self.kinds, self.products).members(stacks, self.labels)

    def in_lanes(self, lanes: Sequence[Lane]) -> tuple[Value, Value, Value]:
        """Posteriors and attributes of all members, and both as one tensor."""
        graph = self.graph
        lane = graph.input(LANE_INPUT, np.int64, ())
        given = graph.input(GIVEN_INPUT, np.float32, self.shape(self.members))
        every = graph.op("Equal", lane, graph.constant(np.array(ALL_LANES, dtype=np.int64)))

        def answers(number: int, own: Lane) -> Value:
            this = graph.op("Equal", lane, graph.constant(np.array(number, dtype=np.int64)))
            return graph.choose(
                graph.op("Or", every, this),
                then=lambda: graph.op("Concat", *self.at_once(own.stacks, own.modalities), axis=2),
                otherwise=lambda: graph.op("Gather", given, graph.constant(own.places), axis=1),
                kind=np.float32,
                shape=self.shape(len(own.places)),
            )

        joined = graph.op("Concat", *(answers(number, own) for number, own in enumerate(lanes)), axis=1)
        order = np.argsort([place for own in lanes for place in own.places]).tolist()
        said = graph.op("Gather", joined, graph.constant(order), axis=1)
        part = (graph.constant([number]) for number in (0, self.labels, self.labels + len(ATTRIBUTE_NAMES), 2))
        start, middle, end, axis = part
        return graph.op("Slice", said, start, middle, axis), graph.op("Slice", said, middle, end, axis), said


def _fill_silent(
    graph: Graph, posteriors: Value, rated: Value, lengths: Sequence[Value], reads: NDArray[np.bool_], labels: int
) -> tuple[Value, Value]:
    """As `models.meta.fill_silent`: members with nothing to read say what the others say on average."""
    long = graph.op("Concat", *(graph.reshape(length, (-1, 1)) for length in lengths), axis=1)
    there = graph.op("Cast", graph.op("Greater", long, graph.constant(np.array(0, dtype=np.int64))), to=1)
    heard = graph.op("MatMul", there, graph.constant(reads.T.astype(np.float32)))
    share = graph.reshape(graph.op("Min", heard, graph.constant(1.0)), (-1, len(reads), 1))
    voices = graph.op("ReduceSum", share, graph.constant([1]), keepdims=1)
    nobody = graph.op("Equal", voices, graph.constant(0.0))
    count = graph.op("Max", voices, graph.constant(1.0))
    silent = graph.op("Equal", share, graph.constant(0.0))

    def filled(answers: Value, otherwise: float) -> Value:
        total = graph.op("ReduceSum", graph.op("Mul", answers, share), graph.constant([1]), keepdims=1)
        mean = graph.op("Where", nobody, graph.constant(otherwise), graph.op("Div", total, count))
        return graph.op("Where", silent, mean, answers)

    return filled(posteriors, 1 / labels), filled(rated, CENTRE)


def _answers(graph: Graph, posteriors: Value, rated: Value, width: int) -> Value:
    """As `models.meta.member_answers`."""
    centred = graph.op("Mul", graph.op("Sub", rated, graph.constant(CENTRE)), graph.constant(1 / REACH))
    return graph.reshape(graph.op("Concat", posteriors, centred, axis=2), (-1, width))


def _linear(graph: Graph, x: Value, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> Value:
    product = graph.op("MatMul", x, graph.constant(weight.T.astype(np.float32)))
    return graph.op("Add", product, graph.constant(bias.astype(np.float32)))
