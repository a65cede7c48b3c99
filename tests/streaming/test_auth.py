"""Who may come in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from streaming.auth import Gate, Scope, is_loopback, open_gate, presented_token, read_tokens
from streaming.config import ServerSettings
from streaming.errors import AuthorisationError, ServerError

SECRET = "correct horse battery staple"  # noqa: S105 - a stand-in


def tokens_file(folder: Path, *lines: str) -> Path:
    path = folder / "tokens"
    path.write_text("\n".join(lines) + "\n")
    return path


def line(token: str = SECRET, name: str = "dashboard", scopes: str = "listen,events") -> str:
    return f"{hashlib.sha256(token.encode()).hexdigest()}  {name}  {scopes}"


def gate_with(folder: Path, *lines: str) -> Gate:
    return Gate(read_tokens(tokens_file(folder, *lines)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_open_to_programs_without_a_token(host: str) -> None:
    gate = open_gate(ServerSettings(host=host))

    gate.check(Scope.LISTEN, token=None, origin=None)
    assert not gate.asks_for_tokens


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])  # noqa: S104 - the point of the test
def test_no_server_opens_to_other_machines_without_tokens(host: str) -> None:
    with pytest.raises(ServerError, match=r"tokens_file must name a file of tokens; or set .* 127\.0\.0\.1"):
        open_gate(ServerSettings(host=host))


def test_a_tokens_file_is_heeded_on_loopback_too(tmp_path: Path) -> None:
    gate = open_gate(ServerSettings(tokens_file=str(tokens_file(tmp_path, line()))))

    with pytest.raises(AuthorisationError, match="a token is needed"):
        gate.check(Scope.LISTEN, token=None, origin=None)


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443"])
def test_local_pages_need_no_token(origin: str) -> None:
    Gate(None).check(Scope.EVENTS, token=None, origin=origin)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://[", ""])
def test_foreign_pages_cannot_use_a_server_without_tokens(origin: str) -> None:
    with pytest.raises(AuthorisationError, match="pages of other origins"):
        Gate(None).check(Scope.EVENTS, token=None, origin=origin)


def test_a_known_token_opens_what_its_scopes_say_from_any_origin(tmp_path: Path) -> None:
    gate = gate_with(tmp_path, "# dashboards", "", line(), line("other", "robot", "admin"))

    gate.check(Scope.EVENTS, token=SECRET, origin="https://dashboard.example")
    with pytest.raises(AuthorisationError, match="does not allow 'admin'"):
        gate.check(Scope.ADMIN, token=SECRET, origin=None)


@pytest.mark.parametrize(
    "wrong", ["", "correct horse", SECRET + " ", hashlib.sha256(SECRET.encode()).hexdigest(), "\udcff"]
)
def test_anything_but_the_token_is_refused_without_being_repeated(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(AuthorisationError) as refused:
        gate_with(tmp_path, line()).check(Scope.LISTEN, token=wrong, origin=None)

    assert "not known" in str(refused.value)
    assert not wrong or wrong not in str(refused.value)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (f"{SECRET.replace(' ', '')} dashboard listen", r"tokens:2: the first word must be a SHA-256"),
        ("a" * 64 + " dashboard", r"tokens:2: expected 'SHA256 NAME SCOPE"),
        ("a" * 64 + " dashboard listen,all", r"tokens:2: unknown scope 'all', known ones are admin, events, listen"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, bad: str, complaint: str) -> None:
    with pytest.raises(ServerError, match=complaint):
        read_tokens(tokens_file(tmp_path, "# tokens", bad))


def test_a_file_without_tokens_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="holds no token"):
        read_tokens(tokens_file(tmp_path, "# none yet"))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"cannot read the tokens file .*: No such file"):
        read_tokens(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("header", "query", "token"),
    [
        ("Bearer abc", None, "abc"),
        ("bearer  abc ", "other", "abc"),
        (None, "abc", "abc"),
        ("Basic dXNlcg==", "abc", "abc"),
        ("Bearer ", None, None),
        (None, "", None),
        (None, None, None),
    ],
)
def test_the_header_comes_before_the_query(header: str | None, query: str | None, token: str | None) -> None:
    assert presented_token(header, query) == token


def test_names_are_not_taken_for_loopback() -> None:
    assert not is_loopback("localhost.example.org")
