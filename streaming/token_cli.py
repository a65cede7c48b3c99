"""`medusa token`: tokens for clients, made and listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from streaming.tokens import Scope

_SCOPES: Final = ("listen", "events", "admin")
_MAX_DAYS: Final = 36_500
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON to stdout, nothing else.")
_FILE: Final = click.Path(path_type=Path, dir_okay=False)


def _scopes(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
    given = tuple(dict.fromkeys(scope.strip() for scope in value.split(",")))
    for scope in given:
        if scope not in _SCOPES:
            raise click.BadParameter(f"{scope!r} is no scope; there are {', '.join(_SCOPES)}.")
    return given


@click.group(epilog="Example: medusa token new dashboard --scopes events --days 90 --append tokens")
def token() -> None:
    """Tokens by which clients may use a server, see [server] tokens_file."""


@token.command("new", epilog="Example: medusa token new dashboard --scopes events --days 90 --append tokens")
@click.argument("name")
@click.option(
    "--scopes",
    callback=_scopes,
    default="listen,events",
    show_default=True,
    help="What it allows, by comma: listen (send audio), events (follow all sessions), admin (metrics).",
)
@click.option("--days", type=click.IntRange(1, _MAX_DAYS), help="Refused after so many days; never by default.")
@click.option("--append", "file", type=_FILE, help="Add its line to this tokens file; made if there is none.")
@_JSON
def new_command(name: str, scopes: tuple[str, ...], days: int | None, file: Path | None, as_json: bool) -> None:
    """Make a token called NAME, at random, and show it this once.

    The tokens file holds only its SHA-256. A running server reads the file again when it changes. To replace a token,
    make a new one of the same name, give it to its clients, then delete the old line.
    """
    from datetime import UTC, datetime, timedelta

    from streaming.tokens import Scope, append_token, as_text, make_token

    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
    secret, made = make_token(name, map(Scope, scopes), expires)
    if file is not None:
        append_token(file, made)
    if as_json:
        fields = {
            "token": secret,
            "name": name,
            "scopes": _names(made.scopes),
            "expires": None if made.expires is None else as_text(made.expires),
            "line": made.line,
            "file": None if file is None else str(file),
        }
        click.echo(json.dumps(fields))
        return
    click.echo(f"token (it is not shown again): {secret}")
    click.echo(f"line for the tokens file: {made.line}" if file is None else f"its line was added to {file}")


@token.command("list", epilog="Example: medusa token list tokens")
@click.argument("file", type=_FILE)
@_JSON
def list_command(file: Path, as_json: bool) -> None:
    """Show the names, scopes and ends of the tokens in FILE; tokens themselves are nowhere in it.

    With --json, one object a line.
    """
    from datetime import UTC, datetime

    from streaming.tokens import as_text, read_tokens

    now = datetime.now(UTC)
    for known in read_tokens(file):
        expires = None if known.expires is None else as_text(known.expires)
        expired = known.has_expired(now)
        if as_json:
            fields = {"name": known.name, "scopes": _names(known.scopes), "expires": expires, "expired": expired}
            click.echo(json.dumps(fields))
            continue
        end = "never expires" if expires is None else f"{'expired' if expired else 'expires'} {expires}"
        click.echo(f"{known.name:<24} {','.join(_names(known.scopes)):<20} {end}")


def _names(scopes: frozenset[Scope]) -> list[str]:
    return [name for name in _SCOPES if name in scopes]
