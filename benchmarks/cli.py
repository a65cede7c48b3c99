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


SIMULATE: Final = "--simulate"
"""Makes `live` another command with options of its own: `benchmarks/live_simulation.py`."""


class _Benchmarks(click.Group):
    """Benchmarks by name, each imported when it runs: they need what only the development extra installs."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that arguments ask for, and what is left of them."""
        if args[:1] == ["live"] and SIMULATE in args:
            return f"live {SIMULATE}", _command("live_simulation"), [word for word in args[1:] if word != SIMULATE]
        return super().resolve_command(ctx, args)

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Their names."""
        return list(NAMES)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them."""
        if cmd_name not in NAMES:
            return None
        return _command(cmd_name)


def _command(name: str) -> click.Command:
    try:
        command: click.Command = import_module(f"benchmarks.{name}").main
    except ImportError as error:
        raise click.ClickException(
            f"{name} needs {error.name}: pip install 'medusa-live[dev]', or run make setup"
        ) from error
    return command


@click.command(cls=_Benchmarks, epilog="Example: medusa bench transcription --corpus ~/corpora/librispeech")
def bench() -> None:
    """Measure latency, live streams, hours, faults, the fused ensemble, transcription, voices, features and layers."""
