"""What every picture is drawn on: a figure in the colours of a light or a dark page, as PNG."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from trainer.errors import TrainerError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI: Final = 120
_LUMINANCE: Final = (0.2126, 0.7152, 0.0722)
"""What red, green and blue add to how bright a colour looks (ITU-R BT.709)."""
_BRIGHT: Final = 0.5


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a page."""

    name: str
    paper: str
    ink: str
    faint: str
    """Of grids and of what stands in the background."""
    accent: str
    contrast: str
    """Of a second thing beside the accent."""


LIGHT: Final = Theme("light", "#ffffff", "#1b1f24", "#9aa1a9", "#2f6f9f", "#c2571a")
DARK: Final = Theme("dark", "#16191d", "#e4e7eb", "#6b737c", "#6db3e8", "#f0a35e")


@contextmanager
def drawing(theme: Theme, width: float, height: float) -> Iterator[Figure]:
    """A figure in a theme's colours; what is drawn within the block takes them on.

    Args:
        theme: of the page.
        width: in inches.
        height: in inches.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise TrainerError("pictures need matplotlib: install medusa-live[train]") from error
    colours: Any = {
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), theme.paper),
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.titlecolor"), theme.ink),
        "axes.edgecolor": theme.faint,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "grid.color": theme.faint,
        "grid.alpha": 0.35,
    }
    with mpl.rc_context(colours):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def shades(theme: Theme) -> Any:
    """The colour map of a theme, from its paper to its accent."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(f"medusa-{theme.name}", [theme.paper, theme.accent])


def readable_on(colour: Sequence[float]) -> str:
    """The colour of digits on a cell: dark on a bright one, bright on a dark one.

    Args:
        colour: red, green and blue of the cell, each 0 to 1, and whatever follows.
    """
    luminance = sum(part * weight for part, weight in zip(colour, _LUMINANCE, strict=False))
    return LIGHT.ink if luminance > _BRIGHT else DARK.ink


def png(figure: Figure) -> bytes:
    """The picture, the same bytes for the same figures under every patch release of matplotlib."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
