"""Text from elsewhere, made safe for a terminal."""

from __future__ import annotations

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """The text on one line, without the control characters by which it could move the cursor or worse.

    Args:
        text: words, messages or names that another machine may have chosen.
    """
    return "".join(c if c.isprintable() else " " if c.isspace() else _REPLACEMENT for c in text)
