"""Where the engine of an order lies in the cache: named by all that it depends on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
from typing import Final

from models.engine_report import CompiledEngine, EngineReport
from models.engines.store import EngineStore
from models.errors import EngineError
from models.order import TENSORRT, Order
from models.ranges import calibration_sha256

_LOG: Final = logging.getLogger(__name__)

GRAPH_VERSION: Final = 7
"""Raised when the same bundle would be written otherwise."""
SAME_BUT_CALIBRATION: Final = "same_but_calibration"
"""Among the facts that are kept with an engine: a digest of all it depends on but what its ranges were measured on."""

_VERSIONS_THAT_MATTER: Final = ("onnx", "onnxruntime", "torch")


def store_of(order: Order) -> EngineStore:
    """The order's place in the cache.

    Where audio is lacking to measure ranges on, it is that of the engine last used whose ranges were measured before.
    """
    store = EngineStore(key_of(order))
    if order.quantised and order.hearing and order.audio is None:
        wanted = digest_of(order, None)
        for other in store.family():
            found = other.find()
            if found is not None and found.facts.get(SAME_BUT_CALIBRATION) == wanted:
                return other
    return store


def key_of(order: Order) -> str:
    """A name by all that an engine depends on.

    Raises:
        EngineError: no such library, or there is nothing to measure ranges on.
    """
    calibration = calibration_sha256(order) if order.quantised else None
    return f"{order.bundle.manifest.name}-{order.target}-{order.precision}-{digest_of(order, calibration)}"


def digest_of(order: Order, calibration: str | None) -> str:
    """Of all that an engine depends on.

    Args:
        order: what it is made of.
        calibration: SHA-256 of what ranges are measured on; None leaves it out.

    Raises:
        EngineError: no such library.
    """
    versions = {name: importlib.metadata.version(name) for name in _VERSIONS_THAT_MATTER}
    if order.target in TENSORRT:
        from models.engines.tensorrt_library import tensorrt_library

        library = tensorrt_library(library_of(order))
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
            "calibration": calibration,
        },
        sort_keys=True,
    )
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def library_of(order: Order) -> str | None:
    """The one of TensorRT's libraries that an order asks for; None for whichever is there."""
    return None if order.target == TENSORRT[0] else order.target


def cached(store: EngineStore, order: Order) -> CompiledEngine | None:
    """The cached engine, or None where there is none that this release can use."""
    stored = store.find()
    if stored is None:
        return None
    try:
        report = EngineReport.of(stored)
        if order.target in TENSORRT:
            _of_this_library(order, stored.content)
    except (TypeError, EngineError) as error:
        _LOG.warning("the cached engine in %s cannot be used (%s); it is built again", store.folder, error)
        return None
    return CompiledEngine(stored.content, report, weights=stored.weights)


def _of_this_library(order: Order, content: bytes) -> None:
    from models.engines.tensorrt_file import check_library, read_engine
    from models.engines.tensorrt_library import tensorrt_library

    library = tensorrt_library(library_of(order))
    check_library(read_engine(content).record, library.name, library.version)
