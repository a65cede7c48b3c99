"""From a bundle to an engine: graph, numerical check, cache."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from platformdirs import user_cache_dir

from models.bundle import Bundle
from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN
from models.engines.base import Engine
from models.engines.onnx import OnnxEngine
from models.errors import EngineError
from models.modalities import Modality, PaddedBatch, pad

log = logging.getLogger(__name__)

ENGINES: Final = ("auto", "onnx", "torch")
TOLERANCE: Final = 1e-4
"""Largest difference of any score from PyTorch's at which a graph is admitted."""
GRAPH_VERSION: Final = 3
"""Raised when the same bundle would be written otherwise."""

_LEAST_CHECK_ROWS: Final = 12
_CHECK_FRAMES: Final = (1, 60)


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What the check of a compiled engine found."""

    engine: str
    precision: str
    path: str
    largest_difference: float
    """Of any probability, or attribute divided by its range, from PyTorch's."""
    label_agreement: float
    """Share of checked rows with the same most probable label."""
    rows: int
    seconds: float
    """Graph and check."""
    cached: bool
    """True where the engine was there before."""


def engine_cache() -> Path:
    """Where compiled engines are kept: `MEDUSA_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("MEDUSA_CACHE") or user_cache_dir("medusa-live", appauthor=False)) / "engines"


def open_engine(bundle: Bundle, kind: str = "auto", precision: str = "fp32", *, threads: int = 0) -> Engine:
    """Opens the engine asked for, compiling it first where the cache has none.

    Args:
        bundle: what to run.
        kind: `onnx`, `torch`, or `auto`: ONNX where it can be built and agrees with PyTorch, else PyTorch.
        precision: `fp32`.
        threads: CPU threads a call of ONNX Runtime may use; 0 lets it choose. PyTorch has one setting for the process.

    Raises:
        EngineError: it cannot be built, or does not agree with PyTorch.
    """
    if kind not in ENGINES:
        raise EngineError(f"no engine {kind!r}: there are {', '.join(ENGINES)}")
    if precision != "fp32":
        raise EngineError(f"precision {precision!r} is not available on this engine: use fp32")
    if kind != "torch":
        try:
            report = compile_bundle(bundle)
            engine = OnnxEngine(Path(report.path), bundle.modalities, threads=threads)
        except EngineError as error:
            if kind == "onnx":
                raise
            log.warning("engine auto: ONNX Runtime is not used (%s); PyTorch is", error)
        else:
            log.info("engine %s: ONNX Runtime, largest difference from PyTorch %.1e", kind, report.largest_difference)
            return engine
    from models.engines.torch import TorchEngine

    return TorchEngine(bundle)


def compile_bundle(
    bundle: Bundle, target: str = "onnx", precision: str = "fp32", *, force: bool = False
) -> EngineReport:
    """Writes a bundle as a graph, checks it against PyTorch and puts it into the cache, in one step.

    Args:
        bundle: what to compile.
        target: `onnx`.
        precision: `fp32`.
        force: compile even where the cache has it.

    Raises:
        EngineError: an unknown target or precision, the graph does not agree with PyTorch to `TOLERANCE`, or the cache
            cannot be written.
    """
    if target != "onnx" or precision != "fp32":
        raise EngineError(f"cannot compile to {target} in {precision}: this release compiles to onnx in fp32")
    folder = engine_cache() / _key(bundle, target, precision)
    if not force and (cached := _cached(folder)) is not None:
        return cached
    started = time.perf_counter()
    graph = export_onnx(bundle)
    difference, agreement, rows = check(OnnxEngine(graph, bundle.modalities), bundle)
    # Not `>`: a difference that is not a number must not pass.
    if not difference <= TOLERANCE:
        raise EngineError(f"the graph differs from PyTorch by {difference:.1e}, more than {TOLERANCE:.0e}")
    path = folder / "ensemble.onnx"
    report = EngineReport(
        engine=target,
        precision=precision,
        path=str(path),
        largest_difference=difference,
        label_agreement=agreement,
        rows=rows,
        seconds=time.perf_counter() - started,
        cached=False,
    )
    stamp = {**asdict(report), "sha256": hashlib.sha256(graph).hexdigest(), "bundle": bundle.sha256}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _publish(path, graph)
        _publish(folder / "engine.json", (json.dumps(stamp, indent=2) + "\n").encode())
    except OSError as error:
        raise EngineError(
            f"the engine cannot be kept in {folder} ({error.strerror}): point MEDUSA_CACHE to "
            "a folder that can be written"
        ) from error
    return report


def export_onnx(bundle: Bundle) -> bytes:
    """The whole ensemble as one ONNX graph, batch and every modality's time dynamic.

    Raises:
        EngineError: it cannot be written.
    """
    from models.fused_graph import ensemble_graph

    return ensemble_graph(bundle.ensemble())


def check(engine: Engine, bundle: Bundle) -> tuple[float, float, int]:
    """Compares an engine with PyTorch on random features of many lengths, modalities missing in every combination.

    Args:
        engine: to be checked.
        bundle: what it runs.

    Returns:
        The largest difference of any score, the share of rows whose label agrees, and how many rows there were.
    """
    from models.engines.torch import TorchEngine

    inputs = check_inputs(bundle.modalities)
    reference, found = TorchEngine(bundle).run(inputs), engine.run(inputs)
    scores = np.abs(reference.probabilities - found.probabilities).max()
    attributes = np.abs(reference.attributes - found.attributes).max() / (ATTRIBUTE_MAX - ATTRIBUTE_MIN)
    agreed = reference.probabilities.argmax(axis=1) == found.probabilities.argmax(axis=1)
    return float(np.maximum(scores, attributes)), float(agreed.mean()), len(agreed)


def check_inputs(modalities: tuple[Modality, ...]) -> dict[str, PaddedBatch]:
    """Random features, the same every time: other lengths in each row, and every combination of modalities there is."""
    rng = np.random.default_rng(0)
    combinations = 2 ** len(modalities) - 1
    inputs: dict[str, PaddedBatch] = {}
    for position, modality in enumerate(modalities):
        sequences = [
            rng.standard_normal((int(rng.integers(*_CHECK_FRAMES)), modality.dim)).astype(np.float32)
            if (row % combinations + 1) >> position & 1
            else None
            for row in range(max(_LEAST_CHECK_ROWS, combinations))
        ]
        inputs[modality.name] = pad(sequences, modality.dim)
    return inputs


def _key(bundle: Bundle, target: str, precision: str) -> str:
    versions = {name: importlib.metadata.version(name) for name in ("torch", "onnx", "onnxruntime")}
    content = json.dumps([bundle.sha256, target, precision, GRAPH_VERSION, versions], sort_keys=True)
    return f"{bundle.manifest.name}-{target}-{precision}-{hashlib.sha256(content.encode()).hexdigest()[:20]}"


def _cached(folder: Path) -> EngineReport | None:
    """The cached engine, or None where there is none or its file is not what was written."""
    try:
        stamp = json.loads((folder / "engine.json").read_text(encoding="utf-8"))
        graph = (folder / "ensemble.onnx").read_bytes()
        sha256 = stamp.pop("sha256")
        stamp.pop("bundle")
        report = EngineReport(**{**stamp, "path": str(folder / "ensemble.onnx"), "cached": True})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("the cached engine in %s cannot be read (%s); it is built again", folder, error)
        return None
    if hashlib.sha256(graph).hexdigest() != sha256:
        log.warning("the cached engine in %s is damaged; it is built again", folder)
        return None
    return report


def _publish(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
