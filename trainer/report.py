"""The report of an evaluation: JSON for machines, Markdown for the model card, one HTML file for people."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainer.errors import MetricError
from trainer.plots import confusion_picture, reliability_picture, risk_coverage_picture
from trainer.results import Result

FORMAT_VERSION: Final = 1
JSON_FILE: Final = "report.json"
MARKDOWN_FILE: Final = "report.md"
HTML_FILE: Final = "report.html"

_PICTURES: Final = {
    "confusion.png": ("Confusion matrix, per cent of each true class", confusion_picture),
    "reliability.png": ("Reliability", reliability_picture),
    "risk_coverage.png": ("Risk and coverage", risk_coverage_picture),
}
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;border-bottom:1px solid #ddd}"
    "td:not(:first-child),th:not(:first-child){text-align:right;font-variant-numeric:tabular-nums}"
    "img{max-width:100%}figure{margin:1.5rem 0}figcaption{color:#555}"
)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header, written alike as Markdown and HTML."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """With the first column to the left, the others to the right."""
        lines = [_cells(self.header), _cells((":--", *("--:" for _ in self.header[1:])))]
        return "\n".join([*lines, *(_cells(tuple(cell.replace("|", "\\|") for cell in row)) for row in self.rows)])

    def html(self) -> str:
        """With every cell escaped."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.header)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def write_report(
    folder: Path, results: Sequence[Result], *, title: str = "Evaluation", notes: Sequence[str] = ()
) -> Path:
    """Writes `report.json`, `report.md`, `report.html` and the pictures of the first result.

    Args:
        folder: made where it is missing; files of an earlier report are replaced.
        results: the model reported on first, then whatever it is compared with, such as its members.
        title: of the report.
        notes: what a reader must know to take the figures rightly, a sentence each.

    Returns:
        The HTML file, which holds its pictures in itself.

    Raises:
        MetricError: there is no result.
        TrainerError: matplotlib is not installed.
    """
    if not results:
        raise MetricError("a report needs at least one result")
    folder.mkdir(parents=True, exist_ok=True)
    main = results[0]
    pictures = {file: draw(main) for file, (_, draw) in _PICTURES.items()}
    for file, png in pictures.items():
        (folder / file).write_bytes(png)
    written = {
        "version": FORMAT_VERSION,
        "title": title,
        "notes": list(notes),
        "results": [result.as_mapping() for result in results],
    }
    (folder / JSON_FILE).write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / MARKDOWN_FILE).write_text(_markdown(title, results, notes), encoding="utf-8")
    (folder / HTML_FILE).write_text(_html(title, results, notes, pictures), encoding="utf-8")
    return folder / HTML_FILE


def summary_table(results: Sequence[Result]) -> Table:
    """One row a model."""
    header = ("model", "examples", "macro-F1", "95 % interval", "UAR", "accuracy", "ECE", "AURC")
    attributes = tuple(dict.fromkeys(name for result in results for name in result.concordance))
    rows = tuple(
        (
            result.name,
            str(result.examples),
            _figure(result.classes.macro_f1),
            _interval(result),
            _figure(result.classes.unweighted_average_recall),
            _figure(result.accuracy),
            _figure(result.reliability.expected_calibration_error),
            _figure(result.risk_coverage.area),
            *(_figure(result.concordance.get(name)) for name in attributes),
        )
        for result in results
    )
    return Table((*header, *(f"CCC {name}" for name in attributes)), rows)


def class_table(result: Result) -> Table:
    """One row a class."""
    classes = result.classes
    rows = tuple(
        (
            name,
            _figure(classes.precision[i]),
            _figure(classes.recall[i]),
            _figure(classes.f1[i]),
            str(classes.support[i]),
        )
        for i, name in enumerate(result.labels)
    )
    return Table(("class", "precision", "recall", "F1", "examples"), rows)


def _markdown(title: str, results: Sequence[Result], notes: Sequence[str]) -> str:
    parts = [f"# {title}", summary_table(results).markdown(), *(f"- {note}" for note in notes)]
    parts += [f"## {results[0].name}, by class", class_table(results[0]).markdown()]
    parts += [f"![{caption}]({file})" for file, (caption, _) in _PICTURES.items()]
    return "\n\n".join(parts) + "\n"


def _html(title: str, results: Sequence[Result], notes: Sequence[str], pictures: dict[str, bytes]) -> str:
    figures = "".join(
        f'<figure><img alt="{html.escape(_PICTURES[file][0])}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>{html.escape(_PICTURES[file][0])}</figcaption></figure>"
        for file, png in pictures.items()
    )
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>{summary_table(results).html()}"
        f"{f'<ul>{listed}</ul>' if listed else ''}<h2>{html.escape(results[0].name)}, by class</h2>"
        f"{class_table(results[0]).html()}{figures}</body></html>\n"
    )


def _cells(row: tuple[str, ...]) -> str:
    return f"| {' | '.join(row)} |"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(result: Result) -> str:
    interval = result.macro_f1_interval
    return "" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"
