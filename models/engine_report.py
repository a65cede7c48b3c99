"""What is known of a compiled engine, and kept beside it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, cast

from models.engines.store import StoredEngine


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
    """Of the bundle's own, or of the audio that was given, among these rows."""
    seconds: float
    """Graph, build and check."""
    cached: bool
    """True where the engine was there before."""
    capabilities: tuple[str, ...] = ()
    """Compute capabilities of NVIDIA cards it was built for."""
    calibration: str | None = None
    """SHA-256 of what its ranges were measured on; None where it has none."""
    graph_difference: float | None = None
    """As `largest_difference`, of the engine's graph, computed as it is written by ONNX Runtime: checked as a graph,
    not as an engine. None where it was not."""
    graph_label_agreement: float | None = None
    """As `label_agreement`, likewise."""
    graph_rows: int = 0
    """How many were checked so."""

    @classmethod
    def of(cls, stored: StoredEngine) -> Self:
        """Of an engine in the cache.

        Raises:
            TypeError: another release has written other facts.
        """
        known = {entry.name for entry in fields(cls)}
        facts = cast("dict[str, Any]", {name: value for name, value in stored.facts.items() if name in known})
        facts["capabilities"] = tuple(facts.get("capabilities", ()))
        return cls(**{**facts, "path": str(stored.path), "cached": True})


@dataclass(frozen=True, slots=True)
class CompiledEngine:
    """An engine, and what was found out about it."""

    content: bytes
    report: EngineReport
    fault: str | None = None
    """Why it could not be kept, where it could not."""
    weights: Path | None = None
    """The file of its weights, where they are too many for the content."""
