"""`medusa token`: makes tokens that a server takes, and lists them without any secret."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streaming.auth import open_gate
from streaming.config import ServerSettings
from streaming.errors import AuthorisationError, ServerError
from streaming.token_cli import token
from streaming.tokens import Scope, read_tokens


def run(*arguments: str) -> Result:
    return CliRunner().invoke(token, arguments, catch_exceptions=False)


def made(*arguments: str) -> dict[str, str]:
    fields: dict[str, str] = json.loads(run("new", *arguments, "--json").output)
    return fields


def test_a_new_token_is_shown_once_with_the_line_that_a_server_takes(tmp_path: Path) -> None:
    shown = run("new", "dashboard", "--scopes", "events").output.splitlines()
    secret, line = (text.partition(": ")[2] for text in shown)
    (tmp_path / "tokens").write_text(f"{line}\n")

    gate = open_gate(ServerSettings(tokens_file=str(tmp_path / "tokens")))
    gate.check(Scope.EVENTS, token=secret, origin=None)
    with pytest.raises(AuthorisationError, match="does not allow 'listen'"):
        gate.check(Scope.LISTEN, token=secret, origin=None)
    assert secret not in line


def test_an_appended_token_is_in_the_file_and_its_secret_is_not(tmp_path: Path) -> None:
    path = tmp_path / "tokens"

    first = made("one", "--append", str(path))
    made("two", "--append", str(path), "--scopes", "admin, listen")

    assert [(known.name, sorted(known.scopes)) for known in read_tokens(path)] == [
        ("one", ["events", "listen"]),
        ("two", ["admin", "listen"]),
    ]
    assert first["token"] not in path.read_text()
    assert first["line"] in path.read_text()


def test_days_say_when_it_ends() -> None:
    expires = datetime.fromisoformat(made("short", "--days", "90")["expires"])

    assert abs(expires - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=5)
    assert made("long")["expires"] is None


def test_nothing_is_shown_where_it_cannot_be_added(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="cannot add a token"):
        run("new", "one", "--append", str(tmp_path / "nowhere" / "tokens"))


@pytest.mark.parametrize(
    "arguments", [("two words",), ("name", "--scopes", "all"), ("name", "--scopes", ""), ("name", "--days", "0")]
)
def test_what_makes_no_token_is_refused(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(token, ("new", *arguments))

    assert result.exit_code != 0
    assert "medusa_" not in result.output


def test_the_list_shows_names_scopes_and_ends_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    secret = made("dashboard", "--append", str(path))["token"]
    with path.open("a") as file:
        file.write(f"{'a' * 64} old admin 2020-01-01\n")

    listed = run("list", str(path)).output
    as_json = [json.loads(line) for line in run("list", str(path), "--json").output.splitlines()]

    assert [line.split() for line in listed.splitlines()] == [
        ["dashboard", "listen,events", "never", "expires"],
        ["old", "admin", "expired", "2020-01-01T00:00:00Z"],
    ]
    assert as_json == [
        {"name": "dashboard", "scopes": ["listen", "events"], "expires": None, "expired": False},
        {"name": "old", "scopes": ["admin"], "expires": "2020-01-01T00:00:00Z", "expired": True},
    ]
    for known in read_tokens(path):
        assert known.sha256 not in listed
    assert secret not in listed


@pytest.mark.parametrize("command", [(), ("new",), ("list",)])
def test_every_help_has_an_example(command: tuple[str, ...]) -> None:
    assert f"Example: {' '.join(('medusa', 'token', *command))}" in run(*command, "--help").output
