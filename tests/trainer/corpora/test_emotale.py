from __future__ import annotations

from pathlib import Path

import pytest

from models.emotions import Attributes
from tests.fakes.corpora import write_clips
from tests.fakes.msp_podcast import write_rows
from trainer.corpora.emotale import load_emotale
from trainer.corpora.manifest import Corpus
from trainer.errors import CorpusError

COLUMNS = (
    "file",
    *(f"a{rater}_{what}" for rater in (1, 2, 3) for what in ("A", "V", "D", "cat")),
    "gt_emotion",
)


def row(name: str, choices: str = "AAA", acted: str = "A") -> tuple[object, ...]:
    """One clip's ratings; a dash is a rater who gave none."""
    ratings: list[object] = []
    for choice in choices:
        ratings += ["", "", "", ""] if choice == "-" else [4.0, 2.0, 4.5, choice]
    return (f"{name}.wav", *ratings, acted)


def write(folder: Path, *rows: tuple[object, ...], clips: list[str] | None = None) -> Path:
    write_rows(folder / "annotations.csv", COLUMNS, rows)
    write_rows(folder / "speaker_info.csv", ("Speaker_ID", "Gender", "Age"), [("004", "F", 20), (5, "male", 30)])
    write_clips(folder / "audio", [str(r[0]) for r in rows] if clips is None else clips)
    return folder


def problems_at(corpus: Corpus, where: str) -> list[str]:
    return [problem.what for problem in corpus.problems if problem.where == where]


def test_a_clip_has_votes_attributes_sentence_language_and_speaker(tmp_path: Path) -> None:
    corpus = load_emotale(write(tmp_path, row("DK_004_A_5", "AAN"), row("EN_005_S_1", "SSS", "S")))
    danish, english = corpus.utterances
    assert (danish.votes, danish.consensus) == ({"angry": 2.0, "neutral": 1.0}, "angry")
    assert (danish.text, danish.language) == ("Om syv timer er det morgen.", "da")
    assert (danish.speaker, danish.gender) == ("emotale/004", "female")
    assert danish.attributes == Attributes(arousal=5.5, valence=2.5, dominance=6.25)
    assert (english.text, english.language, english.gender) == ("The tablecloth is lying on the fridge.", "en", "male")
    assert english.consensus == "sad"
    assert problems_at(corpus, ".") == ["2 of the corpus's 800 clips are here and usable"]


def test_boredom_is_none_of_our_classes(tmp_path: Path) -> None:
    corpus = load_emotale(write(tmp_path, row("DK_004_B_1", "BBN", "B"), row("DK_004_B_2", "BBB", "B")))
    (heard,) = corpus.utterances
    assert (heard.votes, heard.ambiguous) == ({"other": 2.0, "neutral": 1.0}, True)
    assert problems_at(corpus, "DK_004_B_2") == ["left out: no annotator voted for any of the labels"]


def test_a_rater_who_gave_nothing_does_not_count(tmp_path: Path) -> None:
    (heard,) = load_emotale(write(tmp_path, row("DK_004_A_5", "AN-"))).utterances
    assert heard.votes == {"angry": 1.0, "neutral": 1.0}
    assert heard.ambiguous
    assert heard.attributes is not None


def test_clips_and_rows_are_joined_by_name_and_what_lacks_one_is_listed(tmp_path: Path) -> None:
    rows = [row("DK_004_A_5"), row("DK_004_A_4"), row("DK_004_H_1", "HHH", "A"), row("notes")]
    corpus = load_emotale(write(tmp_path, *rows, clips=["DK_004_A_5.wav", "DK_004_H_1.wav", "EN_004_A_5.wav", "x.wav"]))
    assert [u.id for u in corpus.utterances] == ["emotale/DK_004_A_5"]
    assert problems_at(corpus, "DK_004_A_4") == ["left out: no clip of this name"]
    assert problems_at(corpus, "DK_004_H_1") == ["left out: the name says H, gt_emotion says A"]
    assert problems_at(corpus, "notes")[0].startswith("left out: the name is not language")
    assert problems_at(corpus, "audio/EN_004_A_5.wav") == ["left out: no row in annotations.csv"]
    assert problems_at(corpus, "audio/x.wav")[0].startswith("left out: the name is not language")


def test_a_rating_off_the_scale_or_an_unknown_choice_is_left_out(tmp_path: Path) -> None:
    wrong = list(row("DK_004_A_4"))
    wrong[1] = 6
    corpus = load_emotale(write(tmp_path, row("DK_004_A_5"), tuple(wrong), row("DK_004_A_3", "AAX")))
    assert len(corpus) == 1
    assert "within 1 to 5, got 6" in problems_at(corpus, "DK_004_A_4")[0]
    assert "a3_cat 'X'" in problems_at(corpus, "DK_004_A_3")[0]


def test_speaker_information_of_another_shape_is_listed_and_nobody_has_a_gender(tmp_path: Path) -> None:
    write(tmp_path, row("DK_004_A_5"))
    write_rows(tmp_path / "speaker_info.csv", ("who", "what"), [("004", "F")])
    corpus = load_emotale(tmp_path)
    assert corpus.utterances[0].gender is None
    assert "no column speaker, gender" in problems_at(corpus, "speaker_info.csv")[0]


def test_annotations_are_needed_in_the_form_that_is_published(tmp_path: Path) -> None:
    write(tmp_path, row("DK_004_A_5"))
    write_rows(tmp_path / "annotations.csv", ("file", "emotion"), [("DK_004_A_5.wav", "A")])
    with pytest.raises(CorpusError, match=r"annotations\.csv: no column a1_cat"):
        load_emotale(tmp_path)
    (tmp_path / "annotations.csv").unlink()
    with pytest.raises(CorpusError, match=r"no file .*annotations\.csv"):
        load_emotale(tmp_path)
