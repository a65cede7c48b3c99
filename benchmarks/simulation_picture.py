"""A simulation as a picture: how late finals were, which interims were computed, and what was given up, over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.simulation_result import Second
from streaming.recognition.degradation import Degradation
from trainer.canvas import Theme, drawing, png

_WIDTH_INCHES: Final = 7.2
_HEIGHT_INCHES: Final = 6.0
_HEIGHTS: Final = (3, 2, 1.2)
_HEADROOM: Final = 1.15


def simulation_picture(seconds: Sequence[Second], deadline_ms: float, heading: str, theme: Theme) -> bytes:
    """Three strips over one time axis.

    Args:
        seconds: one by one.
        deadline_ms: drawn across the finals.
        heading: above.
        theme: colours.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    at_s = [second.at_s for second in seconds]
    with drawing(theme, _WIDTH_INCHES, _HEIGHT_INCHES) as figure:
        finals, interims, steps = figure.subplots(3, 1, sharex=True, height_ratios=_HEIGHTS)
        for style, name, values in (
            ("-", "p95", [second.final_p95_ms for second in seconds]),
            (":", "p50", [second.final_p50_ms for second in seconds]),
        ):
            drawn = [float("nan") if value is None else value for value in values]
            finals.plot(at_s, drawn, color=theme.accent, ls=style, lw=1.3, label=f"finals, {name}")
        finals.axhline(deadline_ms, color=theme.faint, lw=1.2, ls="-.", label="deadline")
        finals.set_ylabel("from the end decided\nto the final, ms")
        highest = max([deadline_ms, *(second.final_p95_ms or 0.0 for second in seconds)])
        finals.set_ylim(0, _HEADROOM * highest)
        interims.plot(at_s, [second.interims_asked for second in seconds], color=theme.faint, lw=1.3, label="asked for")
        interims.plot(
            at_s, [second.interims_answered for second in seconds], color=theme.accent, lw=1.3, label="computed"
        )
        interims.set_ylabel("interims a second")
        interims.set_ylim(bottom=0)
        steps.step(at_s, [second.step for second in seconds], where="post", color=theme.contrast, lw=1.5)
        steps.set_yticks(list(Degradation), [step.name.lower().replace("_", " ") for step in Degradation], fontsize=7)
        steps.set_ylim(-0.5, max(Degradation) + 0.5)
        steps.set_xlabel("virtual seconds")
        for axes in (finals, interims, steps):
            axes.grid(visible=True, axis="y")
        for axes in (finals, interims):
            axes.legend(loc="best")
        figure.suptitle(heading, fontsize=10)
        return png(figure)
