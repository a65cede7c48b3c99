"""Writing an ONNX graph node by node: names, constants that are stored once, sizes known only when it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final, NewType

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.errors import EngineError

OPSET: Final = 18
_IR_VERSION: Final = 10
_LARGEST_FILE_BYTES: Final = onnx.checker.MAXIMUM_PROTOBUF
"""What one file of ONNX may hold, weights included."""

Value = NewType("Value", str)
"""Name of a tensor in the graph."""

Dim = int | str
"""A size, or the name of one that is known only when the graph runs."""


class Graph:
    """A graph that grows by one node a call."""

    def __init__(self, name: str) -> None:
        """Starts empty.

        Args:
            name: of the graph, for whoever looks at it.
        """
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._notes: dict[str, str] = {}
        self._written = 0

    def input(self, name: str, kind: type[np.generic], shape: Sequence[Dim]) -> Value:
        """Declares an input."""
        self._inputs.append(helper.make_tensor_value_info(name, _kind(kind), shape))
        return Value(name)

    def output(self, name: str, value: Value, kind: type[np.generic], shape: Sequence[Dim]) -> None:
        """Declares a tensor as an output under a name."""
        self._add(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _kind(kind), shape))

    def constant(self, array: NDArray[Any] | Sequence[int] | float) -> Value:
        """A constant, stored once however often it is asked for; plain numbers are float32, sequences int64."""
        kind = np.float32 if isinstance(array, float) else np.int64
        kept = array if isinstance(array, np.ndarray) else np.asarray(array, dtype=kind)
        digest = hashlib.sha256(f"{kept.dtype}{kept.shape}".encode() + kept.tobytes()).hexdigest()[:16]
        name = f"constant_{digest}"
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(kept).reshape(kept.shape), name)
        return Value(name)

    def op(self, kind: str, *inputs: Value, **attributes: Any) -> Value:
        """Adds a node of one output."""
        name = Value(f"{kind.lower()}_{self._written}")
        self._add(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def choose(
        self,
        condition: Value,
        then: Callable[[], Value],
        otherwise: Callable[[], Value],
        kind: type[np.generic],
        shape: Sequence[Dim],
    ) -> Value:
        """One of two computations, of which only the chosen one runs.

        Both are written to this graph as everything else is, and read whatever was written before. What is written in
        one of them exists there only: it must not be kept for later. Constants are the graph's, as ever.

        Args:
            condition: one boolean.
            then: writes what is computed where it is true.
            otherwise: writes what is computed where it is false.
            kind: of either result.
            shape: of either result.
        """
        branches = {
            "then_branch": self._branch("then", then, kind, shape),
            "else_branch": self._branch("else", otherwise, kind, shape),
        }
        return self.op("If", condition, **branches)

    def note(self, name: str, content: str) -> None:
        """Something about the graph for whoever opens it; kept in the model's metadata."""
        self._notes[name] = content

    def cast(self, value: Value, kind: type[np.generic]) -> Value:
        """The same numbers in another type."""
        return self.op("Cast", value, to=_kind(kind))

    def size(self, value: Value, axis: int) -> Value:
        """A tensor's size along an axis, `[1]`."""
        return self.op("Shape", value, start=axis, end=axis + 1)

    def reshape(self, value: Value, shape: Sequence[int | Value]) -> Value:
        """Another shape of the same numbers; sizes may be tensors `[1]`, and one number may be -1."""
        if all(isinstance(size, int) for size in shape):
            return self.op("Reshape", value, self.constant([size for size in shape if isinstance(size, int)]))
        parts: list[Value] = []
        numbers: list[int] = []
        for size in shape:
            if isinstance(size, int):
                numbers.append(size)
                continue
            if numbers:
                parts.append(self.constant(numbers))
                numbers = []
            parts.append(size)
        if numbers:
            parts.append(self.constant(numbers))
        return self.op("Reshape", value, self.op("Concat", *parts, axis=0))

    def serialise(self) -> bytes:
        """The graph as a model, checked.

        Raises:
            EngineError: it is no valid ONNX, or larger than a file of it may be.
        """
        # Told before the weights are copied: libraries answer each in their own way.
        held = sum(len(constant.raw_data) for constant in self._constants.values())
        if held >= _LARGEST_FILE_BYTES:
            raise EngineError(
                f"the graph of {self._name} holds {held / 1e9:.2f} GB of weights, a file of ONNX holds "
                f"{_LARGEST_FILE_BYTES / 1e9:.2f} GB: put fewer or smaller encoders inside"
            )
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, initializer=list(self._constants.values())
        )
        model = helper.make_model(
            graph, opset_imports=self._domains(), ir_version=_IR_VERSION, producer_name="medusa-live"
        )
        if self._notes:
            helper.set_model_props(model, self._notes)
        try:
            onnx.checker.check_model(model, full_check=True)
            content: bytes = model.SerializeToString()
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
            raise EngineError(f"the graph of {self._name} is not valid ONNX: {error}") from error
        return content

    def _domains(self) -> list[onnx.OperatorSetIdProto]:
        others = sorted({node.domain for node in self._nodes if node.domain})
        return [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in others)]

    def _branch(
        self, name: str, write: Callable[[], Value], kind: type[np.generic], shape: Sequence[Dim]
    ) -> onnx.GraphProto:
        outer, self._nodes = self._nodes, []
        try:
            result = write()
            if not any(result in node.output for node in self._nodes):
                # A branch may not hand out what is not its own.
                result = self.op("Identity", result)
            return helper.make_graph(self._nodes, name, [], [helper.make_tensor_value_info(result, _kind(kind), shape)])
        finally:
            self._nodes = outer

    def _add(self, node: onnx.NodeProto) -> None:
        self._nodes.append(node)
        self._written += 1


def _kind(kind: type[np.generic]) -> int:
    known: dict[type[np.generic], int] = {
        np.float32: TensorProto.FLOAT,
        np.float16: TensorProto.FLOAT16,
        np.int64: TensorProto.INT64,
    }
    return known[kind]
