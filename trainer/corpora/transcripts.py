"""Transcripts from elsewhere, joined to a corpus by id."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from trainer.corpora.manifest import Corpus, Problem
from trainer.corpora.prepared import bare_id
from trainer.corpora.tables import read_table
from trainer.errors import CorpusError

_COLUMNS: Final = {"id": ("id", "FileName"), "transcript": ("transcript", "text")}


def with_transcripts(corpus: Corpus, path: Path) -> Corpus:
    """A corpus with what a table says in place of its own transcripts.

    Args:
        corpus: whatever an importer made.
        path: a CSV file with the columns `id` (with or without the corpus's name and a slash before it) and
            `transcript`.

    Returns:
        Utterances that the table does not tell of keep what they have. Ids that are not in the corpus, stand twice or
        have no transcript are among the problems.

    Raises:
        CorpusError: the file cannot be read, or tells of no utterance at all.
    """
    problems: list[Problem] = []
    known = {bare_id(utterance) for utterance in corpus.utterances}
    told: dict[str, str] = {}
    for line, row in read_table(path, _COLUMNS, problems):
        name, where = row["id"].removeprefix(f"{corpus.name}/"), f"{path.name}:{line}"
        if name not in known:
            problems.append(Problem(where, f"left out: no utterance {row['id']!r} in {corpus.name}"))
        elif name in told:
            problems.append(Problem(where, f"left out: {row['id']!r} stands twice"))
        elif not row["transcript"]:
            problems.append(Problem(where, f"left out: no transcript for {row['id']!r}"))
        else:
            told[name] = row["transcript"]
    if not told:
        first = f"; first: {problems[0]}" if problems else ""
        raise CorpusError(f"{path}: no transcript in it is of an utterance of {corpus.name}{first}")
    return replace(
        corpus,
        utterances=tuple(replace(u, text=told.get(bare_id(u), u.text)) for u in corpus.utterances),
        problems=(*corpus.problems, *problems),
    )
