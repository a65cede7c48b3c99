"""Command lines of `medusa`, read without running them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from models.console import medusa


def parse(words: Sequence[str], *, whole: bool = True) -> None:
    """Reads a `medusa` command line as the console would, and runs nothing; files need not be there.

    Args:
        words: without `medusa`.
        whole: whether something required may not be left out.

    Raises:
        click.UsageError: the console would refuse it.
    """
    command: click.Command = medusa
    context = click.Context(command, info_name="medusa")
    values, rest, _ = command.make_parser(context).parse_args(list(words))
    while isinstance(command, click.Group) and rest:
        _, found, rest = command.resolve_command(context, rest)
        command = found or command
        context = click.Context(command, parent=context)
        rest = command.named(rest) if hasattr(command, "named") else rest
        values, rest, _ = command.make_parser(context).parse_args(rest)
    if rest:
        raise click.UsageError(f"nothing takes {rest}")
    for parameter in command.get_params(context):
        value, _ = parameter.consume_value(context, values)
        if not parameter.value_is_missing(value) and not isinstance(parameter.type, click.Path):
            parameter.type_cast_value(context, value)
        elif parameter.value_is_missing(value) and parameter.required and whole and not values.get("help"):
            raise click.MissingParameter(ctx=context, param=parameter)


def epilogs(command: click.Command, context: click.Context) -> list[str]:
    """The examples in the help of a command and of all below it."""
    found = [command.epilog.removeprefix("Example: ")] if command.epilog else []
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                found += epilogs(below, context)
    return found
