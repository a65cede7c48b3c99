"""A run of `medusa bench live` as pictures: latency, and processors, over the number of streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from benchmarks.live_result import LiveRow
from benchmarks.live_server import MEDUSA, PLAIN
from trainer.canvas import Theme, drawing, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_INCHES: Final = 7.2
_HEIGHT_INCHES: Final = 4.2
_TITLES: Final = MappingProxyType({MEDUSA: "MEDUSA live", PLAIN: "plain server"})
_MARKERS: Final = MappingProxyType({MEDUSA: "o", PLAIN: "s"})
_PERCENTILES: Final[tuple[tuple[str, str, Callable[[LiveRow], float | None]], ...]] = (
    ("p50", ":", lambda row: _drawn_ms(row.compute_p50_ms)),
    ("p95", "-", lambda row: _drawn_ms(row.compute_p95_ms)),
    ("p99", "--", lambda row: _drawn_ms(row.compute_p99_ms)),
)
_WIDE_RANGE: Final = 8.0
"""Latencies further apart than this are drawn on a logarithmic axis."""
_LEAST_MS: Final = 1.0
"""Finals that were there before the silence was over are drawn here: a logarithm has no place for nothing."""
_HEADROOM: Final = 1.3


def latency_picture(rows: Sequence[LiveRow], targets_ms: Sequence[float], heading: str, theme: Theme) -> bytes:
    """Percentiles of what comes after the silence, a line each; rows that do not count are crossed out.

    Args:
        rows: at least one with finals.
        targets_ms: drawn across.
        heading: above.
        theme: colours.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    with drawing(theme, _WIDTH_INCHES, _HEIGHT_INCHES) as figure:
        axes = figure.subplots()
        shown: list[float] = list(targets_ms)
        for server in dict.fromkeys(row.server for row in rows):
            own = sorted((row for row in rows if row.server == server), key=lambda row: row.streams)
            for name, style, value in _PERCENTILES:
                values = _line(axes, own, value, f"{_TITLES.get(server, server)}, {name}", style, theme)
                shown += values
            crossed = [
                (row.streams, p95_ms) for row in own if row.failures and (p95_ms := _drawn_ms(row.compute_p95_ms))
            ]
            axes.plot(
                [streams for streams, _ in crossed],
                [p95_ms for _, p95_ms in crossed],
                color=theme.ink,
                marker="x",
                markersize=9,
                ls="none",
            )
        for target_ms in targets_ms:
            axes.axhline(target_ms, color=theme.faint, lw=1.2, ls="-.")
            axes.annotate(
                f"{target_ms:g} ms",
                (1.0, target_ms),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=8,
                color=theme.faint,
            )
        _finish(axes, rows, "final after the silence, ms", shown)
        axes.legend(loc="best", ncols=2)
        figure.suptitle(heading, fontsize=10)
        return png(figure)


def processor_picture(rows: Sequence[LiveRow], cores: int, heading: str, theme: Theme) -> bytes:
    """Processors that each server kept busy, and the clients beside it.

    Args:
        rows: at least one.
        cores: of the machine, drawn across.
        heading: above.
        theme: colours.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    with drawing(theme, _WIDTH_INCHES, _HEIGHT_INCHES) as figure:
        axes = figure.subplots()
        shown = [float(cores)]
        for server in dict.fromkeys(row.server for row in rows):
            own = sorted((row for row in rows if row.server == server), key=lambda row: row.streams)
            title = _TITLES.get(server, server)
            shown += _line(axes, own, lambda row: row.cpu_cores, title, "-", theme)
            shown += _line(axes, own, lambda row: row.client_cpu_cores, f"clients of {title}", ":", theme)
        axes.axhline(cores, color=theme.faint, lw=1.2, ls="-.", label="all there are")
        _finish(axes, rows, "processors kept busy", shown, logarithmic=False)
        axes.legend(loc="best")
        figure.suptitle(heading, fontsize=10)
        return png(figure)


def _drawn_ms(value: float | None) -> float | None:
    return None if value is None else max(_LEAST_MS, value)


def _line(
    axes: Axes,
    rows: Sequence[LiveRow],
    value: Callable[[LiveRow], float | None],
    label: str,
    style: str,
    theme: Theme,
) -> list[float]:
    """One line over the rows that have a value; what was drawn."""
    found = [(row.streams, number) for row in rows if (number := value(row)) is not None]
    server = rows[0].server
    axes.plot(
        [streams for streams, _ in found],
        [number for _, number in found],
        color=theme.accent if server == MEDUSA else theme.contrast,
        marker=_MARKERS.get(server, "D"),
        markersize=4,
        lw=1.3,
        ls=style,
        label=label,
    )
    return [number for _, number in found]


def _finish(
    axes: Axes, rows: Sequence[LiveRow], label: str, values: Sequence[float], *, logarithmic: bool = True
) -> None:
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    streams = sorted({row.streams for row in rows})
    axes.set_xlabel("live streams")
    axes.set_ylabel(label)
    axes.grid(visible=True, axis="y")
    axes.set_xticks(streams, [str(number) for number in streams])
    low, high = min(values), max(values)
    if logarithmic and low > 0 and high / low > _WIDE_RANGE:
        axes.set_yscale("log")
        axes.set_ylim(low / _HEADROOM, high * _HEADROOM)
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, high * _HEADROOM)
