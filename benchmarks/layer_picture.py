"""Macro-F1 by layer of the encoder as a picture, a line for each question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from benchmarks.layer_probe import Answer
from trainer.canvas import Theme, drawing, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_INCHES: Final = 5.0
_MARGIN_INCHES: Final = 1.5
_HEIGHT_INCHES: Final = 4.4
_MARKERS: Final = ("o", "s", "D", "^", "v", "P")
_SPREAD: Final = 0.16
"""Of the room of a layer, between two questions."""
_FAINT: Final = 0.45
_ABOVE_POINTS: Final = 7


def layer_picture(answers: Sequence[Answer], heading: str, theme: Theme) -> bytes:
    """A panel for the layers alone and, where prosody was probed, one for the layers with it, prosody alone dotted.

    Args:
        answers: every question, asked of the same probes.
        heading: above the panels.
        theme: colours.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    shown = [[one for one in answers if not one.probed.prosody], [one for one in answers if one.probed.prosody]]
    shown = [own for own in shown if own]
    layers = sorted({one.probed.layer for one in answers if one.probed.layer is not None})
    with drawing(theme, _MARGIN_INCHES + _PANEL_INCHES * len(shown), _HEIGHT_INCHES) as figure:
        panels = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
        figure.suptitle(heading, fontsize=10)
        for axes, own in zip(panels, shown, strict=True):
            _questions(axes, own, theme)
            axes.set_title("the layer and prosody" if own[0].probed.prosody else "the layer alone")
            axes.set_xlabel("hidden layer of the encoder")
            axes.set_xticks(layers, [str(layer) for layer in layers])
            axes.grid(visible=True, axis="y")
        panels[0].set_ylabel("macro-F1, and 95 % by speaker")
        handles, labels = panels[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)))
        return png(figure)


def _questions(axes: Axes, answers: Sequence[Answer], theme: Theme) -> None:
    """A line for each question, its best layer marked with the figure."""
    colours = (theme.accent, theme.contrast, theme.ink)
    questions = list(dict.fromkeys(one.question for one in answers))
    for number, question in enumerate(questions):
        colour, marker = colours[number % len(colours)], _MARKERS[number % len(_MARKERS)]
        asked = [one for one in answers if one.question == question]
        own = {one.probed.layer: one for one in asked if one.probed.layer is not None}
        # Beside each other, so that no interval hides another.
        places = {layer: layer + _SPREAD * (number - (len(questions) - 1) / 2) for layer in sorted(own)}
        reached = [own[layer].macro_f1 for layer in places]
        axes.plot(list(places.values()), reached, color=colour, marker=marker, ms=5, lw=1.4, label=question.title)
        for layer, place in places.items():
            interval = own[layer].interval
            if interval is not None:
                axes.plot([place, place], [interval.low, interval.high], color=colour, lw=1.0, alpha=_FAINT)
        best = max(places, key=lambda layer: own[layer].macro_f1)
        axes.annotate(
            f"{own[best].macro_f1:.3f}",
            (places[best], own[best].macro_f1),
            xytext=(0, _ABOVE_POINTS),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=colour,
        )
        for alone in (one for one in asked if one.probed.layer is None):
            axes.axhline(alone.macro_f1, color=colour, lw=1.2, ls=":", label=f"{question.title}, prosody alone")
