"""Pictures as SVG: text that every browser shows, legible on light and dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from math import ceil, floor, log10
from types import MappingProxyType
from typing import Final

from streaming.printable import printable

Colours = tuple[str, str]
"""On a light page, on a dark one."""

_FONT: Final = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
_PAPER: Final[Mapping[str, Colours]] = MappingProxyType(
    {
        "page": ("#ffffff", "#0d1117"),
        "ink": ("#1f2328", "#e6edf3"),
        "muted": ("#59636e", "#9198a1"),
        "grid": ("#d8dee4", "#30363d"),
    }
)
_TICKS: Final = 5
LETTER: Final = 6.6
"""Width of a character of 12 pixels, about."""


class Pen:
    """Draws in colours that have names: `page`, `ink`, `muted`, `grid`, and a picture's own."""

    def __init__(self, colours: Mapping[str, Colours]) -> None:
        """Dips in.

        Args:
            colours: the picture's own; names are letters, digits and dashes.
        """
        self._colours: Final = {**_PAPER, **colours}

    def picture(self, title: str, width: float, height: float, parts: Iterable[str]) -> str:
        """The whole document.

        Args:
            title: for screen readers and as a hint.
            width: in pixels.
            height: likewise.
            parts: what is drawn, from back to front.
        """
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
                f'height="{height}" role="img" font-family="{_FONT}" font-size="12">',
                f"<title>{safe(title)}</title>",
                f"<style>{self._style()}</style>",
                self.box(0, 0, width, height, "page"),
                *parts,
                "</svg>\n",
            ]
        )

    def box(self, x: float, y: float, width: float, height: float, colour: str, hint: str = "") -> str:
        """A filled rectangle; `hint` shows when the pointer rests on it."""
        shape = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" {self.fill(colour)}'
        return f"{shape}><title>{safe(hint)}</title></rect>" if hint else f"{shape}/>"

    def text(
        self, x: float, y: float, text: str, colour: str, *, size: int = 12, bold: bool = False, anchor: str = "start"
    ) -> str:
        """A line of text whose baseline is at `y`; `anchor` is SVG's `start`, `middle` or `end`."""
        weight = ' font-weight="600"' if bold else ""
        place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
        return f"<text {place}{weight} {self.fill(colour)}>{safe(text)}</text>"

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
        """A hairline."""
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {self.stroke(colour)}/>'

    def fill(self, colour: str) -> str:
        """Attributes of a shape's inside."""
        # The attribute serves programs that know no style sheets; the class, dark pages.
        return f'class="{colour}" fill="{self._colours[colour][0]}"'

    def stroke(self, colour: str) -> str:
        """Attributes of a line."""
        return f'class="{colour}-line" stroke="{self._colours[colour][0]}"'

    def _style(self) -> str:
        rules = "".join(
            f".{name}{{fill:{dark}}}.{name}-line{{stroke:{dark}}}" for name, (_, dark) in self._colours.items()
        )
        return f"@media (prefers-color-scheme: dark) {{{rules}}}"


class Axis:
    """A panel's horizontal scale, from 0 to a round number."""

    def __init__(self, left: float, width: float, most: float, unit: str) -> None:
        """Chooses the scale.

        Args:
            left: where 0 is drawn.
            width: of the panel, in pixels.
            most: largest value to show.
            unit: what stands under it.
        """
        self._left = left
        self._width = width
        self._step = _round_step(most / _TICKS)
        self._most = max(1, ceil(most / self._step)) * self._step
        self._unit = unit

    def at(self, value: float) -> float:
        """Where a value lies; never outside the panel."""
        return self._left + self._width * min(1.0, max(0.0, value / self._most))

    def draw(self, pen: Pen, top: float, bottom: float) -> Iterator[str]:
        """Grid lines from `top` to `bottom`, figures and the unit under them."""
        for tick in range(round(self._most / self._step) + 1):
            value = tick * self._step
            x = self.at(value)
            yield f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" {pen.stroke("grid")}/>'
            yield pen.text(x, bottom + 16, f"{value:g}", "muted", anchor="middle", size=11)
        yield pen.text(self._left, bottom + 34, self._unit, "muted", size=11)


def safe(text: str) -> str:
    """Text that may stand in a document: printable, and without markup."""
    return escape(printable(text))


def _round_step(least: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    if least <= 0:
        return 1.0
    power = 10.0 ** floor(log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least)
