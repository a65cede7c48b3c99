"""Tables that corpora come with: CSV and the like, whose columns go by slightly different names in every release."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from trainer.corpora.manifest import Problem
from trainer.errors import CorpusError

Row = dict[str, str]
"""Cells without surrounding spaces, by our name of the column; an empty cell is an empty string."""


def read_table(
    path: Path,
    columns: Mapping[str, Collection[str]],
    problems: list[Problem],
    *,
    optional: Collection[str] = (),
    either: Collection[str] = (),
    delimiter: str = ",",
) -> Iterator[tuple[int, Row]]:
    """Reads a table by its header; a row that does not fit it is left out and listed.

    Args:
        path: the file, in UTF-8, or else in Windows' Western European code page.
        columns: our name of each column, and how its header may be spelt; capitals, spaces and signs do not count.
        problems: where rows that do not fit are noted.
        optional: which of our names may be missing; their cells are then empty.
        either: of which of our names one at least must be there.
        delimiter: between cells.

    Yields:
        The line a row begins in, counted from 1, and its cells.

    Raises:
        CorpusError: no such file, a required column is missing, or one of them stands twice.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    header = next(reader, [])
    places = {name: _place(path, header, name, spellings) for name, spellings in columns.items()}
    missing = [n for n, place in places.items() if place is None and n not in optional and n not in either]
    if either and all(places[name] is None for name in either):
        missing.append(" or ".join(either))
    if missing:
        raise CorpusError(f"{path}: no column {', '.join(missing)} among {', '.join(header) or 'none at all'}")
    line = reader.line_num + 1
    for cells in reader:
        begun, line = line, reader.line_num + 1
        if len(cells) == len(header):
            yield begun, {name: "" if place is None else cells[place].strip() for name, place in places.items()}
        elif any(cell.strip() for cell in cells):
            problems.append(Problem(f"{path.name}:{begun}", f"left out: {len(cells)} cells, {len(header)} columns"))


def read_text(path: Path) -> str:
    """A text file that comes with a corpus, whichever of the two usual encodings it is in.

    Raises:
        CorpusError: there is no such file, or it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CorpusError(f"no file {path}") from None
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Every byte has a meaning here but five, which no text has.
        return content.decode("cp1252", errors="replace")


def _place(path: Path, header: list[str], name: str, spellings: Collection[str]) -> int | None:
    wanted = {_letters(spelling) for spelling in spellings}
    found = [place for place, written in enumerate(header) if _letters(written) in wanted]
    if len(found) > 1:
        raise CorpusError(f"{path}: {len(found)} columns may be {name}: {', '.join(header[p] for p in found)}")
    return found[0] if found else None


def _letters(written: str) -> str:
    return "".join(character for character in written.casefold() if character.isalnum())
