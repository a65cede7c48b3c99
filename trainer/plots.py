"""The pictures of a report, as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trainer.errors import TrainerError
from trainer.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI: Final = 120
_DARK_CELL: Final = 0.5
"""Share of a row from which on white digits read better than black ones."""
_BLUE: Final = "#2f6f9f"
_GREY: Final = "#8a8a8a"


def confusion_picture(result: Result) -> bytes:
    """Confusion matrix: each row shows how its class was heard, in per cent, with counts beneath.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    names = list(result.labels)
    counts = result.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.72 * len(names)
    figure = new_figure(side + 0.6, side)
    axes = figure.add_subplot()
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row in range(len(names)):
        for column in range(len(names)):
            axes.text(
                column,
                row,
                f"{100 * shares[row, column]:.0f}\n({counts[row, column]})",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if shares[row, column] > _DARK_CELL else "black",
            )
    axes.set_title(f"{result.name}: macro-F1 {result.classes.macro_f1:.3f}, {result.examples} examples", fontsize=10)
    return figure_as_png(figure)


def reliability_picture(result: Result) -> bytes:
    """Reliability diagram: how often predictions of like confidence are right, and how many there are.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    bins = result.reliability
    filled = bins.counts > 0
    centres, width = (bins.edges[:-1] + bins.edges[1:]) / 2, bins.edges[1] - bins.edges[0]
    figure = new_figure(5.0, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], linestyle="--", color=_GREY, linewidth=1)
    upper.bar(centres[filled], bins.accuracy[filled], width=width * 0.95, color=_BLUE)
    upper.plot(bins.confidence[filled], bins.accuracy[filled], "o", color="black", markersize=3)
    upper.set_ylim(0, 1)
    upper.set_ylabel("share that is right")
    upper.set_title(f"{result.name}: ECE {bins.expected_calibration_error:.3f}", fontsize=10)
    lower.bar(centres, bins.counts, width=width * 0.95, color=_GREY)
    lower.set_xlim(0, 1)
    lower.set_xlabel("confidence")
    lower.set_ylabel("examples")
    return figure_as_png(figure)


def risk_coverage_picture(result: Result) -> bytes:
    """Risk-coverage curve: how wrong claimed labels are when the least confident ones are withheld.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    curve = result.risk_coverage
    figure = new_figure(5.0, 3.8)
    axes = figure.add_subplot()
    axes.plot(curve.coverage, curve.risk, color=_BLUE)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("share of examples with a claimed label")
    axes.set_ylabel("share of claimed labels that are wrong")
    axes.set_title(f"{result.name}: area {curve.area:.3f}", fontsize=10)
    return figure_as_png(figure)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, its size in inches.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise TrainerError("pictures need matplotlib: install medusa-live[train]") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_as_png(figure: Any) -> bytes:
    """A figure as a file, the same bytes for the same figure."""
    buffer = io.BytesIO()
    # Without the version the same figures give the same bytes under every matplotlib patch release.
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
