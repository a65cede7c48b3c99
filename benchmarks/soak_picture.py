"""A long run as a picture: lag, memory and what is held open, over its minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from benchmarks.soak_result import BLOCK_S, Series, SoakRow
from benchmarks.soak_watching import Look
from trainer.canvas import Theme, drawing, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_INCHES: Final = 7.2
_HEIGHT_INCHES: Final = 7.6
_S_PER_MIN: Final = 60.0
_HEADROOM: Final = 1.25
_COUNTS: Final[tuple[tuple[str, str, Callable[[Look], int | None]], ...]] = (
    ("open files", "-", lambda one: one.descriptors),
    ("tasks", "--", lambda one: one.tasks),
    ("threads", ":", lambda one: one.threads),
)


def soak_picture(row: SoakRow, looks: Sequence[Look], heading: str, theme: Theme) -> bytes:
    """Four panels over one clock.

    Args:
        row: of the run.
        looks: at its server.
        heading: above.
        theme: colours.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    with drawing(theme, _WIDTH_INCHES, _HEIGHT_INCHES) as figure:
        lag, memory, held, waiting = figure.subplots(4, 1, sharex=True)
        _series(lag, row.lag, "lag, ms", "ms a minute", theme)
        _series(memory, row.rss, "memory, MiB", "MiB a minute", theme)
        for name, style, value in _COUNTS:
            _line(held, looks, value, name, style, theme.accent)
        held.set_ylabel("held")
        held.legend(loc="center right")
        _line(waiting, looks, lambda one: one.queue_depth, "requests that wait", "-", theme.accent)
        _line(waiting, looks, lambda one: one.sessions, "sessions", "--", theme.contrast)
        waiting.set_ylabel("waiting")
        waiting.legend(loc="upper right")
        waiting.set_xlabel("minutes")
        for axes in (held, waiting):
            axes.set_ylim(bottom=0)
        for axes in (lag, memory, held, waiting):
            axes.grid(visible=True, axis="y")
        figure.suptitle(heading, fontsize=10)
        return png(figure)


def _series(axes: Axes, series: Series, label: str, unit: str, theme: Theme) -> None:
    """The means of stretches, and the line through them where there is one."""
    axes.plot(series.minutes, series.means, color=theme.accent, marker="o", markersize=3, lw=1.0)
    if series.slope is not None:
        slope = series.slope
        middle = sum(series.minutes) / len(series.minutes)
        level = sum(series.means) / len(series.means)
        ends = [series.minutes[0], series.minutes[-1]]
        said = f"{slope.slope:+.2g} {unit} ({slope.low:+.2g} to {slope.high:+.2g})"
        axes.plot(
            ends, [level + slope.slope * (end - middle) for end in ends], color=theme.contrast, lw=1.2, label=said
        )
        axes.legend(loc="lower right")
    if series.means:
        axes.set_ylim(0, max(*series.means, 1.0) * _HEADROOM)
    axes.set_ylabel(label)
    axes.set_title(f"means of {BLOCK_S:g} s", loc="left", fontsize=8)


def _line(
    axes: Axes, looks: Sequence[Look], value: Callable[[Look], int | None], label: str, style: str, colour: str
) -> None:
    known = [(one.at_s / _S_PER_MIN, figure) for one in looks if (figure := value(one)) is not None]
    axes.plot([at for at, _ in known], [figure for _, figure in known], color=colour, ls=style, lw=1.0, label=label)
