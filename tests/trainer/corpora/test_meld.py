from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.corpora import write_clips, write_tone
from tests.fakes.msp_podcast import write_rows
from trainer.corpora.manifest import Corpus
from trainer.corpora.meld import load_meld
from trainer.errors import CorpusError

COLUMNS = (
    *("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"),
    *("Season", "Episode", "StartTime", "EndTime"),
)


def row(
    dialogue: int, number: int, emotion: str = "joy", utterance: str = "Hey!", speaker: str = "Joey"
) -> tuple[object, ...]:
    return (1, utterance, speaker, emotion, "positive", dialogue, number, 8, 21, "00:16:16,059", "00:16:17,059")


def write_tables(folder: Path, **splits: list[tuple[object, ...]]) -> Path:
    for split in ("train", "dev", "test"):
        write_rows(folder / f"{split}_sent_emo.csv", COLUMNS, splits.get(split, []))
    return folder


def problems_at(corpus: Corpus, where: str) -> list[str]:
    return [problem.what for problem in corpus.problems if problem.where == where]


def test_an_utterance_has_emotion_words_character_and_split(tmp_path: Path) -> None:
    write_tables(tmp_path, train=[row(0, 3, "anger", "No way!", "Chandler")], dev=[row(0, 3)], test=[row(0, 3, "fear")])
    for part in ("train/train_splits", "dev_splits_complete", "output_repeated_splits_test"):
        write_tone(tmp_path / part / "dia0_utt3.wav")
    corpus = load_meld(tmp_path)
    assert [(u.id, u.consensus, u.split) for u in corpus.utterances] == [
        ("meld/train-dia0_utt3", "angry", "train"),
        ("meld/dev-dia0_utt3", "happy", "development"),
        ("meld/test-dia0_utt3", "fear", "test"),
    ]
    assert (corpus.utterances[0].text, corpus.utterances[0].speaker) == ("No way!", "meld/Chandler")
    assert corpus.problems == ()


def test_every_emotion_has_its_class(tmp_path: Path) -> None:
    theirs = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
    write_tables(tmp_path, train=[row(1, n, emotion) for n, emotion in enumerate(theirs)])
    write_clips(tmp_path / "train_splits", [f"dia1_utt{n}.wav" for n in range(7)])
    assert [u.consensus for u in load_meld(tmp_path).utterances] == [
        *("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    ]


def test_quotation_marks_that_came_out_as_control_characters_are_mended(tmp_path: Path) -> None:
    write_tables(tmp_path, train=[row(0, 0, utterance="I\x92m fine")])
    write_tone(tmp_path / "train_splits" / "dia0_utt0.wav")
    assert load_meld(tmp_path).utterances[0].text == "I\u2019m fine"


def test_a_table_in_the_code_page_of_windows_is_read(tmp_path: Path) -> None:
    write_tables(tmp_path, train=[row(0, 0, utterance="APOSTROPHE")])
    table = tmp_path / "train_sent_emo.csv"
    table.write_bytes(table.read_bytes().replace(b"APOSTROPHE", b"I\x92m fine"))
    write_tone(tmp_path / "train_splits" / "dia0_utt0.wav")
    assert load_meld(tmp_path).utterances[0].text == "I\u2019m fine"


def test_broken_missing_and_wrongly_cut_clips_are_left_out_and_listed(tmp_path: Path) -> None:
    write_tables(tmp_path, train=[row(0, 0), row(125, 3)], dev=[row(110, 7)], test=[row(38, 4)])
    write_tone(tmp_path / "train_splits" / "dia0_utt0.wav")
    (tmp_path / "train_splits" / "dia125_utt3.mp4").write_bytes(b"no moov atom")
    write_tone(tmp_path / "output_repeated_splits_test" / "dia38_utt4.wav", seconds=11.5)
    corpus = load_meld(tmp_path)
    assert [u.id for u in corpus.utterances] == ["meld/train-dia0_utt0"]
    assert problems_at(corpus, "train_splits/dia125_utt3.mp4")[0].startswith("left out: cannot be opened as audio")
    assert problems_at(corpus, "dev_sent_emo.csv:2") == ["left out: no clip dia110_utt7 in a folder of dev"]
    assert problems_at(corpus, "output_repeated_splits_test/dia38_utt4.wav") == [
        "left out: cut wrongly: it lasts 11.5 s, its row says 1.0 s"
    ]


def test_clips_that_no_row_tells_of_are_listed(tmp_path: Path) -> None:
    write_tables(tmp_path, dev=[row(0, 0)])
    write_clips(tmp_path / "dev_splits_complete", ["dia0_utt0.wav", "dia66_utt9.wav", "final_videos_testdia1_utt0.wav"])
    write_tone(tmp_path / "elsewhere" / "dia0_utt0.wav")
    corpus = load_meld(tmp_path)
    assert len(corpus) == 1
    assert problems_at(corpus, "dev_splits_complete/dia66_utt9.wav") == ["left out: no row tells of it"]
    assert problems_at(corpus, "dev_splits_complete/final_videos_testdia1_utt0.wav")[0].startswith(
        "left out: not a clip"
    )
    assert problems_at(corpus, "elsewhere/dia0_utt0.wav")[0].startswith("left out: not a clip")


def test_of_video_and_audio_of_a_clip_the_audio_is_taken(tmp_path: Path) -> None:
    write_tables(tmp_path, train=[row(0, 0)])
    (tmp_path / "train_splits").mkdir()
    (tmp_path / "train_splits" / "dia0_utt0.mp4").write_bytes(b"video")
    write_tone(tmp_path / "train_wav" / "dia0_utt0.wav")
    corpus = load_meld(tmp_path)
    assert corpus.utterances[0].audio == tmp_path / "train_wav" / "dia0_utt0.wav"
    assert problems_at(corpus, ".")[0].startswith("1 clips are here twice")


def test_an_unknown_emotion_and_a_missing_table_are_listed(tmp_path: Path) -> None:
    write_tables(tmp_path, train=[row(0, 0), row(0, 1, "bored")])
    (tmp_path / "test_sent_emo.csv").unlink()
    write_clips(tmp_path / "train_splits", ["dia0_utt0.wav", "dia0_utt1.wav"])
    corpus = load_meld(tmp_path)
    assert "emotion 'bored'" in problems_at(corpus, "train_sent_emo.csv:3")[0]
    assert problems_at(corpus, "test_sent_emo.csv") == ["missing"]


def test_a_folder_with_nothing_usable_says_what_is_wrong_first(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"train_sent_emo\.csv: missing"):
        load_meld(tmp_path)
