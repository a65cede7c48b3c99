"""The tokens file: its lines, how it is followed while a server runs, and how it is added to."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import ServerError
from streaming.tokens import Scope, Token, TokensFile, append_token, digest, make_token, read_tokens

SECRET = "correct horse battery staple"  # noqa: S105 - a stand-in
ONE, OTHER = "a" * 64, "b" * 64


class Clock:
    """Moves when a test moves it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def tokens_file(folder: Path, *lines: str) -> Path:
    path = folder / "tokens"
    path.write_text("\n".join(lines) + "\n")
    return path


def names(tokens: TokensFile) -> list[str]:
    return [token.name for token in tokens.current()]


# --- lines


def test_a_line_has_three_words_and_may_have_an_end(tmp_path: Path) -> None:
    first, second, third = read_tokens(
        tokens_file(
            tmp_path,
            "# dashboards",
            "",
            f"{ONE.upper()} one listen,events",
            f"  {OTHER}   other   admin   2027-06-30",
            f"{'c' * 64} third listen 2027-06-30T12:30:00Z",
        )
    )

    assert first == Token(ONE, "one", frozenset({Scope.LISTEN, Scope.EVENTS}), None)
    assert second.expires == datetime(2027, 6, 30, tzinfo=UTC)
    assert third.expires == datetime(2027, 6, 30, 12, 30, tzinfo=UTC)


def test_a_token_is_refused_from_its_moment_on() -> None:
    end = datetime(2027, 6, 30, tzinfo=UTC)
    token = Token(ONE, "one", frozenset({Scope.LISTEN}), end)

    assert not token.has_expired(end - timedelta(milliseconds=1))
    assert token.has_expired(end)
    assert not Token(ONE, "one", frozenset({Scope.LISTEN})).has_expired(end)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (f"{SECRET.replace(' ', '')} dashboard listen", r"tokens:2: the first word must be a SHA-256"),
        (f"{ONE} dashboard", r"tokens:2: expected 'SHA256 NAME SCOPE\[,SCOPE\.\.\.\] \[EXPIRY\]', found 2 words"),
        (f"{ONE} dashboard listen 2027-06-30 12:00", r"tokens:2: expected .*, found 5 words"),
        (f"{ONE} dashboard listen,all", r"tokens:2: unknown scope 'all', known ones are admin, events, listen"),
        (f"{ONE} dashboard listen tomorrow", r"tokens:2: the fourth word must be the day or moment .*, got 'tomorrow'"),
        (f"{ONE} dashboard listen 2027-02-30", r"tokens:2: the fourth word .*, got '2027-02-30'"),
        (f"{ONE} dashboard listen 2027-06-30T12:00", r"tokens:2: the fourth word .*, got '2027-06-30T12:00'"),
        (f"{ONE} dashboard listen 20270630", r"tokens:2: the fourth word .*, got '20270630'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, bad: str, complaint: str) -> None:
    with pytest.raises(ServerError, match=complaint):
        read_tokens(tokens_file(tmp_path, "# tokens", bad))


@pytest.mark.parametrize("line", ["{ONE} name {secret}", "{ONE} name listen {secret}", "{secret} name listen"])
def test_a_token_in_the_wrong_place_is_not_repeated(tmp_path: Path, line: str) -> None:
    secret, _ = make_token("name", [Scope.LISTEN])

    with pytest.raises(ServerError) as caught:
        read_tokens(tokens_file(tmp_path, line.format(ONE=ONE, secret=secret)))

    assert secret not in str(caught.value)


def test_a_file_without_tokens_is_an_error_that_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"holds no token: .*medusa token new NAME --append"):
        read_tokens(tokens_file(tmp_path, "# none yet"))


@pytest.mark.parametrize(("data", "reason"), [(None, "No such file"), (b"\xff\xfe", "not UTF-8")])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, data: bytes | None, reason: str) -> None:
    if data is not None:
        (tmp_path / "tokens").write_bytes(data)

    with pytest.raises(ServerError, match=rf"cannot read the tokens file .*{reason}"):
        read_tokens(tmp_path / "tokens")


# --- making


def test_a_token_is_long_random_and_kept_only_as_its_digest() -> None:
    (one, kept), (other, _) = (make_token("dashboard", [Scope.EVENTS]) for _ in range(2))

    assert one != other
    assert len(one) >= 43
    assert kept.sha256 == hashlib.sha256(one.encode()).hexdigest() == digest(one)
    assert one not in kept.line


@pytest.mark.parametrize("name", ["", "two words", "x" * 65, "line\nbreak", "#"])
def test_a_name_that_would_break_the_line_is_refused(name: str) -> None:
    with pytest.raises(ServerError, match="a token's name is made of"):
        make_token(name, [Scope.EVENTS])


def test_a_token_that_allows_nothing_is_refused() -> None:
    with pytest.raises(ServerError, match="needs a scope"):
        make_token("dashboard", [])


@given(
    name=st.from_regex(r"\A[A-Za-z0-9._-]{1,64}\Z"),
    scopes=st.sets(st.sampled_from(Scope), min_size=1),
    expires=st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, scopes: set[Scope], expires: datetime | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "written"
    path.unlink(missing_ok=True)
    _, token = make_token(name, scopes, expires)

    append_token(path, token)

    assert read_tokens(path) == (token,)


# --- adding


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens"

    append_token(path, make_token("one", [Scope.LISTEN])[1])

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("end", ["", "\n"])
def test_what_is_in_the_file_stays(tmp_path: Path, end: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# ours\n{ONE} one listen{end}")

    append_token(path, make_token("two", [Scope.ADMIN])[1])

    assert [token.name for token in read_tokens(path)] == ["one", "two"]
    assert path.read_text().startswith(f"# ours\n{ONE} one listen\n")


def test_nothing_is_added_to_what_is_no_tokens_file(tmp_path: Path) -> None:
    path = tmp_path / "diary.txt"
    path.write_text("Dear diary\n")

    with pytest.raises(ServerError, match=r"diary\.txt:1"):
        append_token(path, make_token("two", [Scope.ADMIN])[1])
    assert path.read_text() == "Dear diary\n"


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"cannot add a token to .*: No such file"):
        append_token(tmp_path / "nowhere" / "tokens", make_token("two", [Scope.ADMIN])[1])


# --- following


def test_a_change_holds_without_a_restart(tmp_path: Path) -> None:
    path, clock = tokens_file(tmp_path, f"{ONE} one listen"), Clock()
    tokens = TokensFile(path, clock=clock)

    append_token(path, make_token("two", [Scope.ADMIN])[1])
    clock.now_s += 1
    assert names(tokens) == ["one", "two"]

    tokens_file(tmp_path, f"{OTHER} three admin")
    clock.now_s += 1
    assert names(tokens) == ["three"]


def test_a_file_put_in_place_of_the_other_is_noticed_whatever_its_size_and_date(tmp_path: Path) -> None:
    path, clock = tokens_file(tmp_path, f"{ONE} one listen"), Clock()
    tokens, seen = TokensFile(path, clock=clock), path.stat()
    (tmp_path / "next").write_text(f"{OTHER} two listen\n")
    os.utime(tmp_path / "next", ns=(seen.st_atime_ns, seen.st_mtime_ns))

    (tmp_path / "next").replace(path)
    clock.now_s += 1

    assert names(tokens) == ["two"]


def test_it_is_looked_at_once_a_second_at_most(tmp_path: Path) -> None:
    path, clock = tokens_file(tmp_path, f"{ONE} one listen"), Clock()
    tokens = TokensFile(path, clock=clock)
    tokens_file(tmp_path, f"{OTHER} two listen")

    clock.now_s += 0.9
    assert names(tokens) == ["one"]
    clock.now_s += 0.1
    assert names(tokens) == ["two"]


@pytest.mark.parametrize("damage", ["gone", "wrong", "binary"])
def test_a_file_that_became_unreadable_or_wrong_takes_nobodys_token_away(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tokens_file(tmp_path, f"{ONE} one listen"), Clock()
    tokens = TokensFile(path, clock=clock)
    path.unlink() if damage == "gone" else path.write_bytes(b"\xff" if damage == "binary" else b"half a li")

    for _ in range(3):
        clock.now_s += 1
        assert names(tokens) == ["one"]

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "the tokens read before still hold" in record.getMessage()


def test_once_it_is_mended_it_holds_again_and_the_next_damage_is_told_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tokens_file(tmp_path, f"{ONE} one listen"), Clock()
    tokens = TokensFile(path, clock=clock)
    seen = []
    for line in ("nonsense", f"{OTHER} two listen", "nonsense"):
        tokens_file(tmp_path, line)
        clock.now_s += 1
        seen.append(names(tokens))

    assert seen == [["one"], ["two"], ["two"]]
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["ERROR", "ERROR"]


def test_a_file_emptied_of_tokens_takes_all_of_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, clock = tokens_file(tmp_path, f"{ONE} one listen"), Clock()
    tokens = TokensFile(path, clock=clock)
    tokens_file(tmp_path, "# all gone")
    clock.now_s += 1

    assert names(tokens) == []
    assert "nobody can connect" in caplog.text


def test_a_file_that_is_wrong_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="holds no token"):
        TokensFile(tokens_file(tmp_path, "# none"))
