"""From a bundle to an engine: graph, numerical check, cache."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from models.admission import INTEGERS, admit
from models.backbones.speech_source import SpeechSource
from models.backbones.text_source import TextSource
from models.bundle import Bundle
from models.engines.onnx import OnnxEngine
from models.engines.store import EngineStore, StoredEngine
from models.errors import EngineError

if TYPE_CHECKING:
    from models.engines.base import Engine
    from models.engines.tensorrt import BuildProgress
    from models.engines.tensorrt_shapes import Hearing
    from models.graphs.graph import Graph

_LOG: Final = logging.getLogger(__name__)

ONNX: Final = "onnx"
TENSORRT: Final = ("tensorrt", "tensorrt_rtx")
"""Whichever of the two libraries is there, and TensorRT for RTX."""
PRECISIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {ONNX: ("fp32", INTEGERS), **dict.fromkeys(TENSORRT, ("fp32", "fp16"))}
)
"""By target. Half precision keeps its weights in a CPU's memory and gains nothing there. Integers are for encoders that
stand inside: members are too small to gain."""
CPU_LANES: Final = 2
"""Parts of the graph that two cores compute side by side; more were slower on two, and a bundle has few members."""
MOST_FILE_BYTES: Final = 2_000_000_000
"""Of weights in one file: a file of ONNX ends at 2 GiB. What is more is read from a second file."""
GRAPH_VERSION: Final = 6
"""Raised when the same bundle would be written otherwise."""

_VERSIONS_THAT_MATTER: Final = ("onnx", "onnxruntime", "torch")
_SUFFIXES: Final = {ONNX: ".onnx", **dict.fromkeys(TENSORRT, ".engine")}

Progress = Callable[["BuildProgress"], None]


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What is known of a compiled engine."""

    engine: str
    """The target it was compiled to."""
    precision: str
    path: str
    """Its file; empty where it could not be kept."""
    size_bytes: int
    largest_difference: float | None
    """Of any probability, or attribute divided by its range, from PyTorch's; None while nothing here can run it."""
    label_agreement: float | None
    """Share of checked rows with the same most probable label; None likewise."""
    rows: int
    clips: int
    """Of the bundle's own, among these rows."""
    seconds: float
    """Graph, build and check."""
    cached: bool
    """True where the engine was there before."""
    capabilities: tuple[str, ...] = ()
    """Compute capabilities of NVIDIA cards it was built for."""


@dataclass(frozen=True, slots=True)
class CompiledEngine:
    """An engine, and what was found out about it."""

    content: bytes
    report: EngineReport
    fault: str | None = None
    """Why it could not be kept, where it could not."""
    weights: Path | None = None
    """The file of its weights, where they are too many for the content."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be compiled."""

    bundle: Bundle
    target: str = ONNX
    """One of `PRECISIONS`."""
    precision: str = "fp32"
    text: Mapping[str, TextSource] = field(default_factory=dict)
    """By modality, text encoders to put inside where they can be written."""
    speech: Mapping[str, SpeechSource] = field(default_factory=dict)
    """By modality, speech encoders to put inside where they can stand there."""
    capabilities: Sequence[str] = ()
    """Compute capabilities to build for, such as `8.9`; those of `models.engines.tensorrt` by default."""
    keep_fp32: Sequence[str] = ()
    """Layer groups that stay in single precision all the same, see `models.graphs.ensemble_members.LAYER_GROUPS`."""
    refittable: bool = False
    """Whether an engine of TensorRT takes the weights of a bundle that differs in nothing else; a GPU builds it."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS.get(self.target, ()):
            known = "; ".join(f"{target} in {', '.join(kinds)}" for target, kinds in PRECISIONS.items())
            raise EngineError(f"cannot compile to {self.target} in {self.precision}: this release compiles to {known}")
        if self.capabilities and self.target not in TENSORRT:
            raise EngineError(f"compute capabilities are those of NVIDIA cards, {self.target} runs on the CPU")
        if self.refittable and self.target not in TENSORRT:
            raise EngineError(f"engines of TensorRT take other weights, {self.target} is written anew in seconds")
        if self.keep_fp32 and self.precision in {"fp32", INTEGERS}:
            raise EngineError(f"members are in fp32 already in {self.precision}: layer groups are kept in it in fp16")
        standardised = self.bundle.manifest.speaker_standardisation.keys()
        relative = sorted(name for name in self.speech.keys() & standardised if not self.speech[name].relative)
        if relative:
            raise EngineError(
                f"{', '.join(relative)} is brought relative to the speaker between encoder and members, which its "
                "source must say: take sources from models.backbones.speech_source.speech_sources"
            )

    @property
    def inside(self) -> dict[str, TextSource]:
        """The text encoders that will stand inside: those that can be written."""
        return {name: source for name, source in self.text.items() if source.bytes_inside() is not None}

    @property
    def hearing(self) -> dict[str, SpeechSource]:
        """The speech encoders that will stand inside: likewise."""
        return {name: source for name, source in self.speech.items() if source.fault() is None}


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
    store = EngineStore(_key(order))
    if not force and (found := _cached(store, order)) is not None:
        return found
    with store.building(), ExitStack() as until_kept:
        # Whoever built while this process waited has saved it the work.
        if not force and (found := _cached(store, order)) is not None:
            return found
        started = time.perf_counter()
        content, weights, capabilities = _built(order, store, until_kept, progress)
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
            capabilities=capabilities,
        )
        compiled = CompiledEngine(content, report, weights=weights)
        report = replace(_checked(order, compiled), seconds=time.perf_counter() - started)
        return _kept(store, order, replace(compiled, report=report))


def check_engine(order: Order) -> CompiledEngine:
    """Compares the cached engine with PyTorch anew.

    Raises:
        EngineError: there is none, nothing here can run it, or it does not agree.
    """
    store = EngineStore(_key(order))
    compiled = _cached(store, order)
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


def write_graph(order: Order) -> Graph:
    """The whole ensemble as one ONNX graph, batch and every modality's time dynamic.

    Raises:
        EngineError: it cannot be written.
        WeightsError: an encoder's weights are damaged.
    """
    import numpy as np

    from models.graphs.ensemble import write_ensemble

    int8 = order.precision == INTEGERS
    text = {name: replace(source.graph(), int8=int8) for name, source in order.inside.items()}
    speech = {name: replace(source.graph(), int8=int8) for name, source in order.hearing.items()}
    kind = np.float16 if order.precision == "fp16" else np.float32
    if int8 and not text and not speech:
        raise EngineError("int8 is for encoders that stand inside, and none can: compile in fp32")
    # What hears is computed before the lanes: by each of them, were there several.
    lanes = CPU_LANES if order.target == ONNX and not speech else 1
    return write_ensemble(
        order.bundle.ensemble(), text=text, speech=speech, kind=kind, keep_fp32=order.keep_fp32, lanes=lanes
    )


def _built(
    order: Order, store: EngineStore, until_kept: ExitStack, progress: Progress | None
) -> tuple[bytes, Path | None, tuple[str, ...]]:
    """Content, the file of weights where there is one, and capabilities."""
    graph = write_graph(order)
    if graph.weights_bytes < MOST_FILE_BYTES:
        written, weights = graph.serialise(), None
    else:
        path = until_kept.enter_context(store.workplace()) / "graph.onnx"
        weights = graph.save(path, most_bytes=MOST_FILE_BYTES)
        written = path.read_bytes()
    del graph
    if order.target == ONNX:
        return written, weights, ()
    from models.cards import built_for_cards
    from models.engines.tensorrt_shapes import default_buckets

    content, capabilities = built_for_cards(
        written,
        default_buckets(order.bundle.modalities, hearing=_heard(order)),
        store,
        weights=weights,
        capabilities=order.capabilities,
        library=_library(order),
        refittable=order.refittable,
        progress=progress,
    )
    return content, None, capabilities


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
    agreed = admit(engine, order.bundle, order.text, order.precision, order.hearing)
    return replace(
        compiled.report,
        largest_difference=agreed.largest_difference,
        label_agreement=agreed.label_agreement,
        rows=agreed.rows,
        clips=agreed.clips,
    )


def _kept(store: EngineStore, order: Order, compiled: CompiledEngine) -> CompiledEngine:
    facts = {**asdict(compiled.report), "bundle": order.bundle.sha256}
    try:
        path = store.keep(compiled.content, _SUFFIXES[order.target], facts, compiled.weights)
    except EngineError as error:
        if compiled.weights is not None:
            # Their workplace is about to go.
            raise
        return replace(compiled, fault=str(error))
    weights = None if compiled.weights is None else path.with_name(compiled.weights.name)
    return replace(compiled, report=replace(compiled.report, path=str(path)), weights=weights)


def _key(order: Order) -> str:
    """All that an engine depends on."""
    versions = {name: importlib.metadata.version(name) for name in _VERSIONS_THAT_MATTER}
    if order.target in TENSORRT:
        from models.engines.tensorrt_library import tensorrt_library

        library = tensorrt_library(_library(order))
        versions = {library.name: library.version}
    content = json.dumps(
        {
            "bundle": order.bundle.sha256,
            "graph": GRAPH_VERSION,
            "text": {name: dict(source.hashes) for name, source in order.inside.items()},
            "speech": {name: dict(source.hashes) for name, source in order.hearing.items()},
            "target": order.target,
            "precision": order.precision,
            "versions": versions,
            "capabilities": sorted(order.capabilities),
            "keep_fp32": sorted(order.keep_fp32),
            "refittable": order.refittable,
        },
        sort_keys=True,
    )
    digest = hashlib.sha256(content.encode()).hexdigest()[:20]
    return f"{order.bundle.manifest.name}-{order.target}-{order.precision}-{digest}"


def _library(order: Order) -> str | None:
    return None if order.target == TENSORRT[0] else order.target


def _cached(store: EngineStore, order: Order) -> CompiledEngine | None:
    """The cached engine, or None where there is none that this release can use."""
    stored = store.find()
    if stored is None:
        return None
    try:
        report = _report(stored)
        if order.target in TENSORRT:
            _of_this_library(order, stored.content)
    except (TypeError, EngineError) as error:
        _LOG.warning("the cached engine in %s cannot be used (%s); it is built again", store.folder, error)
        return None
    return CompiledEngine(stored.content, report, weights=stored.weights)


def _of_this_library(order: Order, content: bytes) -> None:
    from models.engines.tensorrt_file import check_library, read_engine
    from models.engines.tensorrt_library import tensorrt_library

    library = tensorrt_library(_library(order))
    check_library(read_engine(content).record, library.name, library.version)


def _report(stored: StoredEngine) -> EngineReport:
    known = {entry.name for entry in fields(EngineReport)}
    facts = cast("dict[str, Any]", {name: value for name, value in stored.facts.items() if name in known})
    facts["capabilities"] = tuple(facts.get("capabilities", ()))
    return EngineReport(**{**facts, "path": str(stored.path), "cached": True})
