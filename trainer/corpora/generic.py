"""Your own corpus: a manifest in CSV or JSON lines, one utterance a row.

Columns (CSV) or keys (JSON lines); those not needed may be left out or left empty:

- `id`: unique within the corpus.
- `audio`: path of a clip, relative to the manifest's folder; `transcript`: what is said. One of the two at least.
- what it expresses, as one of: `target`, a weight by class; `votes`, raters by class, where classes that are none of
  ours (`other`) count against agreement; `label`, one class. A `label` next to one of the others is the raters'
  consensus: `no_agreement` or `other` mark the utterance as ambiguous. In CSV, `target` and `votes` are a JSON object
  in one cell, or columns such as `target_angry` and `votes_sad`.
- `arousal`, `valence`, `dominance`: each 1 to 7, all three or none (in JSON lines also as an object `attributes`).
- `speaker`, `gender`, `split` (`train`, `development` or `test`), `language` (ISO 639-1).
- `duration_s`: of the clip, which then is not opened to find out.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from models.emotions import ATTRIBUTE_NAMES
from trainer.audio import probe_duration_s
from trainer.corpora.manifest import Corpus, Problem, Utterance
from trainer.corpora.ratings import parse_attributes, parse_number, parse_ratings
from trainer.errors import CorpusError

MANIFESTS: Final = ("manifest.jsonl", "manifest.csv")
UNKNOWN_LICENCE: Final = "unknown"

_GENDERS: Final = frozenset({"female", "male"})
_SPLITS: Final = {
    "train": "train",
    "development": "development",
    "dev": "development",
    "validation": "development",
    "test": "test",
}
_NESTED: Final = ("target", "votes")
_PLAIN: Final = ("id", "audio", "transcript", "label", "speaker", "gender", "split", "language")
_KNOWN: Final = frozenset((*_PLAIN, *_NESTED, *ATTRIBUTE_NAMES, "attributes", "duration_s"))

Row = dict[str, Any]


def load_manifest(
    path: Path,
    *,
    name: str,
    licence: str = UNKNOWN_LICENCE,
    citation: str = "",
    language: str = "en",
) -> Corpus:
    """Reads a manifest; a row that is wrong is left out and listed with its line, the others stand.

    Args:
        path: a `.csv` or `.jsonl` file in UTF-8.
        name: what to call the corpus.
        licence: of the corpus; a bundle trained on it inherits it.
        citation: whom to cite.
        language: of rows that do not say.

    Raises:
        CorpusError: the file cannot be read at all, or none of its rows can be used.
    """
    problems: list[Problem] = []
    utterances: dict[str, Utterance] = {}
    first_lines: dict[str, int] = {}
    unknown: dict[str, int] = {}
    for line, row in _rows(path, problems):
        for key in row.keys() - _KNOWN:
            unknown.setdefault(str(key), line)
        try:
            utterance = _utterance(row, path.parent, name, language)
        except CorpusError as error:
            problems.append(Problem(f"{path.name}:{line}", f"left out: {error}"))
            continue
        if utterance.id in utterances:
            first = first_lines[utterance.id]
            problems.append(
                Problem(f"{path.name}:{line}", f"left out: id {row['id']!r} stands in line {first} already")
            )
            continue
        utterances[utterance.id] = utterance
        first_lines[utterance.id] = line
    problems.extend(
        Problem(f"{path.name}:{line}", f"nothing reads {key!r}; known are {', '.join(sorted(_KNOWN))}")
        for key, line in unknown.items()
    )
    if not utterances:
        first_problem = f"; first problem: {problems[0]}" if problems else ": it has no rows"
        raise CorpusError(f"{path}: no row can be used{first_problem}")
    return Corpus(name, licence, citation, tuple(utterances.values()), tuple(problems))


def _rows(path: Path, problems: list[Problem]) -> Iterator[tuple[int, Row]]:
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise CorpusError(f"{path}: a manifest is a .csv or a .jsonl file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise CorpusError(f"no manifest {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    return reader(path, text, problems)


def _jsonl_rows(path: Path, text: str, problems: list[Problem]) -> Iterator[tuple[int, Row]]:
    for line, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        try:
            row = json.loads(written)
        except json.JSONDecodeError as error:
            problems.append(Problem(f"{path.name}:{line}", f"left out: not JSON ({error})"))
            continue
        if not isinstance(row, dict):
            problems.append(Problem(f"{path.name}:{line}", "left out: not a JSON object"))
            continue
        yield line, {key: value for key, value in row.items() if value is not None and value != ""}


def _csv_rows(path: Path, text: str, problems: list[Problem]) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    try:
        header = [column.strip() for column in next(reader, [])]
        repeated = {column for column in header if header.count(column) > 1}
        if not header or "id" not in header or repeated:
            wrong = f"columns {sorted(repeated)} stand twice" if repeated else "the first line must name the columns"
            raise CorpusError(f"{path}:1: {wrong}; `id` must be among them")
        start = reader.line_num + 1
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                problems.append(Problem(f"{path.name}:{line}", f"left out: {len(cells)} cells, {len(header)} columns"))
                continue
            try:
                yield line, _nest(dict(zip(header, cells, strict=True)))
            except CorpusError as error:
                problems.append(Problem(f"{path.name}:{line}", f"left out: {error}"))
    except csv.Error as error:
        problems.append(Problem(f"{path.name}:{start}", f"this row and all after it left out: not CSV ({error})"))


def _nest(cells: Mapping[str, str]) -> Row:
    """Empty cells away, JSON cells read, and columns such as `votes_sad` gathered under `votes`."""
    row: Row = {}
    for column, cell in cells.items():
        value = cell.strip()
        group, _, label = column.partition("_")
        if not value:
            continue
        if group in _NESTED and label:
            gathered = row.setdefault(group, {})
            if not isinstance(gathered, dict):
                raise CorpusError(f"both a column {group} and a column {column}")
            gathered[label] = value
        elif column in _NESTED:
            if column in row:
                raise CorpusError(f"both a column {column} and columns {column}_...")
            try:
                row[column] = json.loads(value)
            except json.JSONDecodeError as error:
                raise CorpusError(f"{column} is not a JSON object ({error})") from None
        else:
            row[column] = value
    return row


def _utterance(row: Row, folder: Path, corpus: str, language: str) -> Utterance:
    for key in _PLAIN:
        if key in row and not isinstance(row[key], str) and not (key == "id" and isinstance(row[key], int)):
            raise CorpusError(f"{key} must be text, got {row[key]!r}")
    name = str(row.get("id", "")).strip()
    if not name:
        raise CorpusError("no id")
    audio, text = row.get("audio"), row.get("transcript")
    if audio is None and text is None:
        raise CorpusError("neither audio nor transcript")
    ratings = parse_ratings(row.get("target"), row.get("votes"), row.get("label"))
    path = None if audio is None else folder / audio
    if path is not None and not path.is_file():
        raise CorpusError(f"no audio file {path}")
    identity = f"{corpus}/{name}"
    return Utterance(
        id=identity,
        corpus=corpus,
        audio=path,
        text=text,
        language=row.get("language", language),
        target=ratings.target,
        speaker=f"{corpus}/{row['speaker']}" if "speaker" in row else identity,
        votes=ratings.votes,
        ambiguous=ratings.ambiguous,
        attributes=parse_attributes(_attributes_of(row)),
        gender=_one_of(row, "gender", {gender: gender for gender in _GENDERS}),
        split=_one_of(row, "split", _SPLITS),
        duration_s=_duration_s(row, path),
    )


def _duration_s(row: Row, path: Path | None) -> float | None:
    """As the row says, or else as the clip does."""
    if path is None:
        return None
    if "duration_s" not in row:
        return probe_duration_s(path)
    duration_s = parse_number("duration_s", row["duration_s"])
    if duration_s <= 0:
        raise CorpusError(f"duration_s must be greater than 0, got {duration_s:g}")
    return duration_s


def _attributes_of(row: Row) -> Mapping[str, Any] | None:
    nested = row.get("attributes")
    flat: Row = {key: row[key] for key in ATTRIBUTE_NAMES if key in row}
    if nested is None:
        return flat or None
    if flat or not isinstance(nested, dict):
        raise CorpusError("attributes must be one object, or arousal, valence and dominance on their own")
    return nested


def _one_of(row: Row, key: str, allowed: Mapping[str, str]) -> str | None:
    if key not in row:
        return None
    value = allowed.get(row[key].strip().lower())
    if value is None:
        raise CorpusError(f"{key} {row[key]!r} is none of {', '.join(sorted(allowed))}")
    return value
