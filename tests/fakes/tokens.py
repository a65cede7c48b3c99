"""A tokens file with one token of each kind."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from streaming.tokens import Scope, append_token, make_token

KINDS = MappingProxyType(
    {
        "listen": ({Scope.LISTEN}, None),
        "events": ({Scope.EVENTS}, None),
        "admin": ({Scope.ADMIN}, None),
        "every scope": (set(Scope), None),
        "expired": (set(Scope), datetime(2020, 1, 1, tzinfo=UTC)),
    }
)


def write_tokens(path: Path) -> dict[str, str]:
    """Writes the file; gives the token of each kind."""
    secrets = {}
    for kind, (scopes, expires) in KINDS.items():
        secrets[kind], token = make_token(kind.replace(" ", "-"), scopes, expires)
        append_token(path, token)
    return secrets
