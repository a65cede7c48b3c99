"""What `medusa analyze` shows: a line for each finding on stdout, a bar on stderr where that is a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streaming.analyze import FileResult
from streaming.printable import printable

_WIDEST_NAME: Final = 40
_LABEL: Final = 9
NOT_SURE: Final = "not sure"
NO_SPEECH: Final = "no speech"
NOT_SCORED: Final = "-"


class AnalyzeOutput:
    """Shows results as they come; used in a `with` statement."""

    def __init__(self, files: list[Path], *, as_json: bool) -> None:
        """Shows nothing yet.

        Args:
            files: all that will be analysed.
            as_json: objects rather than a table.
        """
        self._as_json = as_json
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
        self._write: Callable[[str], object] = partial(console.out, highlight=False) if above_bar else click.echo

    def __enter__(self) -> Self:
        self._bar.start()
        if not self._as_json:
            self._write(f"{'file':<{self._width}}    from s     to s  ch  {'emotion':<{_LABEL}} sure  words")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, result: FileResult) -> None:
        """Shows what was found in one file."""
        for row in result.rows:
            self._write(json.dumps(row, ensure_ascii=False) if self._as_json else self._table_row(row))
        if result.error is not None and self._as_json:
            self._write(json.dumps({"file": str(result.path), "error": result.error}, ensure_ascii=False))
        if result.error is not None and not self._as_json:
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
