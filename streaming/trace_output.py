"""Where a trace goes: to the terminal as bars, to a file as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from rich.console import Console

from streaming.trace import Tracer
from streaming.trace_bars import trace_bars
from streaming.trace_picture import trace_picture

PICTURE: Final = ".svg"


def check_picture(path: Path | None) -> None:
    """Sees before anything is streamed that a picture could be kept.

    Raises:
        click.UsageError: it is no SVG, or its folder does not exist.
    """
    if path is None:
        return
    if path.suffix.lower() != PICTURE:
        raise click.UsageError(f"--trace-out writes SVG, got {path.name}: let the name end in {PICTURE}.")
    if not path.parent.is_dir():
        raise click.UsageError(f"There is no folder {path.parent} for --trace-out: make it first.")


def show_trace(tracer: Tracer, *, bars: bool, picture: Path | None, words: bool, title: str, to_stderr: bool) -> None:
    """Shows and keeps what was traced; nothing where nobody spoke.

    Args:
        tracer: that took the events.
        bars: whether to draw on the terminal.
        picture: file to write, if any.
        words: whether what was said is shown.
        title: of the picture: what was streamed.
        to_stderr: where stdout belongs to something else.

    Raises:
        OSError: the file cannot be written.
    """
    segments = tracer.segments
    if not segments:
        if bars or picture is not None:
            click.echo("no speech was heard, so there is nothing to trace", err=True)
        return
    if bars:
        Console(stderr=to_stderr).print(trace_bars(segments, words=words, left_out=tracer.left_out))
    if picture is not None:
        drawn = trace_picture(segments, title=f"medusa stream {title}", words=words, left_out=tracer.left_out)
        picture.write_text(drawn, encoding="utf-8")
