"""A run of `medusa bench fusion` as a picture: time by batch, and how far from the reference and from the limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.fusion_engines import ONE_BY_ONE
from benchmarks.fusion_result import FusionRow
from trainer.canvas import Theme, drawing, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_INCHES: Final = 2.6
"""At least; and enough for figures to stand beside each other:"""
_POINT_INCHES: Final = 0.3
_LEAST_PANELS: Final = 2
_MARGIN_INCHES: Final = 1.0
_HEADING_INCHES: Final = 1.1
_ROW_INCHES: Final = 2.2
_MARKERS: Final = ("o", "s", "D", "^", "v", "P")
_MORE_COLOURS: Final = ("#3f9e74", "#9a6fc4", "#b8860b")
"""Beside those of a theme; they can be seen on both."""
_SPREAD: Final = 0.62
"""Of the room of a batch, over which its engines are spread."""
_LIMIT_REACH: Final = 0.4
_FAINT: Final = 0.45
_HEADROOM: Final = 1.25
"""Above the highest point, for its figure."""
_WIDE_RANGE: Final = 8.0
"""Values further apart than this are drawn on a logarithmic axis."""


@dataclass(frozen=True, slots=True)
class _Style:
    title: str
    colour: str
    marker: str
    aside: float
    """Of a batch's place: engines stand beside each other, so that none hides another."""


def fusion_picture(rows: Sequence[FusionRow], titles: Mapping[str, str], heading: str, theme: Theme) -> bytes:
    """A column of panels for each length of speech, a line for each engine over the batch.

    Args:
        rows: at least one.
        titles: of the engines, by key, in the order in which they are drawn.
        heading: above all panels.
        theme: colours.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    lengths = sorted({row.seconds for row in rows})
    batches = sorted({row.batch for row in rows})
    styles = _styles([(name, title) for name, title in titles.items() if any(r.key == name for r in rows)], theme)
    panel = max(_PANEL_INCHES, _POINT_INCHES * len(styles) * len(batches))
    width = _MARGIN_INCHES + max(_LEAST_PANELS * _PANEL_INCHES, panel * len(lengths))
    with drawing(theme, width, _HEADING_INCHES + 3 * _ROW_INCHES) as figure:
        panels = figure.subplots(3, len(lengths), sharex=True, sharey="row", squeeze=False)
        figure.suptitle(heading, fontsize=10)
        for column, seconds in enumerate(lengths):
            own = [row for row in rows if row.seconds == seconds]
            _times(panels[0, column], own, batches, styles, theme)
            faster = [row for row in own if row.engine != ONE_BY_ONE]
            _figures(panels[1, column], faster, batches, styles, lambda row: row.speedup)
            panels[1, column].axhline(1.0, color=styles[ONE_BY_ONE].colour, lw=1.0)
            _figures(panels[2, column], own, batches, styles, lambda row: row.limit_ratio)
            panels[2, column].axhline(1.0, color=theme.faint, lw=1.2, ls="--")
            panels[0, column].set_title(f"{seconds:g} s of speech")
            panels[2, column].set_xlabel("batch")
            panels[2, column].set_xticks(range(len(batches)), [str(batch) for batch in batches])
            panels[2, column].set_xlim(-0.5, len(batches) - 0.5)
        _axes(panels[0, 0], "ms a call", [value for row in rows for value in (row.p90_ms, row.limit_ms)])
        _axes(panels[1, 0], "times as fast as\none by one", [1.0, *(row.speedup for row in rows)])
        _axes(panels[2, 0], "times the limit", [1.0, *(row.limit_ratio for row in rows)])
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
        return png(figure)


def _styles(titles: Sequence[tuple[str, str]], theme: Theme) -> dict[str, _Style]:
    colours = (theme.ink, theme.accent, theme.contrast, *_MORE_COLOURS)
    return {
        name: _Style(
            title,
            colours[i % len(colours)],
            _MARKERS[i % len(_MARKERS)],
            _SPREAD * ((i + 0.5) / len(titles) - 0.5),
        )
        for i, (name, title) in enumerate(titles)
    }


def _times(
    axes: Axes, rows: Sequence[FusionRow], batches: Sequence[int], styles: Mapping[str, _Style], theme: Theme
) -> None:
    """Medians with their tenth and ninetieth percentile, and the limit below them."""
    for name, style in styles.items():
        own = [row for row in rows if row.key == name]
        places = [batches.index(row.batch) + style.aside for row in own]
        spread = [[row.median_ms - row.p10_ms for row in own], [row.p90_ms - row.median_ms for row in own]]
        medians = [row.median_ms for row in own]
        axes.plot(places, medians, color=style.colour, lw=1.0, alpha=_FAINT)
        axes.errorbar(
            places,
            medians,
            yerr=spread,
            color=style.colour,
            marker=style.marker,
            markersize=5,
            ls="none",
            elinewidth=0.9,
            capsize=2.5,
            label=style.title,
        )
    limits = {row.batch: row.limit_ms for row in rows if row.engine == ONE_BY_ONE}
    middle = np.array([batches.index(batch) for batch in limits])
    axes.hlines(
        list(limits.values()),
        middle - _LIMIT_REACH,
        middle + _LIMIT_REACH,
        color=theme.faint,
        ls="--",
        lw=1.6,
        label="limit",
    )


def _figures(
    axes: Axes,
    rows: Sequence[FusionRow],
    batches: Sequence[int],
    styles: Mapping[str, _Style],
    value: Callable[[FusionRow], float],
) -> None:
    """One number a row, written beside its point."""
    for name, style in styles.items():
        own = [row for row in rows if row.key == name]
        places = [batches.index(row.batch) + style.aside for row in own]
        values = [value(row) for row in own]
        axes.plot(places, values, color=style.colour, lw=1.0, alpha=_FAINT)
        axes.plot(places, values, color=style.colour, marker=style.marker, markersize=5, ls="none")
        for place, number in zip(places, values, strict=True):
            axes.annotate(
                f"{number:.3g}",
                (place, number),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=style.colour,
            )


def _axes(axes: Axes, label: str, values: Sequence[float]) -> None:
    """Names and scales the axis that a row of panels shares."""
    axes.set_ylabel(label)
    axes.grid(visible=True, axis="y")
    low, high = min(values), max(values)
    if low > 0 and high / low > _WIDE_RANGE:
        from matplotlib.ticker import LogFormatter, NullFormatter

        axes.set_yscale("log")
        axes.set_ylim(low / _HEADROOM, high * _HEADROOM**2)
        axes.yaxis.set_major_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(np.inf, np.inf)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, high * _HEADROOM)
