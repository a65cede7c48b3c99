from __future__ import annotations

from pathlib import Path

import pytest

from trainer.corpora.manifest import Problem
from trainer.corpora.tables import Row, read_table
from trainer.errors import CorpusError

COLUMNS = {"file": ("FileName", "File"), "speaker": ("SpkrID",)}


def rows_of(
    path: Path, content: str | bytes, **options: tuple[str, ...]
) -> tuple[list[tuple[int, Row]], list[Problem]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    problems: list[Problem] = []
    return list(read_table(path, COLUMNS, problems, **options)), problems


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def test_columns_are_found_by_name_however_they_are_spelt(table: Path) -> None:
    rows, problems = rows_of(table, "\ufeffspkr_id, file name ,More\n7, a.wav ,x\n")
    assert rows == [(2, {"file": "a.wav", "speaker": "7"})]
    assert problems == []


def test_lines_are_counted_through_quoted_line_breaks_and_empty_lines(table: Path) -> None:
    rows, _ = rows_of(table, 'FileName,SpkrID\n"a\nb",1\n\nc,2\n')
    assert [line for line, _ in rows] == [2, 5]


def test_a_row_that_does_not_fit_is_listed(table: Path) -> None:
    rows, problems = rows_of(table, "FileName,SpkrID\na\nb,2\n")
    assert [line for line, _ in rows] == [3]
    assert [str(problem) for problem in problems] == ["table.csv:2: left out: 1 cells, 2 columns"]


def test_a_missing_column_is_named_with_those_that_are_there(table: Path) -> None:
    with pytest.raises(CorpusError, match="no column speaker among FileName, Gender"):
        rows_of(table, "FileName,Gender\n")
    assert rows_of(table, "FileName\na\n", optional=("speaker",))[0] == [(2, {"file": "a", "speaker": ""})]
    assert rows_of(table, "SpkrID\n7\n", either=("file", "speaker"))[0] == [(2, {"file": "", "speaker": "7"})]
    with pytest.raises(CorpusError, match="no column file or speaker among none at all"):
        rows_of(table, "", either=("file", "speaker"))


def test_a_column_that_stands_twice_is_refused(table: Path) -> None:
    with pytest.raises(CorpusError, match="2 columns may be file: FileName, file"):
        rows_of(table, "FileName,file,SpkrID\n")


def test_the_code_page_of_windows_is_read_where_it_is_not_utf_8(table: Path) -> None:
    rows, _ = rows_of(table, b"FileName,SpkrID\nJos\xe9,1\n")
    assert rows[0][1]["file"] == "Jos\u00e9"


def test_a_file_that_is_not_there_is_named(table: Path) -> None:
    with pytest.raises(CorpusError, match=r"no file .*table\.csv"):
        list(read_table(table, COLUMNS, []))
