"""The `medusa` command: finds commands by entry point, imports only the one that runs, and turns errors into a line.

Commands come from the entry-point group `medusa.commands`, so that this package needs to import neither wing.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

import click
from click.exceptions import NoArgsIsHelpError

from models.logs import OWN_LOGGERS, configure_logging
from models.numeric_threads import one_numpy_thread

ENTRY_POINTS: Final = "medusa.commands"
DISTRIBUTION: Final = "medusa-live"
EXIT_FAILURE: Final = 1
EXIT_MISUSE: Final = 2
EXIT_INTERRUPTED: Final = 130

SHORT_HELP: Final = {
    "demo": "Stream a sample conversation through the server and watch events arrive.",
    "serve": "Run the server: audio in over WebSocket, emotion events out.",
    "stream": "Send a file, the microphone or stdin to a server and print its events.",
    "analyze": "Recognise emotions in audio files, as fast as the machine can.",
    "train": "Train an ensemble from audio folders.",
    "evaluate": "Measure a bundle on a corpus.",
    "features": "Extract a corpus's features once, for training.",
    "corpora": "Make the official distribution of a corpus ready for training.",
    "compile": "Make a bundle executable by an engine, and check its answers.",
    "bench": "Measure latency, throughput and accuracy.",
    "token": "Make and list the tokens by which clients may use a server.",
    "weights": "List, fetch and verify pretrained weights.",
}
"""What `medusa --help` says of each command, known here so that it loads none of them."""


class LazyCommands(click.Group):
    """A group whose commands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the help, then those that other distributions add."""
        found = set(_entry_points())
        return [name for name in SHORT_HELP if name in found] + sorted(found - SHORT_HELP.keys())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        entry_point = _entry_points().get(cmd_name)
        if entry_point is None:
            return None
        command = entry_point.load()
        if not isinstance(command, click.Command):
            raise click.ClickException(f"the entry point {entry_point.value} of {cmd_name} is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command to run, with a suggestion if there is none of that name."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(known)}."
            raise click.UsageError(f"No such command {name!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SHORT_HELP.get(name, "")) for name in self.list_commands(ctx)])


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


@click.command(
    cls=LazyCommands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: medusa demo",
)
@click.version_option(package_name=DISTRIBUTION, prog_name="medusa")
@click.option("--debug", is_flag=True, expose_value=False, help="Log in detail; show the traceback of an error.")
def medusa() -> None:
    """Streaming speech-emotion recognition: live speech in, emotion events out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        arguments: without the program's name; None for those of this process.

    Returns:
        The exit code: 0, 1 for a failure, 2 for misuse, 130 when interrupted.
    """
    one_numpy_thread()
    arguments, debug = _without_debug(sys.argv[1:] if arguments is None else arguments)
    configure_logging("debug" if debug else "info")
    try:
        result = medusa.main(args=arguments, prog_name="medusa", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return EXIT_FAILURE
    except Exception as error:  # noqa: BLE001 - the root of the program: whatever goes wrong becomes one line
        if debug:
            traceback.print_exc()
        return _report(error)
    return result if isinstance(result, int) else 0


def _without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Takes `--debug` out wherever it stands, so that it need not come before the command."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument != "--debug"]
    return [*options, *arguments[end:]], len(options) < end


def _report(error: Exception) -> int:
    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return EXIT_MISUSE
    for line in _message(error).splitlines():
        click.echo(f"medusa: error: {line}", err=True)
    return error.exit_code if isinstance(error, click.ClickException) else EXIT_FAILURE


def _message(error: Exception) -> str:
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "medusa"
        return f"{error.format_message()} See {command} --help."
    if isinstance(error, click.ClickException):
        return error.format_message()
    if type(error).__module__.partition(".")[0] in OWN_LOGGERS:
        return str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the module {error.name} is not installed; install medusa-live again, with the extra that brings it"
    reason = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}: {reason} (run again with --debug for the traceback)"


def _abandon_stdout() -> None:
    """Keeps Python from complaining at exit that nobody reads stdout any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
