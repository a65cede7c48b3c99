"""What a run set out to show, and whether it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence that a run bears out or refutes."""

    what: str
    """What is claimed."""
    found: str
    """The figures it is judged by, for people."""
    holds: bool

    def to_row(self) -> dict[str, Any]:
        """As it stands in a result."""
        return asdict(self)


def all_hold(claims: Sequence[Claim]) -> bool:
    """Whether every one is borne out."""
    return all(claim.holds for claim in claims)


def claims_table(claims: Sequence[Claim], heading: str | None = None) -> Table:
    """All of them, for people."""
    shown = Table(title=heading, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("claim", "found", ""):
        shown.add_column(name)
    for claim in claims:
        shown.add_row(claim.what, claim.found, "holds" if claim.holds else "FAILS")
    return shown
