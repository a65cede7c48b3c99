"""The file of accepted tokens: how it is read, watched and added to.

One token a line: the SHA-256 of the token in hexadecimal, a name for people, the scopes it grants, separated by
commas, and, where it is not for ever, when it expires. The token itself is nowhere on the server::

    2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae  dashboard  listen,events  2027-06-30

`medusa token new` writes such lines.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from streaming.errors import ServerError

_LOG: Final = logging.getLogger(__name__)
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,6})?Z)?")
_SECRET_BYTES: Final = 32
_SECRET_PREFIX: Final = "medusa_"  # noqa: S105 - by it, scanners for secrets that were published know a token
_LOOK_EVERY_S: Final = 1.0
_MAX_QUOTED: Final = 20
"""Characters of a wrong word that an error repeats; what is longer may be the token itself, in the wrong place."""
_OWNER_ONLY: Final = 0o600


class Scope(StrEnum):
    """What a token allows."""

    LISTEN = "listen"
    """To send audio and receive its events."""
    EVENTS = "events"
    """To receive the events of all sessions."""
    ADMIN = "admin"
    """To read the metrics."""


@dataclass(frozen=True, slots=True)
class Token:
    """One accepted token."""

    sha256: str
    """Lower-case hexadecimal digest of the token."""
    name: str
    scopes: frozenset[Scope]
    expires: datetime | None = None
    """From this moment on it is refused; None for never."""

    def has_expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= self.expires

    @property
    def line(self) -> str:
        """The line of the file that means this token."""
        scopes = ",".join(scope.value for scope in Scope if scope in self.scopes)
        return "  ".join((self.sha256, self.name, scopes, *([as_text(self.expires)] if self.expires else [])))


def digest(secret: str) -> str:
    """Lower-case hexadecimal SHA-256 of a token."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def make_token(name: str, scopes: Iterable[Scope], expires: datetime | None = None) -> tuple[str, Token]:
    """A new token, at random: what its owner shows, and what the server keeps.

    Args:
        name: for people, 1 to 64 of `A-Z a-z 0-9 . _ -`.
        scopes: what it allows.
        expires: from when on it is refused; None for never.

    Raises:
        ServerError: the name has other characters, or no scope is given.
    """
    if not _NAME.fullmatch(name):
        raise ServerError(f"a token's name is made of 1 to 64 letters, digits, dots, _ and -, got {_quoted(name)}")
    granted = frozenset(scopes)
    if not granted:
        raise ServerError(f"a token needs a scope: give some of {', '.join(Scope)}")
    secret = _SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    return secret, Token(digest(secret), name, granted, None if expires is None else expires.replace(microsecond=0))


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Reads a tokens file; empty lines and lines that begin with `#` are skipped.

    Raises:
        ServerError: the file cannot be read, holds no token, or a line is not `SHA256 NAME SCOPE[,SCOPE...] [EXPIRY]`.
    """
    tokens = _read(path)
    if not tokens:
        raise ServerError(
            f"the tokens file {path} holds no token: nobody could connect; "
            f"add one with 'medusa token new NAME --append {path}'"
        )
    return tokens


def append_token(path: Path, token: Token) -> None:
    """Adds a token to a file in one write, so that a server never reads half a line; makes the file if there is none.

    Raises:
        ServerError: the file is no tokens file, or cannot be written.
    """
    try:
        before = path.read_bytes() if path.exists() else b""
        _read_lines(before, path)
        separator = "" if not before or before.endswith(b"\n") else "\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _OWNER_ONLY)
        with os.fdopen(descriptor, "ab", buffering=0) as file:
            file.write(f"{separator}{token.line}\n".encode())
    except OSError as error:
        raise ServerError(f"cannot add a token to {path}: {error.strerror}; name a file that can be written") from None


class TokensFile:
    """A tokens file that is followed while the server runs.

    It is looked at when tokens are asked for, once a second at most, and read again when it has changed: so tokens come
    and go without a restart. A file that has become unreadable or wrong takes nobody's token away: the last good one
    holds, with an error in the log. One that has been emptied of tokens takes all of them.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads the file.

        Args:
            path: of the file.
            clock: seconds, never going back.

        Raises:
            ServerError: see `read_tokens`.
        """
        self._path = path
        self._clock = clock
        self._stamp = _stamp(path)  # before it is read: what changes meanwhile is noticed the next time
        self._tokens = read_tokens(path)
        self._looked_s = clock()
        self._complaint = ""

    def current(self) -> Sequence[Token]:
        """The tokens that hold now, expired ones included."""
        now_s = self._clock()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            self._look()
        return self._tokens

    def _look(self) -> None:
        stamp = _stamp(self._path)
        if stamp is not None and stamp == self._stamp:
            self._complaint = ""
            return
        try:
            tokens = _read(self._path)
        except ServerError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                _LOG.error("%s; the tokens read before still hold", error)
            return
        self._tokens, self._stamp, self._complaint = tokens, stamp, ""
        if tokens:
            _LOG.info("the tokens file %s has changed: %d token(s) hold now", self._path, len(tokens))
        else:
            _LOG.warning("the tokens file %s holds no token any more: nobody can connect", self._path)


def as_text(moment: datetime) -> str:
    """A moment as the tokens file writes it: RFC 3339, UTC, whole seconds."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes with the file; None where it is not to be seen."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino


def _read(path: Path) -> tuple[Token, ...]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ServerError(f"cannot read the tokens file {path}: {error.strerror}; check [server] tokens_file") from None
    return _read_lines(data, path)


def _read_lines(data: bytes, path: Path) -> tuple[Token, ...]:
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ServerError(f"cannot read the tokens file {path}: it is not UTF-8 text") from None
    return tuple(_tokens_of(lines, path))


def _tokens_of(lines: Sequence[str], path: Path) -> Iterator[Token]:
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield _read_token(line, f"{path}:{number}")


def _read_token(line: str, where: str) -> Token:
    fields = line.split()
    if len(fields) not in (3, 4):
        raise ServerError(f"{where}: expected 'SHA256 NAME SCOPE[,SCOPE...] [EXPIRY]', found {len(fields)} words")
    sha256, name, scopes, *expiry = fields
    if not _SHA256.fullmatch(sha256):
        raise ServerError(f"{where}: the first word must be a SHA-256 in 64 hexadecimal digits, not the token itself")
    granted = scopes.split(",")
    for scope in granted:
        if scope not in tuple(Scope):
            raise ServerError(f"{where}: unknown scope {_quoted(scope)}, known ones are {', '.join(sorted(Scope))}")
    expires = _read_moment(expiry[0], where) if expiry else None
    return Token(sha256.lower(), name, frozenset(map(Scope, granted)), expires)


def _read_moment(word: str, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(word) if _MOMENT.fullmatch(word) else None
    except ValueError:
        moment = None
    if moment is None:
        raise ServerError(
            f"{where}: the fourth word must be the day or moment (UTC) from which the token is refused, such as "
            f"2027-06-30 or 2027-06-30T12:00:00Z, got {_quoted(word)}"
        )
    return moment.replace(tzinfo=UTC)


def _quoted(word: str) -> str:
    return repr(word) if len(word) <= _MAX_QUOTED else f"a word of {len(word)} characters"
