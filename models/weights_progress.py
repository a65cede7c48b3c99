"""A progress bar for downloads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from models.weights_sources import Report


@contextmanager
def download_progress(*, shown: bool) -> Iterator[Report]:
    """A report function that draws one bar per file on stderr, or nothing when that is no terminal."""
    if not shown or not sys.stderr.isatty():
        yield lambda _name, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=min(done, total))

        yield report
