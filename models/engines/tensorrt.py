"""TensorRT engines built, looked into and given other weights; what runs them is `models.engines.tensorrt_runtime`."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.engines.cuda_calls import Cuda
from models.engines.graph_inputs import told_hearing
from models.engines.tensorrt_file import (
    EngineFile,
    EngineRecord,
    TensorEntry,
    check_library,
    pack_engine,
    read_engine,
)
from models.engines.tensorrt_library import Library, plain_capability, tensorrt_library
from models.engines.tensorrt_shapes import ShapeBucket, sized_by
from models.engines.tensorrt_weights import notes, numbered, structure_sha256
from models.errors import EngineError

DEFAULT_CAPABILITIES: Final = ("8.0", "8.6", "8.9", "12.0")
"""Ampere, Ada and Blackwell; engines of TensorRT for RTX also run on what comes after them."""

_LOG: Final = logging.getLogger(__name__)
_DTYPES: Final = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT64": "int64",
    "INT32": "int32",
    "INT8": "int8",
    "FP8": "float8",
    "BOOL": "bool",
}
_EIGHT_BITS: Final = {"float8": "fp8", "int8": "int8"}
_SIXTEEN_BITS: Final = {"float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build is."""

    phase: str
    """What TensorRT calls it; phases lie within one another."""
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine, and what the next build may use of this one."""

    content: bytes
    """To be kept as a file; `read_engine` takes it apart."""
    record: EngineRecord
    timing_cache: bytes | None
    """Measurements of kernels; None from TensorRT for RTX, which takes none."""


@dataclass(frozen=True, slots=True)
class EngineInspection:
    """What an engine is."""

    record: EngineRecord
    file_bytes: int
    device_memory_bytes: int | None
    """That one call needs at most, weights not counted; None where no GPU opens the engine."""
    compiled_layers: tuple[str, ...] | None
    """What the network became, as TensorRT describes it; None likewise."""
    not_opened: str | None
    """Why the engine was not opened, so that only the record speaks; None where it was."""


def build_engine(
    graph: bytes,
    buckets: Sequence[ShapeBucket],
    *,
    weights: Path | None = None,
    capabilities: Sequence[str] = DEFAULT_CAPABILITIES,
    library: str | None = None,
    timing_cache: bytes | None = None,
    progress: Callable[[BuildProgress], None] | None = None,
    refittable: bool = False,
    calibration_sha256: str | None = None,
) -> BuiltEngine:
    """Compiles a graph, strongly typed: its own types are the precision.

    Args:
        graph: ONNX, as `models.graphs.ensemble` writes it.
        buckets: an optimisation profile each, the first that fits a call is taken.
        weights: the file of the graph's weights, where they are none of the graph.
        capabilities: compute capabilities such as `8.9` or `SM89` to build for. TensorRT for RTX needs no GPU for it;
            the other library builds for the GPU at hand, whatever stands here, and says so in the record.
        library: one of `models.engines.tensorrt_library.LIBRARIES`; the first that is installed by default.
        timing_cache: of an earlier build.
        progress: told of every step; what it raises stops the build and is raised again.
        refittable: whether `refit_engine` may change the weights; TensorRT for RTX builds such engines on a GPU alone.
        calibration_sha256: of what the graph's ranges were measured on, for the record.

    Raises:
        EngineError: no library, an unknown capability, a graph that TensorRT cannot read or a bucket lacks an input
            of, or the build fails.
    """
    found = tensorrt_library(library)
    trt = found.module
    found.log.errors.clear()
    targets = tuple(dict.fromkeys(plain_capability(name) for name in capabilities))
    if not buckets or not targets:
        raise EngineError("an engine needs one bucket of shapes and one compute capability at least")
    started = time.perf_counter()
    builder = trt.Builder(found.log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = _parse(found, network, numbered(graph) if refittable else graph, weights)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if refittable:
        config.set_flag(trt.BuilderFlag.REFIT)
    if found.builds_ahead:
        config.num_compute_capabilities = len(targets)
        for position, target in enumerate(targets):
            config.set_compute_capability(found.capability(target), position)
    else:
        targets = (Cuda().capability,)
        config.set_timing_cache(config.create_timing_cache(timing_cache or b""), ignore_mismatch=False)
    for bucket in buckets:
        config.add_optimization_profile(_profile(builder, network, bucket))
    monitor = _monitor(trt, progress)
    config.progress_monitor = monitor
    engine = builder.build_serialized_network(network, config)
    if monitor.stopped is not None:
        raise monitor.stopped
    if engine is None:
        raise found.failure(f"TensorRT does not build the engine for {', '.join(targets)}")
    layers = _layers(network)
    record = EngineRecord(
        library=found.name,
        library_version=found.version,
        capabilities=targets,
        precision=_precision(layers),
        inputs=tuple(_tensor(network.get_input(i)) for i in range(network.num_inputs)),
        outputs=tuple(_tensor(network.get_output(i)) for i in range(network.num_outputs)),
        hears=tuple(sorted(told_hearing(notes(graph)))),
        profiles=tuple(buckets),
        layers=layers,
        graph_sha256=hashlib.sha256(graph).hexdigest(),
        structure_sha256=structure_sha256(graph) if refittable else None,
        calibration_sha256=calibration_sha256,
        engine_bytes=engine.nbytes,
        build_s=time.perf_counter() - started,
    )
    # The network reads the parser's weights until it is built.
    del parser
    measured = None if found.builds_ahead else bytes(config.get_timing_cache().serialize())
    return BuiltEngine(pack_engine(record, memoryview(engine)), record, measured)


def inspect_engine(content: bytes, *, graph_sha256: str | None = None) -> EngineInspection:
    """Looks into an engine: what was recorded when it was built and, on a GPU that runs it, what it became.

    Args:
        content: of the engine's file.
        graph_sha256: as for `read_engine`.

    Raises:
        EngineError: it is no engine of ours, damaged, stale, or of another library or version than is installed.
    """
    file = read_engine(content, graph_sha256=graph_sha256)
    found = tensorrt_library(file.record.library)
    check_library(file.record, found.name, found.version)
    try:
        Cuda().use()
        engine = open_engine_file(found, file)
    except EngineError as error:
        return EngineInspection(file.record, len(content), None, None, not_opened=str(error))
    inspector = engine.create_engine_inspector()
    lines = (
        inspector.get_layer_information(i, found.module.LayerInformationFormat.ONELINE)
        for i in range(engine.num_layers)
    )
    return EngineInspection(
        file.record, len(content), int(engine.device_memory_size_v2), tuple(str(line).strip() for line in lines), None
    )


def open_engine_file(library: Library, file: EngineFile) -> Any:
    """TensorRT's own engine, on the current GPU.

    Raises:
        EngineError: this GPU or driver does not run it.
    """
    check_library(file.record, library.name, library.version)
    library.log.errors.clear()
    engine = library.module.Runtime(library.log).deserialize_cuda_engine(file.engine)
    if engine is None:
        built_for = ", ".join(file.record.capabilities)
        raise library.failure(f"{library.name} does not open the engine, built for compute capability {built_for}")
    return engine


def refit_engine(content: bytes, graph: bytes, weights: Path | None = None) -> bytes:
    """Gives an engine the weights of another graph of the same structure: a bundle trained anew needs no new build.

    Args:
        content: of an engine built with `refittable`.
        graph: the other bundle's.
        weights: the file of its weights, where they are none of the graph.

    Returns:
        The engine's file with the new weights.

    Raises:
        EngineError: the engine takes no other weights, the graph is of another structure, or no GPU opens the engine.
    """
    file = read_engine(content)
    if file.record.structure_sha256 is None:
        raise EngineError("this engine takes no other weights: build it with refittable=True, or build it again")
    if file.record.structure_sha256 != structure_sha256(graph):
        raise EngineError("the graph differs from the engine's in more than its weights: build the engine again")
    found = tensorrt_library(file.record.library)
    Cuda().use()
    engine = open_engine_file(found, file)
    refitter = found.module.Refitter(engine, found.log)
    parser = found.module.OnnxParserRefitter(refitter, found.log)
    if not parser.refit_from_bytes(numbered(graph), _beside(weights)) or not refitter.refit_cuda_engine():
        raise found.failure("TensorRT does not take the new weights: build the engine again")
    settings = engine.create_serialization_config()
    settings.set_flag(found.module.SerializationFlag.INCLUDE_REFIT)
    refitted = engine.serialize_with_config(settings)
    changes = {"graph_sha256": hashlib.sha256(graph).hexdigest(), "engine_bytes": refitted.nbytes}
    return pack_engine(file.record.model_copy(update=changes), memoryview(refitted))


def _beside(weights: Path | None) -> str | None:
    """Where TensorRT takes a graph to lie that names a file of weights."""
    return None if weights is None else str(weights.with_name("graph.onnx"))


def _parse(library: Library, network: Any, graph: bytes, weights: Path | None) -> Any:
    parser = library.module.OnnxParser(network, library.log)
    if not parser.parse(graph, _beside(weights)):
        said = [parser.get_error(i) for i in range(parser.num_errors)]
        where = "; ".join(f"{error.node_operator() or 'graph'} {error.node_name()}: {error.desc()}" for error in said)
        raise library.failure(
            f"TensorRT cannot read the graph ({where})" if where else "TensorRT cannot read the graph"
        )
    return parser


def _profile(builder: Any, network: Any, bucket: ShapeBucket) -> Any:
    profile = builder.create_optimization_profile()
    for position in range(network.num_inputs):
        tensor = network.get_input(position)
        if len(tensor.shape) > 1 and sized_by(tensor.name) not in bucket.times:
            raise EngineError(f"the graph reads {tensor.name}, the bucket has sizes for {', '.join(bucket.times)}")
        profile.set_shape(tensor.name, *bucket.shapes(tensor.name, tuple(tensor.shape)))
    return profile


def _tensor(tensor: Any) -> TensorEntry:
    return TensorEntry(name=tensor.name, dtype=_dtype(tensor), shape=tuple(tensor.shape))


def _dtype(tensor: Any) -> str:
    name = str(tensor.dtype.name)
    return _DTYPES.get(name, name.lower())


def _precision(layers: Mapping[str, Mapping[str, int]]) -> str:
    """What a network computes in, by what its layers give: steps of quantisation give 8 bits to what follows them."""
    rounded = layers.get("quantize", {})
    given = {kind for kinds in layers.values() for kind in kinds}
    narrow = [precision for kind, precision in _EIGHT_BITS.items() if kind in rounded]
    narrow += [precision for kind, precision in _SIXTEEN_BITS.items() if kind in given]
    return narrow[0] if narrow else "fp32"


def _layers(network: Any) -> dict[str, dict[str, int]]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for position in range(network.num_layers):
        layer = network.get_layer(position)
        counts[layer.type.name.lower()][_dtype(layer.get_output(0))] += 1
    return {operation: dict(sorted(kinds.items())) for operation, kinds in sorted(counts.items())}


def _monitor(trt: Any, progress: Callable[[BuildProgress], None] | None) -> Any:
    """What TensorRT tells of a build; its base class is the library's own."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped: BaseException | None = None
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            del parent_phase
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            # An exception must not unwind through TensorRT; Ctrl-C arrives here too.
            try:
                if progress is not None and self.stopped is None:
                    progress(BuildProgress(phase_name, step + 1, self._steps.get(phase_name, step + 1)))
            except BaseException as error:  # noqa: BLE001 - raised again once TensorRT has returned
                self.stopped = error
            return self.stopped is None

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
