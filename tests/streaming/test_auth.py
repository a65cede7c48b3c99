"""Who may come in."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streaming.attempts import FailedAttempts
from streaming.auth import Gate, is_loopback, open_gate, presented_token
from streaming.config import ServerSettings
from streaming.errors import AuthorisationError, ServerError, TooManyAttemptsError
from streaming.tokens import Scope, read_tokens

SECRET = "correct horse battery staple"  # noqa: S105 - a stand-in


def tokens_file(folder: Path, *lines: str) -> Path:
    path = folder / "tokens"
    path.write_text("\n".join(lines) + "\n")
    return path


def line(token: str = SECRET, name: str = "dashboard", scopes: str = "listen,events") -> str:
    return f"{hashlib.sha256(token.encode()).hexdigest()}  {name}  {scopes}"


def gate_with(folder: Path, *lines: str) -> Gate:
    tokens = read_tokens(tokens_file(folder, *lines))
    return Gate(lambda: tokens)


class GuardedGate:
    """A gate that knows one token and refuses an address for 30 s after two wrong ones; its clock is the test's."""

    def __init__(self, folder: Path) -> None:
        tokens = read_tokens(tokens_file(folder, line()))
        attempts = FailedAttempts(limit=2, window_s=60, refusal_s=30)
        self.now_s = 0.0
        self._gate = Gate(lambda: tokens, attempts=attempts, clock=lambda: self.now_s)

    def answers(self, token: str | None, peer: str = "192.0.2.1") -> str:
        """What a client is told."""
        try:
            self._gate.check(Scope.LISTEN, token=token, origin=None, peer=peer)
        except AuthorisationError as error:
            return error.code
        return "welcome"


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


def test_a_token_lets_in_until_it_expires(tmp_path: Path) -> None:
    moment = datetime(2027, 6, 29, 23, 59, 59, tzinfo=UTC)
    tokens = read_tokens(tokens_file(tmp_path, f"{line()} 2027-06-30"))
    gate = Gate(lambda: tokens, utc_now=lambda: moment)

    gate.check(Scope.LISTEN, token=SECRET, origin=None)
    moment = datetime(2027, 6, 30, tzinfo=UTC)
    with pytest.raises(AuthorisationError, match="has expired on 2027-06-30T00:00:00Z"):
        gate.check(Scope.LISTEN, token=SECRET, origin=None)


# --- too many wrong tokens


def test_after_too_many_wrong_tokens_an_address_is_refused_for_a_while_with_a_right_one_too(tmp_path: Path) -> None:
    gate = GuardedGate(tmp_path)

    answers = [gate.answers(token) for token in ("wrong", SECRET, "wrong", "wrong", SECRET, None)]
    gate.now_s = 30
    later = gate.answers(SECRET)

    refused = ["not_authorised", "welcome", "not_authorised", *["too_many_attempts"] * 3]
    assert (answers, later) == (refused, "welcome")


def test_other_addresses_are_let_in_meanwhile(tmp_path: Path) -> None:
    gate = GuardedGate(tmp_path)
    for _ in range(3):
        gate.answers("wrong")

    assert gate.answers(SECRET, peer="192.0.2.2") == "welcome"


def test_no_token_or_one_without_the_scope_is_no_guess(tmp_path: Path) -> None:
    tokens = read_tokens(tokens_file(tmp_path, line(), f"{line('old', 'old')} 2020-01-01"))
    gate = Gate(lambda: tokens, attempts=FailedAttempts(limit=1, window_s=60, refusal_s=30))
    for token, scope in ((None, Scope.LISTEN), (SECRET, Scope.ADMIN), ("old", Scope.LISTEN)):
        with pytest.raises(AuthorisationError):
            gate.check(scope, token=token, origin=None)

    gate.check(Scope.LISTEN, token=SECRET, origin=None)


def test_a_refused_client_is_told_how_long_to_wait(tmp_path: Path) -> None:
    tokens = read_tokens(tokens_file(tmp_path, line()))
    attempts = FailedAttempts(limit=1, window_s=60, refusal_s=29.5)
    gate = Gate(lambda: tokens, attempts=attempts, clock=lambda: 7.0)
    attempts.failed("192.0.2.1", 7.0)

    with pytest.raises(TooManyAttemptsError, match="wait 30 s") as refused:
        gate.check(Scope.LISTEN, token=SECRET, origin=None, peer="192.0.2.1")
    assert (refused.value.retry_after_s, refused.value.retryable) == (30, True)


# --- origins


@pytest.mark.parametrize("with_tokens", [True, False])
def test_with_a_list_of_origins_only_its_pages_and_programs_are_let_in(tmp_path: Path, with_tokens: bool) -> None:
    path = str(tokens_file(tmp_path, line())) if with_tokens else ""
    gate = open_gate(ServerSettings(tokens_file=path, origins=("https://app.example",)))

    for origin in ("https://app.example", None):
        gate.check(Scope.LISTEN, token=SECRET, origin=origin)
    for origin in ("http://app.example", "https://app.example.evil.example", "http://localhost", "null", ""):
        with pytest.raises(AuthorisationError, match=r"add it to \[server\] origins"):
            gate.check(Scope.LISTEN, token=SECRET, origin=origin)


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
