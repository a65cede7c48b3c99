"""From a bundle to an engine: graph, numerical check, cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.admission import admit
from models.engine_places import SAME_BUT_CALIBRATION, cached, digest_of, library_of, store_of
from models.engine_report import CompiledEngine, EngineReport
from models.engines.onnx import OnnxEngine
from models.engines.store import EngineStore
from models.errors import EngineError
from models.order import ONNX, TENSORRT, Order
from models.order_graph import write_graph
from models.ranges import calibration_sha256, measured_ranges

if TYPE_CHECKING:
    from models.agreement import Agreement
    from models.engines.base import Engine
    from models.engines.tensorrt import BuildProgress
    from models.engines.tensorrt_shapes import Hearing
    from models.graphs.graph import Graph

_LOG: Final = logging.getLogger(__name__)

MOST_FILE_BYTES: Final = 2_000_000_000
"""Of weights in one file: a file of ONNX ends at 2 GiB. What is more is read from a second file."""

_SUFFIXES: Final = {ONNX: ".onnx", **dict.fromkeys(TENSORRT, ".engine")}

Progress = Callable[["BuildProgress"], None]


def compile_engine(order: Order, *, force: bool = False, progress: Progress | None = None) -> CompiledEngine:
    """Writes a bundle as a graph, builds its engine, checks it against PyTorch and puts it into the cache, in one step.

    Args:
        order: what to compile.
        force: compile even where the cache has it.
        progress: told of the steps of a long build; what it raises stops the build.

    Returns:
        The engine, handed over even where it cannot be kept: `fault` says why then.

    Raises:
        EngineError: the engine cannot be built, does not agree with PyTorch, or is too large for one file while the
            cache cannot be written.
        WeightsError: an encoder's weights are damaged.
    """
    store = store_of(order)
    if not force and (found := cached(store, order)) is not None:
        return found
    with store.building(), ExitStack() as until_kept:
        # Whoever built while this process waited has saved it the work.
        if not force and (found := cached(store, order)) is not None:
            return found
        started = time.perf_counter()
        built = _built(order, store, until_kept, progress)
        content, weights, as_graph = built.content, built.weights, built.as_graph
        report = EngineReport(
            engine=order.target,
            precision=order.precision,
            path="",
            size_bytes=len(content) + (0 if weights is None else weights.stat().st_size),
            largest_difference=None,
            label_agreement=None,
            rows=0,
            clips=0,
            seconds=0.0,
            cached=False,
            capabilities=built.capabilities,
            calibration=calibration_sha256(order) if order.quantised else None,
            graph_difference=None if as_graph is None else as_graph.largest_difference,
            graph_label_agreement=None if as_graph is None else as_graph.label_agreement,
            graph_rows=0 if as_graph is None else as_graph.rows,
        )
        compiled = CompiledEngine(content, report, weights=weights)
        report = replace(_checked(order, compiled), seconds=time.perf_counter() - started)
        return _kept(store, order, replace(compiled, report=report))


def check_engine(order: Order) -> CompiledEngine:
    """Compares the cached engine with PyTorch anew.

    Raises:
        EngineError: there is none, nothing here can run it, or it does not agree.
    """
    store = store_of(order)
    compiled = cached(store, order)
    if compiled is None:
        raise EngineError(f"no {order.target} engine of {order.bundle.manifest.name} is in the cache: compile it first")
    report = _checked(order, compiled)
    if report.largest_difference is None:
        raise EngineError(f"nothing here runs the {order.target} engine: check it on a machine with such a GPU")
    if report == compiled.report:
        return compiled
    # Not beside another process that builds: whoever keeps an engine clears away what others have begun.
    with store.building():
        return _kept(store, order, replace(compiled, report=report))


def runnable(order: Order, compiled: CompiledEngine, *, threads: int = 0) -> Engine:
    """An engine, opened.

    Args:
        order: what was compiled.
        compiled: the engine.
        threads: CPU threads a call of ONNX Runtime may use; 0 lets it choose.

    Raises:
        EngineError: it cannot be run here.
    """
    if order.target == ONNX:
        return OnnxEngine(compiled.content, order.bundle.modalities, threads=threads, weights=compiled.weights)
    from models.engines.tensorrt_memory import compiled_kernels
    from models.engines.tensorrt_runtime import TensorRTEngine

    path = compiled.report.path
    return TensorRTEngine(
        compiled.content, order.bundle.modalities, kernels=compiled_kernels(Path(path)) if path else None
    )


@dataclass(frozen=True, slots=True)
class _Built:
    """What a build gives."""

    content: bytes
    weights: Path | None = None
    """The file of weights, where there is one."""
    capabilities: tuple[str, ...] = ()
    as_graph: Agreement | None = None
    """What was found of the graph, where it was checked before an engine was made of it."""


def _built(order: Order, store: EngineStore, until_kept: ExitStack, progress: Progress | None) -> _Built:
    ranges: dict[str, float] | None = None
    if order.quantised:
        with ExitStack() as until_measured:
            ranges = measured_ranges(order, lambda graph: _serialised(graph, store, until_measured))
    written, weights = _serialised(write_graph(order, ranges), store, until_kept)
    if order.target == ONNX:
        return _Built(written, weights)
    as_graph = None if ranges is None else _checked_as_graph(order, ranges, store, written, weights)
    from models.cards import built_for_cards
    from models.engines.tensorrt_shapes import default_buckets

    content, capabilities = built_for_cards(
        written,
        default_buckets(order.bundle.modalities, hearing=_heard(order)),
        store,
        weights=weights,
        capabilities=order.built_for,
        library=library_of(order),
        refittable=order.refittable,
        calibration_sha256=calibration_sha256(order) if order.quantised else None,
        progress=progress,
    )
    return _Built(content, None, capabilities, as_graph)


def _serialised(graph: Graph, store: EngineStore, until: ExitStack) -> tuple[bytes, Path | None]:
    """A graph and the file of its weights, where these are too many for one."""
    if graph.weights_bytes < MOST_FILE_BYTES:
        return graph.serialise(), None
    path = until.enter_context(store.workplace()) / "graph.onnx"
    weights = graph.save(path, most_bytes=MOST_FILE_BYTES)
    return path.read_bytes(), weights


def _checked_as_graph(
    order: Order, ranges: dict[str, float], store: EngineStore, written: bytes, weights: Path | None
) -> Agreement:
    """Holds the graph to the gate before an engine is made of it: no card is needed to refuse what cannot pass."""
    from models.groups_to_keep import GroupsToKeep

    def engine(graph: bytes, beside: Path | None) -> OnnxEngine:
        return OnnxEngine(graph, order.bundle.modalities, weights=beside, as_written=True)

    def keeping(groups: tuple[str, ...], until: ExitStack) -> Engine:
        return engine(*_serialised(write_graph(order, ranges, keep_fp32=groups), store, until))

    advice = GroupsToKeep(order, keeping)
    graph = engine(written, weights)
    return admit(graph, order.bundle, order.text, order.precision, order.hearing, audio=order.audio, advise=advice)


def _heard(order: Order) -> Hearing | None:
    """What the speech encoders inside are given; None where there are none."""
    from models.engines.tensorrt_shapes import Hearing

    if not order.hearing:
        return None
    places_s = {name: source.places_s() for name, source in order.hearing.items()}
    return Hearing(
        frozenset(name for name, seconds in places_s.items() if seconds is None),
        {name: seconds for name, seconds in places_s.items() if seconds is not None},
        (order.bundle.final_windows, order.bundle.interim_windows),
    )


def _checked(order: Order, compiled: CompiledEngine) -> EngineReport:
    """Its report with the differences found, where something here runs the engine."""
    try:
        engine = runnable(order, compiled)
    except EngineError as error:
        if order.target == ONNX:
            raise
        _LOG.debug("the engine is built, and is to be checked where it runs: %s", error)
        return compiled.report
    advise = _of_the_engine if order.quantised else None
    agreed = admit(engine, order.bundle, order.text, order.precision, order.hearing, audio=order.audio, advise=advise)
    return replace(
        compiled.report,
        largest_difference=agreed.largest_difference,
        label_agreement=agreed.label_agreement,
        rows=agreed.rows,
        clips=agreed.clips,
    )


def _of_the_engine(*_compared: object) -> str:
    return "its graph passed when it was built, so look for a fault of the engine, or compile in fp16"


def _kept(store: EngineStore, order: Order, compiled: CompiledEngine) -> CompiledEngine:
    facts = {**asdict(compiled.report), "bundle": order.bundle.sha256, SAME_BUT_CALIBRATION: digest_of(order, None)}
    try:
        path = store.keep(compiled.content, _SUFFIXES[order.target], facts, compiled.weights)
    except EngineError as error:
        if compiled.weights is not None:
            # Their workplace is about to go.
            raise
        return replace(compiled, fault=str(error))
    weights = None if compiled.weights is None else path.with_name(compiled.weights.name)
    return replace(compiled, report=replace(compiled.report, path=str(path)), weights=weights)
