"""From a bundle to an engine: graph, numerical check, cache."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from models.admission import admit
from models.backbones.text_source import TextSource
from models.bundle import Bundle
from models.engines.base import Engine
from models.engines.onnx import OnnxEngine
from models.engines.store import EngineStore, StoredEngine
from models.errors import EngineError

_LOG: Final = logging.getLogger(__name__)

ENGINES: Final = ("auto", "onnx", "torch")
GRAPH_VERSION: Final = 4
"""Raised when the same bundle would be written otherwise."""

_VERSIONS_THAT_MATTER: Final = ("onnx", "onnxruntime", "torch")
_NO_TEXT: Final[Mapping[str, TextSource]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What the check of a compiled engine found."""

    engine: str
    precision: str
    path: str
    """Its file; empty where it could not be kept."""
    size_bytes: int
    largest_difference: float
    """Of any probability, or attribute divided by its range, from PyTorch's."""
    label_agreement: float
    """Share of checked rows with the same most probable label."""
    rows: int
    seconds: float
    """Graph and check."""
    cached: bool
    """True where the engine was there before."""


@dataclass(frozen=True, slots=True)
class CompiledEngine:
    """An engine that was admitted, and what was found out about it."""

    content: bytes
    report: EngineReport
    fault: str | None = None
    """Why it could not be kept, where it could not."""


def open_engine(
    bundle: Bundle,
    kind: str = "auto",
    precision: str = "fp32",
    *,
    threads: int = 0,
    text: Mapping[str, TextSource] = _NO_TEXT,
) -> Engine:
    """Opens the engine asked for, compiling it first where the cache has none.

    Args:
        bundle: what to run.
        kind: `onnx`, `torch`, or `auto`: ONNX where it can be built and agrees with PyTorch, else PyTorch.
        precision: `fp32`.
        threads: CPU threads a call of ONNX Runtime may use; 0 lets it choose. PyTorch has one setting for the process.
        text: by modality, text encoders to put inside where the engine can take them; see `Engine.reads_tokens`.

    Raises:
        EngineError: it cannot be built, or does not agree with PyTorch.
        WeightsError: a text encoder's weights are damaged.
    """
    if kind not in ENGINES:
        raise EngineError(f"no engine {kind!r}: there are {', '.join(ENGINES)}")
    if precision != "fp32":
        raise EngineError(f"precision {precision!r} is not available on this engine: use fp32")
    if kind != "torch":
        try:
            compiled = compile_engine(bundle, text=text)
            engine = OnnxEngine(compiled.content, bundle.modalities, threads=threads)
        except EngineError as error:
            if kind == "onnx":
                raise
            _LOG.warning("engine auto: ONNX Runtime is not used (%s); PyTorch is", error)
        else:
            if compiled.fault is not None:
                _LOG.warning("%s; it is built anew at every start until then", compiled.fault)
            difference = compiled.report.largest_difference
            _LOG.info("engine %s: ONNX Runtime, largest difference from PyTorch %.1e", kind, difference)
            return engine
    from models.engines.torch import TorchEngine

    return TorchEngine(bundle)


def compile_bundle(
    bundle: Bundle,
    target: str = "onnx",
    precision: str = "fp32",
    *,
    text: Mapping[str, TextSource] = _NO_TEXT,
    force: bool = False,
) -> EngineReport:
    """Writes a bundle as a graph, checks it against PyTorch and puts it into the cache, in one step.

    Args:
        bundle: what to compile.
        target: `onnx`.
        precision: `fp32`.
        text: by modality, text encoders to put inside.
        force: compile even where the cache has it.

    Raises:
        EngineError: an unknown target or precision, the engine does not agree with PyTorch, or the cache cannot be
            written.
        WeightsError: a text encoder's weights are damaged.
    """
    compiled = compile_engine(bundle, target, precision, text=text, force=force)
    if compiled.fault is not None:
        raise EngineError(compiled.fault)
    return compiled.report


def compile_engine(
    bundle: Bundle,
    target: str = "onnx",
    precision: str = "fp32",
    *,
    text: Mapping[str, TextSource] = _NO_TEXT,
    force: bool = False,
) -> CompiledEngine:
    """As `compile_bundle`, and hands the engine over even where it cannot be kept."""
    if target != "onnx" or precision != "fp32":
        raise EngineError(f"cannot compile to {target} in {precision}: this release compiles to onnx in fp32")
    inside = {name: source for name, source in text.items() if source.can_be_written}
    store = EngineStore(_key(bundle, target, precision, inside))
    if not force and (found := _cached(store)) is not None:
        return found
    with store.building():
        # Whoever built while this process waited has saved it the work.
        if not force and (found := _cached(store)) is not None:
            return found
        started = time.perf_counter()
        graph = export_onnx(bundle, inside)
        agreed = admit(OnnxEngine(graph, bundle.modalities), bundle, inside)
        report = EngineReport(
            engine=target,
            precision=precision,
            path="",
            size_bytes=len(graph),
            largest_difference=agreed.largest_difference,
            label_agreement=agreed.label_agreement,
            rows=agreed.rows,
            seconds=time.perf_counter() - started,
            cached=False,
        )
        try:
            path = store.keep(graph, ".onnx", {**asdict(report), "bundle": bundle.sha256})
        except EngineError as error:
            return CompiledEngine(graph, report, str(error))
        return CompiledEngine(graph, replace(report, path=str(path)))


def export_onnx(bundle: Bundle, text: Mapping[str, TextSource] = _NO_TEXT) -> bytes:
    """The whole ensemble as one ONNX graph, batch and every modality's time dynamic.

    Raises:
        EngineError: it cannot be written.
        WeightsError: a text encoder's weights are damaged.
    """
    from models.fused_graph import ensemble_graph

    return ensemble_graph(bundle.ensemble(), text={name: source.graph() for name, source in text.items()})


def _key(bundle: Bundle, target: str, precision: str, text: Mapping[str, TextSource]) -> str:
    versions = {name: importlib.metadata.version(name) for name in _VERSIONS_THAT_MATTER}
    inside = {name: dict(source.hashes) for name, source in text.items()}
    content = json.dumps([bundle.sha256, target, precision, GRAPH_VERSION, versions, inside], sort_keys=True)
    return f"{bundle.manifest.name}-{target}-{precision}-{hashlib.sha256(content.encode()).hexdigest()[:20]}"


def _cached(store: EngineStore) -> CompiledEngine | None:
    """The cached engine, or None where there is none that this release can use."""
    stored = store.find()
    if stored is None:
        return None
    try:
        return CompiledEngine(stored.content, _report(stored))
    except TypeError as error:
        _LOG.warning("the cached engine in %s is of another release (%s); it is built again", store.folder, error)
        return None


def _report(stored: StoredEngine) -> EngineReport:
    facts: dict[str, Any] = {name: value for name, value in stored.facts.items() if name != "bundle"}
    return EngineReport(**{**facts, "path": str(stored.path), "cached": True})
