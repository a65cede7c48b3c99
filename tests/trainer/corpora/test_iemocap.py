from __future__ import annotations

from pathlib import Path

import pytest

from models.emotions import MSP8, Attributes
from tests.fakes.corpora import write_clips
from trainer.corpora.iemocap import load_iemocap
from trainer.corpora.manifest import Corpus
from trainer.errors import CorpusError

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
ANGRY = """[140.2250 - 145.6000]\tSes01F_impro05_F019\tang\t[1.5000, 4.0000, 4.5000]
C-E1:\tAnger;\t()
C-E3:\tAnger; Frustration;\t()
C-E4:\tAnger;\t(threatening; Sadness)
C-F1:\tSadness;\t()
A-E3:\tval 2; act 4; dom  4;\t()
A-E4:\tval 1; act 4; dom  5;\t(threatening, belligerent)
A-F1:\tval 1; act 5; dom  5;\t()
"""


def turn(name: str, label: str, *choices: str, vad: str = "3.0000, 3.0000, 3.0000") -> str:
    lines = [f"[6.2901 - 8.2357]\t{name}\t{label}\t[{vad}]"]
    lines += [f"C-E{rater}:\t{choice};\t()" for rater, choice in enumerate(choices, start=1)]
    return "\n".join(lines) + "\n"


def write_session(folder: Path, *turns: str, transcript: str = "", clips: list[str] | None = None) -> Path:
    """One session with one dialogue; a clip for each turn unless others are named."""
    dialogue = "Ses01F_impro05"
    session = folder / "Session1"
    evaluation = session / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
    evaluation.parent.mkdir(parents=True)
    evaluation.write_text(HEADER + "\n".join(turns), encoding="utf-8")
    (evaluation.parent / f"._{dialogue}.txt").write_bytes(b"\x00\x05\x16\x07")
    spoken = session / "dialog" / "transcriptions" / f"{dialogue}.txt"
    spoken.parent.mkdir(parents=True)
    spoken.write_text(transcript, encoding="utf-8")
    names = [written.split("\t")[1] for written in turns] if clips is None else clips
    write_clips(session / "sentences" / "wav" / dialogue, [f"{name}.wav" for name in names])
    return folder


def problems_at(corpus: Corpus, where: str) -> list[str]:
    return [problem.what for problem in corpus.problems if problem.where == where]


def clip(name: str) -> str:
    return f"Session1/sentences/wav/Ses01F_impro05/{name}.wav"


def test_a_turn_has_its_raters_votes_attributes_words_and_speaker(tmp_path: Path) -> None:
    words = "M: [laughs]\nSes01F_impro05_F019 [140.2250-145.6000]: I have had it.\n"
    (heard,) = load_iemocap(write_session(tmp_path, ANGRY, transcript=words)).utterances
    assert (heard.id, heard.speaker, heard.gender, heard.text, heard.language) == (
        "iemocap/Ses01F_impro05_F019",
        "iemocap/Ses01F",
        "female",
        "I have had it.",
        "en",
    )
    assert heard.votes == {"angry": 2.5, "other": 0.5}
    assert heard.consensus == "angry"
    assert heard.attributes == Attributes(arousal=5.5, valence=1.75, dominance=6.25)
    assert (heard.split, heard.duration_s) == (None, pytest.approx(0.1))


def test_who_speaks_is_told_by_the_turn_and_not_by_the_dialogue(tmp_path: Path) -> None:
    written = turn("Ses01F_impro05_M003", "neu", "Neutral state", "Neutral state")
    (heard,) = load_iemocap(write_session(tmp_path, written)).utterances
    assert (heard.speaker, heard.gender, heard.consensus) == ("iemocap/Ses01M", "male", "neutral")


def test_excited_is_happy_and_frustration_is_none_of_ours(tmp_path: Path) -> None:
    corpus = load_iemocap(
        write_session(
            tmp_path,
            turn("Ses01F_impro05_F001", "exc", "Excited", "Happiness", "Excited"),
            turn("Ses01F_impro05_F002", "fru", "Frustration", "Frustration", "Anger"),
            turn("Ses01F_impro05_F003", "fru", "Frustration", "Frustration"),
        )
    )
    happy, frustrated = corpus.utterances
    assert (happy.votes, happy.consensus) == ({"happy": 3.0}, "happy")
    assert (frustrated.votes, frustrated.ambiguous) == ({"other": 2.0, "angry": 1.0}, True)
    assert frustrated.target[MSP8.index("angry")] == 1.0
    assert "no annotator voted" in problems_at(corpus, clip("Ses01F_impro05_F003"))[-1]


def test_turns_without_agreement_are_ambiguous_even_where_our_classes_are_coarser(tmp_path: Path) -> None:
    written = turn("Ses01F_impro05_F001", "xxx", "Happiness", "Excited", "Sadness")
    (heard,) = load_iemocap(write_session(tmp_path, written)).utterances
    assert heard.ambiguous
    assert heard.votes == {"happy": 2.0, "sad": 1.0}


def test_turns_without_audio_and_audio_without_a_turn_are_listed(tmp_path: Path) -> None:
    turns = [turn(f"Ses01F_impro05_F00{n}", "sad", "Sadness") for n in (1, 2)]
    corpus = load_iemocap(write_session(tmp_path, *turns, clips=["Ses01F_impro05_F001", "Ses01F_impro05_FXX0"]))
    assert [u.id for u in corpus.utterances] == ["iemocap/Ses01F_impro05_F001"]
    assert problems_at(corpus, "Ses01F_impro05_F002") == ["left out: no clip of this name in sentences/wav"]
    assert problems_at(corpus, clip("Ses01F_impro05_FXX0")) == ["no turn in dialog/EmoEvaluation"]
    assert problems_at(corpus, "Session2") == ["missing"]
    assert problems_at(corpus, clip("Ses01F_impro05_F001")) == ["no transcript"]


def test_attributes_off_the_scale_unknown_labels_and_unknown_choices_are_listed(tmp_path: Path) -> None:
    corpus = load_iemocap(
        write_session(
            tmp_path,
            turn("Ses01F_impro05_F001", "sad", "Sadness", vad="5.5000, 3.0000, 3.0000"),
            turn("Ses01F_impro05_F002", "bor", "Sadness"),
            turn("Ses01F_impro05_F003", "sad", "Sadness", "Sadness", "Boredom"),
        )
    )
    first, third = corpus.utterances
    assert first.attributes is None
    assert "5.5" in problems_at(corpus, clip("Ses01F_impro05_F001"))[-1]
    assert "label 'bor'" in problems_at(corpus, clip("Ses01F_impro05_F002"))[-1]
    assert third.votes == {"sad": 2.0, "other": 1.0}
    assert "boredom" in problems_at(corpus, clip("Ses01F_impro05_F003"))[0]


def test_a_folder_without_sessions_says_so(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="Session1: missing"):
        load_iemocap(tmp_path)
