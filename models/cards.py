"""An engine for NVIDIA cards: built, with what earlier builds measured, or made of one that takes other weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from models.engines.store import EngineStore
from models.engines.tensorrt import DEFAULT_CAPABILITIES, BuildProgress, build_engine, refit_engine
from models.engines.tensorrt_file import EngineRecord, read_engine
from models.engines.tensorrt_library import Library, tensorrt_library
from models.engines.tensorrt_memory import kernel_times
from models.engines.tensorrt_shapes import ShapeBucket
from models.engines.tensorrt_weights import structure_sha256
from models.errors import EngineError

_LOG: Final = logging.getLogger(__name__)


def built_for_cards(
    graph: bytes,
    buckets: Sequence[ShapeBucket],
    store: EngineStore,
    *,
    weights: Path | None = None,
    capabilities: Sequence[str] = (),
    library: str | None = None,
    refittable: bool = False,
    calibration_sha256: str | None = None,
    progress: Callable[[BuildProgress], None] | None = None,
) -> tuple[bytes, tuple[str, ...]]:
    """An engine's file, and the compute capabilities it is for.

    Args:
        graph: ONNX.
        buckets: shapes that it is made for.
        store: where it will be kept.
        weights: the file of the graph's weights, where they are none of the graph.
        capabilities: to build for; `DEFAULT_CAPABILITIES` by default.
        library: as for `build_engine`.
        refittable: whether it is to take other weights, and may be made of one that does.
        calibration_sha256: as for `build_engine`.
        progress: likewise.

    Raises:
        EngineError: it cannot be built.
    """
    found = tensorrt_library(library)
    if refittable and (content := refitted(store, graph, found, buckets, weights)) is not None:
        return content, read_engine(content).record.capabilities
    times = kernel_times(found)
    built = build_engine(
        graph,
        buckets,
        weights=weights,
        capabilities=capabilities or DEFAULT_CAPABILITIES,
        library=library,
        timing_cache=times.recall(),
        progress=progress,
        refittable=refittable,
        calibration_sha256=calibration_sha256,
    )
    times.keep(built.timing_cache)
    return built.content, built.record.capabilities


def refitted(
    store: EngineStore, graph: bytes, library: Library, buckets: Sequence[ShapeBucket], weights: Path | None = None
) -> bytes | None:
    """An engine with the weights of a graph, made of one that differs in nothing else.

    Args:
        store: of the engine that is wanted; others of its family are looked through, those last used first.
        graph: ONNX.
        library: that is to run it.
        buckets: shapes that it is to be made for.
        weights: the file of the graph's weights, where they are none of the graph.

    Returns:
        The engine's file; None where there is no such engine, or no GPU here gives it other weights.
    """
    wanted = structure_sha256(graph)
    for other in store.family():
        found = other.find()
        if found is None:
            continue
        try:
            record = read_engine(found.content).record
            if not _takes(record, wanted, library, buckets):
                continue
            content = refit_engine(found.content, graph, weights)
        except EngineError as error:
            _LOG.info("%s does not take the new weights: %s", other.folder.name, error)
            continue
        _LOG.info("%s has taken the new weights", other.folder.name)
        return content
    return None


def _takes(record: EngineRecord, structure: str, library: Library, buckets: Sequence[ShapeBucket]) -> bool:
    same_library = (record.library, record.library_version) == (library.name, library.version)
    return record.structure_sha256 == structure and same_library and record.profiles == tuple(buckets)
