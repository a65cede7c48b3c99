from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.corpora import corpus_of, utterance
from trainer.corpora.transcripts import with_transcripts
from trainer.errors import CorpusError


def table(folder: Path, text: str) -> Path:
    path = folder / "transcripts.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_transcripts_are_joined_by_id_in_any_order_and_replace_what_is_there(tmp_path: Path) -> None:
    corpus = corpus_of(
        utterance("a", text=None, audio=Path("a.wav")), utterance("b", text="old"), utterance("c", text="kept")
    )
    joined = with_transcripts(corpus, table(tmp_path, 'id,transcript\nb,new\nmade_up/a,"well, yes"\n'))
    assert {u.id: u.text for u in joined.utterances} == {
        "made_up/a": "well, yes",
        "made_up/b": "new",
        "made_up/c": "kept",
    }
    assert joined.problems == ()


def test_ids_that_are_unknown_repeated_or_without_words_are_listed(tmp_path: Path) -> None:
    joined = with_transcripts(corpus_of(utterance("a")), table(tmp_path, "id,transcript\na,one\na,two\nz,three\na,\n"))
    assert joined.utterances[0].text == "one"
    assert [str(problem) for problem in joined.problems] == [
        "transcripts.csv:3: left out: 'a' stands twice",
        "transcripts.csv:4: left out: no utterance 'z' in made_up",
        "transcripts.csv:5: left out: 'a' stands twice",
    ]


def test_a_table_of_another_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no transcript in it is of an utterance of made_up; first: .*'z'"):
        with_transcripts(corpus_of(utterance("a")), table(tmp_path, "id,transcript\nz,three\n"))
