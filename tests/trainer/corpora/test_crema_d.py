"""On real clips with their real votes: see tests/data/README.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.emotions import MSP8
from tests.fakes.corpora import write_tone
from trainer.corpora.crema_d import load_crema_d
from trainer.corpora.manifest import Corpus, Utterance
from trainer.errors import CorpusError

DATA = Path(__file__).parents[2] / "data" / "crema_d"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The seven clips, as the official distribution lays them out, with a split."""
    root = tmp_path / "crema_d"
    (root / "AudioWAV").mkdir(parents=True)
    for path in DATA.iterdir():
        shutil.copy(path, root / "AudioWAV" if path.suffix == ".wav" else root)
    (root / "audeering_speaker_splits.json").write_text('{"train": [1001], "dev": [1050], "test": [1002]}')
    return root


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def by_name(corpus: Corpus) -> dict[str, Utterance]:
    return {u.id.removeprefix("crema_d/"): u for u in corpus.utterances}


def problem_at(corpus: Corpus, where: str) -> str:
    (found,) = [problem.what for problem in corpus.problems if problem.where == where]
    return found


def test_the_target_is_what_raters_heard_and_not_what_the_actor_meant(folder: Path) -> None:
    heard = by_name(load_crema_d(folder))
    happy = heard["1001_IOM_HAP_XX"]
    assert happy.votes == {"angry": 1, "disgust": 0, "fear": 0, "happy": 4, "neutral": 6, "sad": 0}
    assert happy.consensus == "neutral"
    np.testing.assert_allclose(
        happy.target, [{"angry": 1, "happy": 4, "neutral": 6}.get(n, 0) / 11 for n in MSP8], rtol=1e-6
    )
    assert heard["1001_IOM_FEA_XX"].consensus == "angry"


def test_sentence_speaker_gender_split_and_duration_come_with_it(folder: Path) -> None:
    corpus = load_crema_d(folder)
    angry, sad = by_name(corpus)["1001_DFA_ANG_XX"], by_name(corpus)["1050_TIE_SAD_XX"]
    assert (angry.text, angry.speaker, angry.gender, angry.split) == (
        "Don't forget a jacket.",
        "crema_d/1001",
        "male",
        "train",
    )
    assert (sad.text, sad.split) == ("That is exactly what happened.", "development")
    assert angry.duration_s == pytest.approx((72862 - 44) / 32000)
    assert len(corpus) == 7
    assert corpus.problems == ()


def test_the_votes_of_another_condition_may_be_taken(folder: Path) -> None:
    faces, both = by_name(load_crema_d(folder, condition="face")), load_crema_d(folder, condition="voice and face")
    assert faces["1001_IOM_HAP_XX"].consensus == "happy"
    assert by_name(both)["1001_IOM_FEA_XX"].votes == {
        **dict.fromkeys(("fear", "happy", "neutral", "sad"), 0),
        "angry": 8,
        "disgust": 2,
    }


def test_raters_who_are_divided_make_a_clip_ambiguous(folder: Path) -> None:
    assert by_name(load_crema_d(folder, condition="voice and face"))["1001_IOM_ANG_XX"].ambiguous


def test_a_clip_that_is_not_as_it_was_published_is_left_out_and_listed(folder: Path) -> None:
    audio = folder / "AudioWAV"
    flipped = bytearray((audio / "1001_DFA_ANG_XX.wav").read_bytes())
    flipped[5000] ^= 1
    (audio / "1001_DFA_ANG_XX.wav").write_bytes(flipped)
    (audio / "1001_IOM_NEU_XX.wav").write_bytes((audio / "1001_IOM_NEU_XX.wav").read_bytes()[:-2])
    (audio / "1001_IOM_HAP_XX.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    (audio / "1001_IOM_DIS_XX.wav").unlink()

    corpus = load_crema_d(folder)

    assert set(by_name(corpus)) == {"1001_IOM_ANG_XX", "1001_IOM_FEA_XX", "1050_TIE_SAD_XX"}
    assert problem_at(corpus, "AudioWAV/1001_DFA_ANG_XX.wav").endswith("its SHA-256 is not the published one")
    assert problem_at(corpus, "AudioWAV/1001_IOM_NEU_XX.wav").endswith("79054 bytes, 79056 were published")
    assert "git lfs pull" in problem_at(corpus, "AudioWAV/1001_IOM_HAP_XX.wav")
    assert problem_at(corpus, "AudioWAV/1001").startswith("4 clips are not here")
    assert "1001_IOM_DIS_XX" in problem_at(corpus, "AudioWAV/1001")


def test_a_file_that_was_never_published_or_has_no_number_is_left_out(folder: Path) -> None:
    write_tone(folder / "AudioWAV" / "1001_IEO_ANG_LO.wav")
    corpus = load_crema_d(folder)
    assert "not among the files" in problem_at(corpus, "AudioWAV/1001_IEO_ANG_LO.wav")
    (folder / "lfs_sha256.tsv").unlink()
    corpus = load_crema_d(folder)
    assert "not in SentenceFilenames.csv" in problem_at(corpus, "AudioWAV/1001_IEO_ANG_LO.wav")
    assert len(corpus) == 7


def test_without_the_published_list_it_is_said_that_nothing_was_compared(folder: Path) -> None:
    (folder / "lfs_sha256.tsv").unlink()
    assert "no clip could be compared" in problem_at(load_crema_d(folder), "lfs_sha256.tsv")


def test_votes_of_another_clip_or_of_too_few_raters_are_left_out(folder: Path) -> None:
    replace_in(folder / "tabulatedVotes.csv", '"100023",0,1,0,4,6,0', '"100023",0,1,0,4,5,0')
    replace_in(folder / "tabulatedVotes.csv", '"100024",1,0,0,4,6,0', '"100026",1,0,0,4,6,0')
    corpus = load_crema_d(folder)
    assert set(by_name(corpus)).isdisjoint({"1001_IOM_NEU_XX", "1001_IOM_HAP_XX"})
    assert "do not sum to its 11 raters" in problem_at(corpus, "tabulatedVotes.csv:2")
    assert "'1001_IOM_ANG_XX' in SentenceFilenames.csv" in problem_at(corpus, "tabulatedVotes.csv:3")
    assert problem_at(corpus, "AudioWAV/1001_IOM_HAP_XX.wav") == "left out: no votes on voice in tabulatedVotes.csv"


def test_the_clip_that_was_published_without_sound_is_left_out(folder: Path) -> None:
    for path in (folder / "SentenceFilenames.csv", folder / "tabulatedVotes.csv"):
        replace_in(path, "1001_DFA_ANG_XX", "1076_MTI_SAD_XX")
    (folder / "AudioWAV" / "1001_DFA_ANG_XX.wav").rename(folder / "AudioWAV" / "1076_MTI_SAD_XX.wav")
    (folder / "lfs_sha256.tsv").unlink()
    assert "without sound" in problem_at(load_crema_d(folder), "AudioWAV/1076_MTI_SAD_XX.wav")


def test_what_is_optional_is_listed_when_it_is_missing(folder: Path) -> None:
    (folder / "audeering_speaker_splits.json").unlink()
    (folder / "VideoDemographics.csv").unlink()
    corpus = load_crema_d(folder)
    assert {(u.gender, u.split) for u in corpus.utterances} == {(None, None)}
    assert problem_at(corpus, "audeering_speaker_splits.json").startswith("missing")
    assert problem_at(corpus, "VideoDemographics.csv").startswith("nobody's gender is known")


@pytest.mark.parametrize("split", [{"train": [1001], "dev": [1001], "test": []}, {"train": [1001]}, [1001]])
def test_a_split_that_is_none_is_refused(folder: Path, split: object) -> None:
    (folder / "audeering_speaker_splits.json").write_text(json.dumps(split))
    with pytest.raises(CorpusError, match="audeering_speaker_splits"):
        load_crema_d(folder)


@pytest.mark.parametrize("missing", ["tabulatedVotes.csv", "SentenceFilenames.csv", "AudioWAV"])
def test_what_it_cannot_do_without_is_named(folder: Path, missing: str) -> None:
    (folder / missing).rename(folder / "elsewhere")
    with pytest.raises(CorpusError, match=missing):
        load_crema_d(folder)


def test_a_published_list_that_is_none_is_refused_with_its_line(folder: Path) -> None:
    (folder / "lfs_sha256.tsv").write_text("AudioWAV/1001_DFA_ANG_XX.wav 72862\n")
    with pytest.raises(CorpusError, match=r"lfs_sha256\.tsv:1"):
        load_crema_d(folder)
