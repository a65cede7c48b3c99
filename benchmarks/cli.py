"""`medusa bench`: measurements that print a table, or the one JSON object of the contract."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

NAMES: Final = (
    "bullies",
    "chaos",
    "conversation",
    "features",
    "fusion",
    "layers",
    "live",
    "quiet",
    "soak",
    "transcription",
    "vad",
)
"""Of the benchmarks: each is the command `main` of the file of its name."""


class _Benchmarks(click.Group):
    """Benchmarks by name, each imported when it runs: they need what only the development extra installs."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Their names."""
        return list(NAMES)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them."""
        if cmd_name not in NAMES:
            return None
        try:
            command: click.Command = import_module(f"benchmarks.{cmd_name}").main
        except ImportError as error:
            raise click.ClickException(
                f"{cmd_name} needs {error.name}: pip install 'medusa-live[dev]', or run make setup"
            ) from error
        return command


@click.command(cls=_Benchmarks, epilog="Example: medusa bench transcription --corpus ~/corpora/librispeech")
def bench() -> None:
    """Measure latency, live streams, hours, faults, the fused ensemble, transcription, voices, features and layers."""
