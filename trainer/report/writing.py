"""Writes a report's files into a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from trainer.canvas import LIGHT
from trainer.measurement import Measurement
from trainer.report.page import page
from trainer.report.sections import Section, sections_of

FIGURES_FILE: Final = "figures.json"
JSON_FILE: Final = "report.json"
MARKDOWN_FILE: Final = "report.md"
HTML_FILE: Final = "report.html"


def write_report(folder: Path, measured: Measurement) -> Path:
    """Writes a report: the same figures for people, for a repository, and for machines.

    `report.html` shows everything. `report.md` is a summary, with its pictures beside it. `report.json` holds every
    number of the page; `figures.json` those that name no person and no recording, for `medusa train --metrics`.

    Args:
        folder: made where it is missing; files of an earlier report are replaced.
        measured: what is reported.

    Returns:
        The HTML file, which holds its pictures in itself.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sections = sections_of(measured)
    brief = [section for section in sections if section.brief]
    for picture in (picture for section in brief for picture in section.pictures):
        (folder / picture.file).write_bytes(picture.draw(LIGHT))
    _write_json(folder / FIGURES_FILE, measured.figures())
    _write_json(folder / JSON_FILE, measured.as_mapping())
    (folder / MARKDOWN_FILE).write_text(_markdown(measured.protocol, brief), encoding="utf-8")
    (folder / HTML_FILE).write_text(page(measured.protocol, sections), encoding="utf-8")
    return folder / HTML_FILE


def _markdown(title: str, sections: Sequence[Section]) -> str:
    parts = [f"# {title}"]
    for section in sections:
        parts += [f"## {section.title}", *section.text, *(table.markdown() for table in section.tables)]
        parts += [f"![{picture.caption}]({picture.file})" for picture in section.pictures]
    return "\n\n".join(parts) + "\n"


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
