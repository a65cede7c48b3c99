"""What `medusa analyze` shows: a line for each finding on stdout, a bar on stderr where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streaming.analyze import FileResult
from streaming.events import ModelInfo
from streaming.exports.call_picture import call_picture
from streaming.exports.folder import ExportFolder
from streaming.exports.formats import Format
from streaming.printable import printable

PICTURE: Final = ".svg"
_WIDEST_NAME: Final = 40
_LABEL: Final = 9
NOT_SURE: Final = "not sure"
NO_SPEECH: Final = "no speech"
NOT_SCORED: Final = "-"


class AnalyzeOutput:
    """Shows results as they come; used in a `with` statement."""

    def __init__(
        self,
        files: list[Path],
        *,
        form: Format | None = None,
        folder: Path | None = None,
        pictures: Path | None = None,
    ) -> None:
        """Shows nothing yet.

        Args:
            files: all that will be analysed.
            form: of the findings; a table by default.
            folder: for a document of that form for each file, where they are not to go to stdout.
            pictures: folder for a picture of each file.

        Raises:
            ExportError: a folder cannot be made.
        """
        self._form = form
        self._documents = None if form is None or folder is None else ExportFolder(folder, files, form.suffix)
        self._pictures = None if pictures is None else ExportFolder(pictures, files, PICTURE)
        self._errors_in_findings = form is not None and form.tells_errors and self._documents is None
        self._labels: Sequence[str] = ()
        self._begun = False
        self._width = min(_WIDEST_NAME, max((len(str(file)) for file in files), default=0))
        columns = (
            TextColumn("recognising"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        # Results go to stdout, whatever rich would make of it.
        self._bar = Progress(
            *columns,
            console=console,
            disable=not console.is_terminal,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=len(files))
        above_bar = console.is_terminal and sys.stdout.isatty()
        self._write: Callable[[str], object] = (
            partial(console.out, highlight=False, end="") if above_bar else partial(click.echo, nl=False)
        )

    def __enter__(self) -> Self:
        self._bar.start()
        if self._form is None:
            self._write(f"{'file':<{self._width}}    from s     to s  ch  {'emotion':<{_LABEL}} sure  words\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._begun and self._form is not None and self._documents is None and error is None:
            self._write(self._form.tail)

    def begin(self, model: ModelInfo) -> None:
        """Takes note of who answers, before the first result."""
        self._begun = True
        self._labels = model.labels
        if self._form is not None and self._documents is None:
            self._write(self._form.head(self._labels))

    def show(self, result: FileResult) -> None:
        """Shows what was found in one file.

        Raises:
            ExportError: a document or a picture cannot be written.
        """
        form = self._form
        if form is None:
            self._write("".join(f"{self._table_row(row)}\n" for row in result.rows))
        elif self._documents is None:
            self._write(form.body(result, self._labels))
        elif result.rows or form.tells_errors:
            document = f"{form.head(self._labels)}{form.body(result, self._labels)}{form.tail}"
            self._documents.write(result.path, document)
        if self._pictures is not None and result.loudness is not None:
            drawn = call_picture(result.path.name, result.loudness, result.rows, result.duration_s)
            self._pictures.write(result.path, drawn)
        if result.error is not None and not self._errors_in_findings:
            name = str(result.path)
            self._complain("error", result.error if name in result.error else f"{name}: {result.error}")
        if result.warning is not None:
            self._complain("warning", f"{result.path} {result.warning}")
        self._bar.advance(self._task)

    def _complain(self, kind: str, problem: str) -> None:
        line = f"medusa: {kind}: {printable(problem)}"
        if self._bar.disable:
            click.echo(line, err=True)
        else:
            self._bar.console.out(line, highlight=False)

    def _table_row(self, row: dict[str, Any]) -> str:
        channel = NOT_SCORED if row["channel"] is None else str(row["channel"])
        name = _shortened(printable(row["file"]), self._width)
        return (
            f"{name:<{self._width}}  {row['start_s']:8.2f} {row['end_s']:8.2f}  {channel:>2}  "
            f"{_label(row):<{_LABEL}} {row['confidence']:4.0%}  {printable(row['text'])}"
        ).rstrip()


def _label(row: dict[str, Any]) -> str:
    if row["label"] is not None:
        return str(row["label"])
    if row["scores"]:
        return NOT_SURE
    return NOT_SCORED if row["text"] else NO_SPEECH


def _shortened(file: str, width: int) -> str:
    """The end of a path tells more than its beginning."""
    return file if len(file) <= width else "…" + file[-(width - 1) :]
