"""An ablation as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from trainer.ablation import Row
from trainer.canvas import Theme, drawing, png
from trainer.report.tables import Table
from trainer.variants import WHOLE

_ROW_INCHES: Final = 0.26
_WIDTH_INCHES: Final = 9.0
_POINTS: Final = 100


def ablation_table(rows: Sequence[Row]) -> Table:
    """A row a variant: macro-F1 with its interval, and the difference to the whole recipe, on each corpus."""
    corpora = list(dict.fromkeys(row.corpus for row in rows))
    header = ["question", "variant"]
    for corpus in corpora:
        header += [f"{corpus} macro-F1", "95 %", "points", "95 %"]
    cells = []
    for name in dict.fromkeys(row.variant for row in rows):
        own = {row.corpus: row for row in rows if row.variant == name}
        line = [next(iter(own.values())).question, name]
        for corpus in corpora:
            line += _cells(own[corpus])
        cells.append(tuple(line))
    return Table(tuple(header), tuple(cells), words=2)


def ablation_picture(rows: Sequence[Row], theme: Theme) -> bytes:
    """What each change costs or gains on each corpus, in points of macro-F1, with intervals over speakers and seeds.

    Args:
        rows: of an ablation.
        theme: colours.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    corpora = list(dict.fromkeys(row.corpus for row in rows))
    names = [name for name in dict.fromkeys(row.variant for row in rows) if name != WHOLE]
    whole = {row.corpus: row for row in rows if row.variant == WHOLE}
    with drawing(theme, _WIDTH_INCHES, 1.4 + _ROW_INCHES * len(names)) as figure:
        panels = np.atleast_1d(figure.subplots(1, len(corpora), sharey=True))
        for axes, corpus in zip(panels, corpora, strict=True):
            own = {row.variant: row for row in rows if row.corpus == corpus}
            for place, name in enumerate(names):
                row = own[name]
                bounds = [row.difference_low, row.difference_high]
                if None not in bounds:
                    axes.plot([_POINTS * b for b in bounds if b is not None], [place, place], color=theme.faint, lw=2)
                axes.plot(_POINTS * row.difference, place, "o", color=theme.accent, markersize=5)
            axes.axvline(0, color=theme.ink, lw=0.8)
            axes.set_title(f"{corpus}: {whole[corpus].macro_f1:.3f} with {WHOLE}")
            axes.set_xlabel("points of macro-F1 to the whole recipe")
            axes.grid(visible=True, axis="x")
        panels[0].set_yticks(range(len(names)), names)
        panels[0].invert_yaxis()
        return png(figure)


def _cells(row: Row) -> list[str]:
    spread = "" if row.low is None or row.high is None else f"{row.low:.3f} to {row.high:.3f}"
    if row.variant == WHOLE:
        return [f"{row.macro_f1:.3f}", spread, "", ""]
    low, high = row.difference_low, row.difference_high
    sure = "" if low is None or high is None else f"{_POINTS * low:+.1f} to {_POINTS * high:+.1f}"
    return [f"{row.macro_f1:.3f}", spread, f"{_POINTS * row.difference:+.1f}", sure]
