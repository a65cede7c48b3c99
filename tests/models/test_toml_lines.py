"""Lines of the keys of a TOML text."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from models.toml_lines import TomlLines

EXAMPLE = '''\
title = "x"  # a = 1
[server]
# port = 1
port = 2
text = """
[fake]
port = 3
"""
list = [
  "a = 1",
  "]",
]
"quoted" = 1
[a.b]
c.d = { x = 1 }
literal = 'ends with \\'
last = 1
[[things]]
name = 1
'''


def test_each_key_has_its_line() -> None:
    tomllib.loads(EXAMPLE)
    lines = TomlLines(EXAMPLE)
    assert lines.line(["title"]) == 1
    assert lines.line(["server"]) == 2
    assert lines.line(["server", "port"]) == 4
    assert lines.line(["server", "text"]) == 5
    assert lines.line(["server", "list"]) == 9
    assert lines.line(["server", "quoted"]) == 13
    assert lines.line(["a", "b"]) == 14
    assert lines.line(["a", "b", "c", "d"]) == 15
    assert lines.line(["a", "b", "literal"]) == 16
    assert lines.line(["a", "b", "last"]) == 17
    assert lines.line(["things", "name"]) == 19


def test_text_in_strings_and_comments_is_no_key() -> None:
    lines = TomlLines(EXAMPLE)
    assert not lines.has(["fake"])
    assert not lines.has(["a"[:0] + "server", "a"])


def test_what_has_no_line_of_its_own_stands_where_its_holder_does() -> None:
    lines = TomlLines(EXAMPLE)
    assert lines.line(["a", "b", "c", "d", "x"]) == 15
    assert lines.line(["server", "list", 1]) == 9
    assert lines.line(["nowhere"]) == 1


values = st.sampled_from(
    ['"a # = [ {"', "'''\nk = 1\n[t]\n'''", "[\n1, # ]\n2]", "{ a = 1 }", "-1.5", '"""\\""" = """', '""']
)


@given(st.lists(st.tuples(st.integers(0, 3), values), min_size=1, max_size=20))
def test_keys_are_found_whatever_stands_between_them(entries: list[tuple[int, str]]) -> None:
    text = ""
    expected: dict[tuple[str, str], int] = {}
    for number, (blank_lines, value) in enumerate(entries):
        text += "\n" * blank_lines + f"[table{number}]  # comment = 1\n"
        expected[f"table{number}", "key"] = text.count("\n") + 1
        text += f"key = {value}\n"
    tomllib.loads(text)
    lines = TomlLines(text)
    assert {key: lines.line(key) for key in expected} == expected
