"""What tests read out of Markdown files: code blocks, inline code, links, headings, sections and tables."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`(?P<code>[^`]+)`(?!`)")
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (?P<title>.+)$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*)=.*")
_SHELL_OPERATORS = frozenset({"|", ">", "<", "&&", ";"})


@dataclass(frozen=True, slots=True)
class ShellCommand:
    """One command of a shell line."""

    words: tuple[str, ...]
    variables: tuple[str, ...]
    """Environment variables set for it."""


class Document:
    """A Markdown file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.prose = _FENCED.sub("", self.text)
        """The text without its code blocks."""

    def blocks(self, language: str) -> list[str]:
        """The code blocks in a language."""
        return [found["code"] for found in _FENCED.finditer(self.text) if found["language"] == language]

    def inline(self) -> list[str]:
        """Code within sentences and tables; a line break in it counts as a space."""
        return [" ".join(found["code"].split()) for found in _INLINE.finditer(self.prose)]

    def links(self) -> list[str]:
        """Targets of links and pictures."""
        return [found["target"] for found in _LINK.finditer(self.prose)]

    def anchors(self) -> set[str]:
        """What a link may name behind its `#`, as GitHub makes it of headings."""
        titles = (found["title"].lower() for found in _HEADING.finditer(self.prose))
        return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}

    def section(self, title: str) -> str:
        """The text from a heading to the next one.

        Raises:
            KeyError: there is no such heading, or there are several.
        """
        found = [match for match in _HEADING.finditer(self.text) if match["title"] == title]
        if len(found) != 1:
            raise KeyError(f"{self.path.name} has {len(found)} headings {title!r}")
        rest = self.text[found[0].end() :]
        following = _HEADING.search(rest)
        return rest[: following.start()] if following else rest

    def shell(self) -> list[ShellCommand]:
        """Every command in shell blocks."""
        lines = [line for block in self.blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
        return [command for line in lines for command in shell_commands(line)]

    def commands(self) -> list[ShellCommand]:
        """Every command in shell blocks, and inline code, where some are only named."""
        return self.shell() + [command for code in self.inline() for command in shell_commands(code)]


def shell_commands(line: str) -> list[ShellCommand]:
    """The commands of a line; none where it is no shell."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>&;")
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:
        return []
    commands: list[ShellCommand] = []
    current: list[str] = []
    for word in [*words, ";"]:
        if word not in _SHELL_OPERATORS:
            current.append(word)
            continue
        assigned = [found["name"] for w in current if (found := _ASSIGNMENT.fullmatch(w))]
        rest = tuple(w for w in current if not _ASSIGNMENT.fullmatch(w))
        if rest:
            commands.append(ShellCommand(rest, tuple(assigned)))
        current = []
    return commands


def table(text: str) -> list[list[str]]:
    """The cells of the rows of all tables in a text, without their heads; backticks around a cell are taken off."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rules = {number for number, line in enumerate(lines) if set(line) <= set("|:- ")}
    heads = {number - 1 for number in rules}
    rows = [line for number, line in enumerate(lines) if number not in rules | heads]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]
