"""Commands for the console's tests."""

from __future__ import annotations

import click

from models.errors import BundleError
from streaming.errors import ConfigError

not_a_command = "text"


@click.group()
def toy() -> None:
    """Does what a test needs."""


@toy.command()
@click.option("--count", type=int, default=1)
def greet(count: int) -> None:
    click.echo("hello " * count)


@toy.command()
@click.argument("words", nargs=-1)
def echo(words: tuple[str, ...]) -> None:
    click.echo(" ".join(words))


@toy.command()
def own_error() -> None:
    raise BundleError("manifest.json: no field 'labels'; make the bundle again")


@toy.command()
def two_lines() -> None:
    raise ConfigError("config.toml:1: first\nconfig.toml:2: second")


@toy.command()
def missing_file() -> None:
    open("/no/such/file")  # noqa: PTH123, SIM115 - the error is the point


@toy.command()
def missing_module() -> None:
    import no_such_module  # noqa: F401


@toy.command()
def bug() -> None:
    raise KeyError("oops")


@toy.command()
def interrupted() -> None:
    raise KeyboardInterrupt


@toy.command()
@click.pass_context
def fails(context: click.Context) -> None:
    context.exit(1)
