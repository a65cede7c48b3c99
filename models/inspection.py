"""What is inside a compiled engine: inputs, layers, precision, memory, and how long each layer takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.audio_batches import AudioBatch
from models.compile import runnable
from models.engine_report import CompiledEngine
from models.engines.base import Engine
from models.errors import EngineError
from models.modalities import EngineInputs
from models.order import ONNX, Order


@dataclass(frozen=True, slots=True)
class TensorShape:
    """An input or output."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    """A name, or -1, where only a call tells."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """An engine, taken apart."""

    engine: str
    precision: str
    size_bytes: int
    inputs: tuple[TensorShape, ...]
    outputs: tuple[TensorShape, ...]
    layers: Mapping[str, int]
    """How many there are of each operation."""
    weights_bytes: int | None
    """None where the engine does not tell."""
    device_memory_bytes: int | None
    """That a call needs at most on a GPU, weights not counted; None where none opens the engine."""
    capabilities: tuple[str, ...]
    """Compute capabilities of NVIDIA cards it was built for."""
    layer_ms: Mapping[str, float]
    """Milliseconds of the slowest layers for one segment; empty where no GPU runs it."""
    note: str | None
    """Why something is not known."""


def inspect(order: Order, compiled: CompiledEngine) -> Inspection:
    """Takes an engine apart.

    Args:
        order: what was compiled.
        compiled: the engine.

    Raises:
        EngineError: it is not one that can be read.
    """
    if order.target == ONNX:
        return _graph(order, compiled)
    from models.engines.tensorrt import inspect_engine

    found = inspect_engine(compiled.content)
    record = found.record
    layers: Counter[str] = Counter()
    for operation, kinds in record.layers.items():
        layers.update({f"{operation} ({kind})": count for kind, count in kinds.items()})
    layer_ms, note = _timed(order, compiled)
    return Inspection(
        engine=f"{record.library} {record.library_version}",
        precision=record.precision,
        size_bytes=found.file_bytes,
        inputs=tuple(TensorShape(entry.name, entry.dtype, entry.shape) for entry in record.inputs),
        outputs=tuple(TensorShape(entry.name, entry.dtype, entry.shape) for entry in record.outputs),
        layers=dict(layers.most_common()),
        weights_bytes=None,
        device_memory_bytes=found.device_memory_bytes,
        capabilities=record.capabilities,
        layer_ms=layer_ms,
        note=found.not_opened or note,
    )


def one_segment(order: Order, engine: Engine) -> EngineInputs:
    """Inputs of one segment with everything in it, to time an engine with."""
    from models.random_inputs import check_inputs

    inputs = check_inputs(engine.modalities, engine.reads_tokens, engine.reads_audio | engine.reads_mel.keys())
    size = len(next(iter(inputs.values())))
    whole = next(row for row in range(size) if all(batch.lengths[row] > 0 for batch in inputs.values()))
    own = {name: batch.rows(whole, whole + 1) for name, batch in inputs.items()}
    ears = {name: source.ear(order.bundle.final_windows) for name, source in order.hearing.items()}
    return {n: ears[n](batch) if isinstance(batch, AudioBatch) else batch for n, batch in own.items()}


def _graph(order: Order, compiled: CompiledEngine) -> Inspection:
    import onnx

    try:
        model = onnx.load_from_string(compiled.content)
    except Exception as error:
        raise EngineError(f"the engine's graph cannot be read: {error}") from error
    graph = model.graph
    return Inspection(
        engine=order.target,
        precision=order.precision,
        size_bytes=compiled.report.size_bytes,
        inputs=tuple(_onnx_tensor(entry) for entry in graph.input),
        outputs=tuple(_onnx_tensor(entry) for entry in graph.output),
        layers=dict(Counter(node.op_type for node in graph.node).most_common()),
        weights_bytes=sum(_bytes(tensor) for tensor in graph.initializer),
        device_memory_bytes=None,
        capabilities=(),
        layer_ms={},
        note=None,
    )


def _bytes(tensor: Any) -> int:
    """Of a constant, in the graph or beside it."""
    beside = {entry.key: entry.value for entry in tensor.external_data}
    return int(beside.get("length", len(tensor.raw_data)))


def _onnx_tensor(entry: Any) -> TensorShape:
    import onnx

    kind = onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
    shape = tuple(dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim)
    return TensorShape(entry.name, str(kind), shape)


def _timed(order: Order, compiled: CompiledEngine) -> tuple[Mapping[str, float], str | None]:
    try:
        engine: Engine = runnable(order, compiled)
    except EngineError as error:
        return {}, f"layers are not timed: {error}"
    from models.engines.tensorrt_runtime import TensorRTEngine

    if not isinstance(engine, TensorRTEngine):
        return {}, None
    times = engine.layer_times_ms(one_segment(order, engine))
    return dict(sorted(times.items(), key=lambda item: item[1], reverse=True)), None
