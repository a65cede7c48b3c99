"""Which layer group to keep in single precision where a reduced one moves scores too far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.agreement import agreement
from models.engines.base import EngineOutput
from models.errors import EngineError
from models.modalities import PaddedBatch

if TYPE_CHECKING:
    from models.ensemble import Ensemble
    from models.graphs.precision import Kind


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The layer group whose keeping in single precision brings the graph in half precision nearest to PyTorch."""

    group: str | None
    """One of `models.graphs.ensemble_members.LAYER_GROUPS`; None where something overflows whichever is kept."""
    difference: float
    """Largest of any score, that group kept."""
    without: float
    """The same with none kept; infinite where a weight or a value overflows."""

    def __str__(self) -> str:
        if self.group is None:
            return "more than one layer group overflows in half precision: keep several in fp32"
        moves = f"moves scores by {self.difference:.1e} then, by {self.without:.1e} otherwise"
        return f"keep layer group {self.group} in fp32 (the graph in half precision {moves})"


def suggest(
    ensemble: Ensemble, inputs: Mapping[str, PaddedBatch], wanted: EngineOutput, kind: Kind = np.float16
) -> Suggestion:
    """Finds the layer group that it helps most to keep in single precision.

    The graph is computed in half precision with each group kept by itself, as a GPU would; that takes seconds a group.
    It stands in for other reduced precisions too.

    Args:
        ensemble: whose layers they are.
        inputs: a batch of every modality, on which an engine went astray.
        wanted: what PyTorch says of it.
        kind: of 16 bits.
    """
    from models.graphs.ensemble import ensemble_graph
    from models.graphs.ensemble_members import LAYER_GROUPS
    from models.graphs.half_precision import InHalfPrecision

    def difference(*kept: str) -> float:
        try:
            graph = ensemble_graph(ensemble, kind=kind, keep_fp32=kept)
        except EngineError:
            return float("inf")
        with np.errstate(over="ignore", invalid="ignore"):
            found = agreement(wanted, InHalfPrecision(graph).run(inputs)).largest_difference
        return found if np.isfinite(found) else float("inf")

    with_one_kept = {group: difference(group) for group in LAYER_GROUPS}
    best = min(with_one_kept, key=lambda group: with_one_kept[group])
    least = with_one_kept[best]
    return Suggestion(best if np.isfinite(least) else None, least, difference())
