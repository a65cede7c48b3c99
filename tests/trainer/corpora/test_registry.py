from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.corpora import write_clips
from trainer.corpora.registry import CORPORA, load_corpora, load_corpus
from trainer.errors import CorpusError

MANIFEST = '{"id": "a", "transcript": "hallo", "label": "happy"}\n'


def test_every_corpus_tells_its_licence_and_whom_to_cite() -> None:
    assert {"crema_d", "emobox", "emodb", "emotale", "goemotions"} < set(CORPORA)
    assert {"iemocap", "meld", "msp_podcast", "ravdess", "tess"} < set(CORPORA)
    assert all(spec.licence and spec.citation and spec.holds for spec in CORPORA.values())


def test_a_prepared_corpus_is_read_from_its_manifest_under_the_name_of_its_importer(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(MANIFEST, encoding="utf-8")
    assert load_corpus("crema_d", tmp_path).utterances[0].id == "crema_d/a"


def test_a_known_name_is_read_by_its_importer(tmp_path: Path) -> None:
    write_clips(tmp_path, ["03a01Wa.wav"])
    corpus = load_corpus("emodb", tmp_path)
    assert (corpus.name, corpus.licence, len(corpus)) == ("emodb", CORPORA["emodb"].licence, 1)


def test_any_other_name_is_read_from_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(MANIFEST, encoding="utf-8")
    corpus = load_corpus("calls", tmp_path)
    assert (corpus.utterances[0].id, corpus.licence, corpus.utterances[0].language) == ("calls/a", "unknown", "en")


def test_a_description_next_to_the_manifest_tells_licence_citation_and_language(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(MANIFEST, encoding="utf-8")
    (tmp_path / "corpus.toml").write_text('licence = "CC0-1.0"\ncitation = "Us (2026)"\nlanguage = "de"\n')
    corpus = load_corpus("calls", tmp_path)
    assert (corpus.licence, corpus.citation, corpus.utterances[0].language) == ("CC0-1.0", "Us (2026)", "de")


@pytest.mark.parametrize("text", ['license = "CC0-1.0"', 'language = "german"', "licence ="])
def test_a_description_with_a_typo_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.jsonl").write_text(MANIFEST, encoding="utf-8")
    (tmp_path / "corpus.toml").write_text(text)
    with pytest.raises(CorpusError, match=r"corpus\.toml"):
        load_corpus("calls", tmp_path)


def test_a_name_without_importer_or_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"corpus ravdes: not one of ravdess.*manifest\.jsonl"):
        load_corpus("ravdes", tmp_path)


def test_corpora_lie_side_by_side_under_their_names(tmp_path: Path) -> None:
    write_clips(tmp_path / "emodb", ["03a01Wa.wav"])
    write_clips(tmp_path / "tess", ["OAF_sad/OAF_back_sad.wav"])
    assert [corpus.name for corpus in load_corpora(["tess", "emodb"], tmp_path)] == ["tess", "emodb"]


def test_all_corpora_that_cannot_be_read_are_named_at_once(tmp_path: Path) -> None:
    write_clips(tmp_path / "emodb", ["03a01Wa.wav"])
    with pytest.raises(CorpusError, match=r"(?s)corpus tess.*corpus ravdess"):
        load_corpora(["tess", "emodb", "ravdess"], tmp_path)
