"""A graph's weights told from its structure, so that an engine takes other weights without being built again.

`models.graphs.graph` names constants by their content. Where weights are to change, they are named by their place
instead.
"""

from __future__ import annotations

import hashlib
from typing import Final

import onnx
from onnx import TensorProto

_WEIGHT_TYPES: Final = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def numbered(graph: bytes) -> bytes:
    """The same graph, constants named by the order in which nodes first read them."""
    content: bytes = _numbered(graph).SerializeToString()
    return content


def structure_sha256(graph: bytes) -> str:
    """A digest of everything but the weights: the same for two bundles whose members are of the same shapes.

    Weights that lie beside the graph are not looked at. A constant that stands in several places is held once; where it
    does so in one bundle only, the digests differ.
    """
    model = _numbered(graph)
    for constant in model.graph.initializer:
        if constant.data_type in _WEIGHT_TYPES:
            for held in ("raw_data", "external_data", "data_location"):
                constant.ClearField(held)
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def notes(graph: bytes) -> dict[str, str]:
    """What the graph tells about itself, see `models.graphs.graph.Graph.note`."""
    return {entry.key: entry.value for entry in onnx.load_from_string(graph).metadata_props}


def _numbered(graph: bytes) -> onnx.ModelProto:
    model = onnx.load_from_string(graph)
    constants = {constant.name: constant for constant in model.graph.initializer}
    names: dict[str, str] = {}
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name in constants:
                node.input[position] = names.setdefault(name, f"weights_{len(names)}")
    ordered = [constants[name] for name in names]
    model.graph.ClearField("initializer")
    for constant in ordered:
        kept = model.graph.initializer.add()
        kept.CopyFrom(constant)
        kept.name = names[constant.name]
    return model
