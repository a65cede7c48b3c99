"""Which layer groups to keep in single precision where 8 bits move scores too far: found on the graph itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from models.admission import within_the_gate
from models.agreement import Agreement, agreement, joined
from models.engines.base import Engine, EngineOutput
from models.modalities import EngineInputs
from models.order import Order

_MOST_ROWS: Final = 64
"""That each group is tried on alone: the worst, in whole batches."""


@dataclass(frozen=True, slots=True)
class GroupsToKeep:
    """Tries groups: each in 8 bits alone, then all without the one that moved scores most, without the two, and on.

    Called with what `models.admission.Advice` is.
    """

    order: Order
    keeping: Callable[[tuple[str, ...], ExitStack], Engine]
    """Runs the graph with groups kept in single precision, until a stack is closed."""

    def __call__(self, given: Sequence[EngineInputs], wanted: Sequence[EngineOutput]) -> str:
        """What to do, see `models.admission.Advice`."""
        groups, precision = self.groups, self.order.precision
        worst = _first_rows(wanted)

        def without(kept: Sequence[str], batches: int) -> Agreement:
            with ExitStack() as until:
                engine = self.keeping((*self.order.keep_fp32, *kept), until)
                return agreement(joined(wanted[:batches]), joined([engine.run(batch) for batch in given[:batches]]))

        others = {group: [other for other in groups if other != group] for group in groups}
        moved = {group: without(others[group], worst).largest_difference for group in groups}
        most_first = sorted(groups, key=lambda group: -moved[group])
        alone = ", ".join(f"{group} {moved[group]:.4f}" for group in most_first)
        for count in range(1, len(groups)):
            kept = most_first[:count]
            found = without(kept, len(wanted))
            if within_the_gate(found):
                named = ",".join([*self.order.keep_fp32, *kept])
                return (
                    f"--keep-fp32 {named} brings the graph to {found.largest_difference:.4f} (on the worst rows each "
                    f"layer group alone in {precision} moves a score by: {alone})"
                )
        return f"none of its layer groups bears {precision} (alone they move a score by: {alone}): compile in fp16"

    @property
    def groups(self) -> tuple[str, ...]:
        """Those in 8 bits."""
        from models.graphs.ensemble_members import LAYER_GROUPS
        from models.graphs.precision import SPEECH_GROUPS, TEXT_GROUP

        there = [*LAYER_GROUPS]
        there += SPEECH_GROUPS if self.order.hearing else ()
        there += (TEXT_GROUP,) if self.order.inside else ()
        return tuple(group for group in there if group not in self.order.keep_fp32)


def _first_rows(wanted: Sequence[EngineOutput]) -> int:
    """How many batches, from the first, hold as many rows as are tried."""
    rows, count = 0, 0
    while count < len(wanted) and rows < _MOST_ROWS:
        rows += len(wanted[count].probabilities)
        count += 1
    return count
