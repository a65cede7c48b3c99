"""The pictures of a report, each in the colours of the page it stands on."""

from __future__ import annotations

from typing import Final

import numpy as np

from trainer.breakdown import PartScores
from trainer.canvas import Theme, drawing, png, readable_on, shades
from trainer.comparison import Difference
from trainer.results import Result

_NAMED_SPEAKERS: Final = 40
"""With more of them names would overlap."""
_ROW_INCHES: Final = 0.22
_WIDTH_INCHES: Final = 5.6


def confusion_picture(result: Result, theme: Theme) -> bytes:
    """Confusion matrix: each row shows how its class was heard, in per cent, with counts beneath.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    names = list(result.labels)
    counts = result.confusion
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.72 * len(names)
    with drawing(theme, side + 0.6, side) as figure:
        axes = figure.add_subplot()
        colours = shades(theme)
        axes.imshow(parts, vmin=0, vmax=1, cmap=colours)
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        for row in range(len(names)):
            for column in range(len(names)):
                axes.text(
                    column,
                    row,
                    f"{100 * parts[row, column]:.0f}\n({counts[row, column]})",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=readable_on(colours(parts[row, column])),
                )
        axes.set_title(f"{result.name}: macro-F1 {result.classes.macro_f1:.3f}, {result.examples} examples")
        return png(figure)


def reliability_picture(result: Result, theme: Theme) -> bytes:
    """Reliability diagram: how often predictions of like confidence are right, and how many there are.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    bins = result.reliability
    filled = bins.counts > 0
    centres, width = (bins.edges[:-1] + bins.edges[1:]) / 2, bins.edges[1] - bins.edges[0]
    with drawing(theme, _WIDTH_INCHES, _WIDTH_INCHES) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], linestyle="--", color=theme.faint, linewidth=1)
        upper.bar(centres[filled], bins.accuracy[filled], width=width * 0.95, color=theme.accent)
        upper.plot(bins.confidence[filled], bins.accuracy[filled], "o", color=theme.contrast, markersize=4)
        upper.set_ylim(0, 1)
        upper.set_ylabel("share that is right")
        upper.set_title(f"{result.name}: ECE {bins.expected_calibration_error:.3f}")
        lower.bar(centres, bins.counts, width=width * 0.95, color=theme.faint)
        lower.set_xlim(0, 1)
        lower.set_xlabel("confidence")
        lower.set_ylabel("examples")
        return png(figure)


def risk_coverage_picture(result: Result, theme: Theme) -> bytes:
    """Risk-coverage curve: how wrong claimed labels are when the least confident ones are withheld.

    Where the model has a threshold, the point it sits at is marked.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    curve, held = result.risk_coverage, result.abstention
    with drawing(theme, _WIDTH_INCHES, 4.0) as figure:
        axes = figure.add_subplot()
        axes.plot(curve.coverage, curve.risk, color=theme.accent)
        if held is not None and held.accuracy is not None:
            risk = 1 - held.accuracy
            axes.axhline(
                1 - held.accuracy_of_all,
                color=theme.faint,
                linestyle="--",
                linewidth=1,
                label=f"no abstention: {100 * held.accuracy_of_all:.0f} % right",
            )
            at_threshold = f"threshold: {100 * held.coverage:.0f} % claimed, {100 * held.accuracy:.0f} % of that right"
            axes.plot([held.coverage], [risk], "o", color=theme.contrast, markersize=7, label=at_threshold)
            axes.legend(loc="lower right")
        axes.set_xlim(0, 1.02)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("share of examples with a claimed label")
        axes.set_ylabel("share of claimed labels that are wrong")
        axes.set_title(f"{result.name}: area {curve.area:.3f}")
        return png(figure)


def speakers_picture(parts: tuple[PartScores, ...], theme: Theme) -> bytes:
    """Macro-F1 and accuracy of every speaker, the worst at the top; without names where there are many.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    named = len(parts) <= _NAMED_SPEAKERS
    rows = np.arange(len(parts))
    height = 1.2 + _ROW_INCHES * min(len(parts), _NAMED_SPEAKERS)
    with drawing(theme, _WIDTH_INCHES, height) as figure:
        axes = figure.add_subplot()
        macro_f1 = [part.macro_f1 or 0.0 for part in parts]
        accuracy = [part.accuracy or 0.0 for part in parts]
        axes.hlines(rows, 0, macro_f1, color=theme.faint, linewidth=1)
        size = 5 if named else 2
        axes.plot(macro_f1, rows, "o", color=theme.accent, markersize=size, label="macro-F1")
        axes.plot(accuracy, rows, "D", color=theme.contrast, markersize=size * 0.8, label="accuracy")
        axes.set_yticks(rows if named else [], [part.name for part in parts] if named else [], fontsize=8)
        if not named:
            axes.set_ylabel(f"{len(parts)} speakers")
        axes.set_ylim(len(parts) - 0.5, -0.5)
        axes.set_xlim(0, 1.02)
        axes.grid(axis="x")
        axes.set_xlabel("score of the speaker")
        figure.legend(loc="outside upper right", ncols=2)
        return png(figure)


def durations_picture(parts: tuple[PartScores, ...], theme: Theme) -> bytes:
    """Macro-F1 and accuracy by seconds of speech, with how many examples there are of each.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    places = np.arange(len(parts))
    with drawing(theme, _WIDTH_INCHES, 3.6) as figure:
        axes = figure.add_subplot()
        for shift, colour, name, values in (
            (-0.2, theme.accent, "macro-F1", [part.macro_f1 for part in parts]),
            (0.2, theme.contrast, "accuracy", [part.accuracy for part in parts]),
        ):
            axes.bar(places + shift, [value or 0.0 for value in values], width=0.38, color=colour, label=name)
        axes.set_xticks(places, [f"{part.name}\n({part.examples})" for part in parts])
        axes.set_ylim(0, 1)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xlabel("speech (examples)")
        figure.legend(loc="outside upper right", ncols=2)
        return png(figure)


def differences_picture(parts: tuple[Difference, ...], reference: str, theme: Theme) -> bytes:
    """Differences of macro-F1 from a reference in points, with their intervals.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    rows = np.arange(len(parts))
    with drawing(theme, _WIDTH_INCHES, 1.2 + 0.36 * len(parts)) as figure:
        axes = figure.add_subplot()
        axes.axvline(0, color=theme.contrast, linewidth=1)
        for row, part in zip(rows, parts, strict=True):
            if part.interval is not None:
                axes.hlines(row, 100 * part.interval.low, 100 * part.interval.high, color=theme.faint, linewidth=3)
        axes.plot([100 * part.value for part in parts], rows, "o", color=theme.accent)
        axes.set_yticks(rows, [part.name for part in parts])
        axes.set_ylim(len(parts) - 0.5, -0.5)
        axes.grid(axis="x")
        axes.set_xlabel(f"macro-F1 less that of the {reference}, points")
        return png(figure)
