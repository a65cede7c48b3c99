"""Writing an ONNX graph node by node: names, constants that are stored once, sizes known only when it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NewType

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.errors import EngineError

OPSET: Final = 18
_IR_VERSION: Final = 10
_LARGEST_FILE_BYTES: Final = onnx.checker.MAXIMUM_PROTOBUF
"""What one file of ONNX may hold, weights included."""
_LEAST_OUTSIDE_BYTES: Final = 1024
"""Smaller constants stay in the graph: shapes are inferred from some of them."""
_PAGE_BYTES: Final = 4096
"""Weights of a file of their own begin where pages of memory do, so that they need not be copied to be read."""

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
        self._constants: dict[str, NDArray[Any]] = {}
        self._notes: dict[str, str] = {}
        self._foreign: set[str] = set()
        self._opset = OPSET
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
            self._constants[name] = np.ascontiguousarray(kept).reshape(kept.shape)
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

    def at_least(self, opset: int) -> None:
        """Asks for a later version of ONNX's operations than `OPSET`, for something that was not there before."""
        self._opset = max(self._opset, opset)

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

    def sources(self, value: Value) -> frozenset[str]:
        """The inputs that a tensor depends on; what is written in branches is not looked into."""
        made = {name: node.input for node in self._nodes for name in node.output}
        found: set[str] = set()
        left = [str(value)]
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left += made.get(name, ())
        return frozenset(entry.name for entry in self._inputs if entry.name in found)

    @property
    def weights_bytes(self) -> int:
        """What its constants weigh."""
        return sum(array.nbytes for array in self._constants.values())

    def serialise(self) -> bytes:
        """The graph as a model in one piece, checked.

        Raises:
            EngineError: it is no valid ONNX, or larger than a file of it may be.
        """
        # Told before the weights are copied: libraries answer each in their own way.
        if self.weights_bytes >= _LARGEST_FILE_BYTES:
            raise EngineError(
                f"the graph of {self._name} holds {self.weights_bytes / 1e9:.2f} GB of weights, a file of ONNX holds "
                f"{_LARGEST_FILE_BYTES / 1e9:.2f} GB: put fewer or smaller encoders inside, or save the weights beside "
                "it"
            )
        try:
            model = self._model([numpy_helper.from_array(array, name) for name, array in self._constants.items()])
            content: bytes = model.SerializeToString()
            onnx.checker.check_model(content, full_check=True)  # it would write the model down a second time
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
            raise EngineError(f"the graph of {self._name} is not valid ONNX: {error}") from error
        return content

    def save(self, path: Path, *, most_bytes: int = _LARGEST_FILE_BYTES) -> Path | None:
        """Writes the graph as a model, checked, and its weights into a second file where they are too many for one.

        Args:
            path: of the graph.
            most_bytes: from here on, weights are written into a file of their own.

        Returns:
            The file of the weights, in the folder of the graph, by the name that the graph has for it: one that tells
            what is in it. None where they stand in the graph.

        Raises:
            EngineError: it is no valid ONNX.
            OSError: it cannot be written.
        """
        if self.weights_bytes < most_bytes:
            path.write_bytes(self.serialise())
            return None
        outside = {name: array for name, array in self._constants.items() if array.nbytes >= _LEAST_OUTSIDE_BYTES}
        weights = path.with_name(_file_name(outside))
        with weights.open("wb") as file:
            places = {name: _append(file, array) for name, array in outside.items()}
        tensors = [
            _elsewhere(name, array, weights.name, places[name])
            if name in outside
            else numpy_helper.from_array(array, name)
            for name, array in self._constants.items()
        ]
        try:
            path.write_bytes(self._model(tensors).SerializeToString())
            # By its path: what lies beside it is looked for there.
            onnx.checker.check_model(str(path), full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
            raise EngineError(f"the graph of {self._name} is not valid ONNX: {error}") from error
        return weights

    def _model(self, constants: Sequence[onnx.TensorProto]) -> onnx.ModelProto:
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, initializer=constants)
        model = helper.make_model(
            graph, opset_imports=self._domains(), ir_version=_IR_VERSION, producer_name="medusa-live"
        )
        if self._notes:
            helper.set_model_props(model, self._notes)
        return model

    def _domains(self) -> list[onnx.OperatorSetIdProto]:
        return [helper.make_opsetid("", self._opset), *(helper.make_opsetid(name, 1) for name in sorted(self._foreign))]

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
        if node.domain:
            self._foreign.add(node.domain)
        self._written += 1


def _kind(kind: type[np.generic]) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(kind)))


def _file_name(constants: Collection[str]) -> str:
    """Constants are named by what is in them, and so is a file of them."""
    return f"weights-{hashlib.sha256(' '.join(constants).encode()).hexdigest()[:16]}"


def _append(file: BinaryIO, array: NDArray[Any]) -> int:
    """Where it begins."""
    file.write(b"\0" * (-file.tell() % _PAGE_BYTES))
    place = file.tell()
    file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).view(np.uint8).data)
    return place


def _elsewhere(name: str, array: NDArray[Any], file: str, place: int) -> onnx.TensorProto:
    """A constant whose numbers lie in a file beside the graph."""
    tensor = TensorProto(name=name, dims=array.shape, data_location=TensorProto.EXTERNAL)
    tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    for key, value in (("location", file), ("offset", place), ("length", array.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
