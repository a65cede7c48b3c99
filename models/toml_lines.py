"""On which line of a TOML text each key stands; `tomllib` itself does not say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_STRING_OR_COMMENT: Final = re.compile(
    r"""
    (?P<multiline> \"{3}(?:\\.|[^\\])*?\"{3,5} | '{3}.*?'{3,5} )
    | (?P<string> "(?:\\.|[^"\\\n])*" | '[^'\n]*' )
    | (?P<comment> \#[^\n]* )
    """,
    re.VERBOSE | re.DOTALL,
)
_TABLE: Final = re.compile(r"^\s*\[{1,2}(?P<name>[^\[\]]+)\]{1,2}\s*$")
_KEY: Final = re.compile(r"^\s*(?P<name>[^=\s][^=]*?)\s*=")
_SYNTAX: Final = re.compile(r"[\[\]{}=.#,]")


class TomlLines:
    """The line of every table and key of a valid TOML text.

    Keys inside an inline table or an array count as standing where that value begins.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        depth = 0
        for number, line in enumerate(_without_strings_and_comments(text).split("\n"), start=1):
            if depth == 0:
                if header := _TABLE.match(line):
                    table = _parts(header["name"])
                    self._note(table, number)
                    continue
                if key := _KEY.match(line):
                    self._note((*table, *_parts(key["name"])), number)
            depth += sum(line.count(bracket) for bracket in "[{") - sum(line.count(bracket) for bracket in "]}")

    def has(self, key: Sequence[str]) -> bool:
        """Whether the text names this table or key."""
        return tuple(key) in self._lines

    def line(self, key: Sequence[str | int]) -> int:
        """The line, from 1, of a key or of the nearest table or key that holds it."""
        path = tuple(str(part) for part in key)
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def _note(self, path: tuple[str, ...], number: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], number)


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _without_strings_and_comments(text: str) -> str:
    """The text with as many lines, where no string or comment can be taken for syntax."""

    def masked(match: re.Match[str]) -> str:
        return "" if match["comment"] is not None else _SYNTAX.sub("_", match[0])

    return _STRING_OR_COMMENT.sub(masked, text)
