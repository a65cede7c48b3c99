"""How far a long job is: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Advance = Callable[[int, float], None]
"""Called with utterances done and seconds of their audio, since the last call."""

ProgressFactory = Callable[[str, int, float], AbstractContextManager[Advance]]
"""Makes a display from a description, how many utterances there are, and how many seconds of audio they hold."""


class AudioRateColumn(ProgressColumn):
    """Hours of audio done in an hour."""

    def render(self, task: Task) -> Text:
        """Such as `85 h/h`; nothing before the first audio is done."""
        audio_s = float(task.fields.get("audio_s", 0.0))
        if not task.elapsed or audio_s <= 0:
            return Text("")
        return Text(f"{audio_s / task.elapsed:.3g} h/h", no_wrap=True)


@contextmanager
def terminal_progress(description: str, utterances: int, audio_s: float) -> Iterator[Advance]:
    """A bar on stderr with what is left and how fast it goes; silent when stderr is no terminal.

    Args:
        description: what is being done.
        utterances: how many there are; with none, nothing is shown.
        audio_s: how much audio they hold.
    """
    if not utterances or not sys.stderr.isatty():
        with no_progress(description, utterances, audio_s) as advance:
            yield advance
        return
    amount = f" ({audio_s / 3600:.2f} h)" if audio_s > 0 else ""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        AudioRateColumn(),
    )
    done_s = 0.0
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"{description}{amount}", total=utterances, audio_s=0.0)

        def advance_bar(count: int, seconds: float) -> None:
            nonlocal done_s
            done_s += seconds
            bar.update(task, advance=count, audio_s=done_s)

        yield advance_bar


@contextmanager
def no_progress(_description: str, _utterances: int, _audio_s: float) -> Iterator[Advance]:
    """Shows nothing."""
    yield lambda _count, _seconds: None
