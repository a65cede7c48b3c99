"""Tables of a report, and how a figure is written in their cells."""

from __future__ import annotations

import html
from dataclasses import dataclass

from trainer.bootstrap import Interval


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header, written alike as Markdown and HTML."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    """What it shows; none where a heading says it."""
    words: int = 1
    """How many columns, from the left, hold words: the others hold figures, and stand to the right."""

    def markdown(self) -> str:
        """Without the caption, which Markdown has no place for."""
        aligned = [":--" if column < self.words else "--:" for column in range(len(self.header))]
        lines = [_cells(self.header), _cells(tuple(aligned))]
        return "\n".join([*lines, *(_cells(tuple(cell.replace("|", "\\|") for cell in row)) for row in self.rows)])

    def html(self) -> str:
        """With every cell escaped; it scrolls within itself where a screen is narrower."""
        kinds = ['class="word"' if column < self.words else "" for column in range(len(self.header))]
        head = "".join(
            f'<th scope="col"{f" {kind}" if kind else ""}>{html.escape(cell)}</th>'
            for cell, kind in zip(self.header, kinds, strict=True)
        )
        body = "".join(f"<tr>{self._row(row, kinds)}</tr>" for row in self.rows)
        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        return f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'

    def _row(self, row: tuple[str, ...], kinds: list[str]) -> str:
        first, *others = (
            f"{f' {kind}' if kind else ''}>{html.escape(cell)}" for cell, kind in zip(row, kinds, strict=True)
        )
        return f'<th scope="row"{first}</th>' + "".join(f"<td{cell}</td>" for cell in others)


def figure(value: float | None) -> str:
    """Three decimals; nothing where there is no figure."""
    return "" if value is None else f"{value:.3f}"


def between(interval: Interval | None) -> str:
    """Its bounds, with three decimals; nothing where there is none."""
    return "" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"


def share(value: float | None) -> str:
    """Per cent, with one decimal; nothing where there is no figure."""
    return "" if value is None else f"{100 * value:.1f} %"


def points(value: float | None, *, signed: bool = True) -> str:
    """A difference of two shares in points, hundredths of 1, with one decimal."""
    if value is None:
        return ""
    # Adding 0 takes the sign off a rounded zero.
    rounded = round(100 * value, 1) + 0.0
    return f"{rounded:+.1f}" if signed and rounded else f"{rounded:.1f}"


def points_between(interval: Interval | None) -> str:
    """The bounds of a difference, in points."""
    return "" if interval is None else f"{points(interval.low)} to {points(interval.high)}"


def _cells(row: tuple[str, ...]) -> str:
    return f"| {' | '.join(row)} |"
