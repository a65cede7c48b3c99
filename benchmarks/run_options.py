"""Options that commands share which let clients talk to a server for minutes."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from benchmarks.live_speech import TALKERS

FOLDER = click.Path(path_type=Path, file_okay=False)

talkers = click.option(
    "--talkers",
    type=click.Choice(list(TALKERS)),
    default="continuous",
    show_default=True,
    help="Speech with natural pauses, or as much silence as speech.",
)
corpus = click.option(
    "--corpus",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of clips with refs.tsv; by default the clips that come with MEDUSA live.",
)
language = click.option("--language", default="en", show_default=True, help="Of the clips; empty to detect it.")
seed = click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Of all that is drawn.")
config = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The server's config.toml; the defaults without.",
)
out = click.option("--out", type=FOLDER, help="Folder for JSON and pictures.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


def run(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every run: what is said, how it is drawn, the server's settings, and where the result goes."""
    return reduce(lambda made, option: option(made), (as_json, out, config, seed, language, corpus), command)
