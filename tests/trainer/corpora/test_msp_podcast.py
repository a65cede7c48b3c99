from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.emotions import MSP8, Attributes
from tests.fakes.corpora import write_tone
from tests.fakes.msp_podcast import CONSENSUS_COLUMNS, Clip, write_msp_podcast, write_rows
from trainer.corpora.manifest import Corpus, Utterance
from trainer.corpora.msp_podcast import load_msp_podcast
from trainer.errors import CorpusError


def problems_at(corpus: Corpus, where: str) -> list[str]:
    return [problem.what for problem in corpus.problems if problem.where == where]


def target_of(utterance: Utterance) -> dict[str, float]:
    return {label: float(p) for label, p in zip(MSP8, utterance.target, strict=True) if p}


def test_an_utterance_has_votes_attributes_speaker_split_and_transcript(tmp_path: Path) -> None:
    clip = Clip("MSP-PODCAST_0001_0008", "H", ("Happy", "Happy", "Happy", "Neutral"), speaker="127", gender="Male")
    corpus = load_msp_podcast(write_msp_podcast(tmp_path, [clip], seconds=0.2))
    (heard,) = corpus.utterances
    assert (heard.id, heard.speaker, heard.gender, heard.split) == (
        "msp_podcast/MSP-PODCAST_0001_0008",
        "msp_podcast/127",
        "male",
        "train",
    )
    assert heard.votes == {"happy": 3.0, "neutral": 1.0}
    assert target_of(heard) == {"happy": 0.75, "neutral": 0.25}
    assert heard.attributes == Attributes(arousal=4.5, valence=5.0, dominance=4.0)
    assert (heard.text, heard.consensus, heard.duration_s) == ("so there we were", "happy", pytest.approx(0.2))
    assert corpus.problems == ()


def test_every_primary_emotion_has_its_class_and_all_else_is_other(tmp_path: Path) -> None:
    primary = ("Angry", "Sad", "Happy", "Surprise", "Fear", "Disgust", "Contempt", "Neutral", "Other-Bored", "Other")
    (heard,) = load_msp_podcast(write_msp_podcast(tmp_path, [Clip("a", "X", primary)])).utterances
    assert heard.votes == {**dict.fromkeys(MSP8, 1.0), "other": 2.0}
    np.testing.assert_allclose(heard.target, 1 / 8)


def test_no_agreement_and_other_are_kept_as_ambiguous_unless_nobody_heard_one_of_the_eight(tmp_path: Path) -> None:
    clips = [
        Clip("tied", "X", ("Sad", "Happy")),
        Clip("other", "O", ("Other", "Other", "Fear")),
        Clip("nothing", "O", ("Other", "Other-Bored")),
        Clip("agreed", "A", ("Angry", "Angry", "Sad")),
    ]
    corpus = load_msp_podcast(write_msp_podcast(tmp_path, clips))
    assert {u.id.removeprefix("msp_podcast/"): u.ambiguous for u in corpus.utterances} == {
        "tied": True,
        "other": True,
        "agreed": False,
    }
    assert target_of(corpus.utterances[1]) == {"fear": 1.0}
    assert problems_at(corpus, "nothing.wav") == ["left out: no annotator voted for any of the labels"]


def test_a_consensus_that_the_votes_do_not_bear_out_is_ambiguous_and_listed(tmp_path: Path) -> None:
    corpus = load_msp_podcast(write_msp_podcast(tmp_path, [Clip("a", "A", ("Angry", "Sad", "Sad"))]))
    assert corpus.utterances[0].ambiguous
    assert "do not bear out angry" in problems_at(corpus, "Audios/a.wav")[0]


def test_official_splits_are_kept_and_one_test_set_may_be_chosen(tmp_path: Path) -> None:
    splits = ("Train", "Development", "Test1", "Test2", "Test3", "Holdout")
    write_msp_podcast(tmp_path, [Clip(split.lower(), split=split) for split in splits])
    corpus = load_msp_podcast(tmp_path)
    assert [u.split for u in corpus.utterances] == ["train", "development", "test", "test", "test"]
    assert "Split_Set 'Holdout'" in problems_at(corpus, "holdout.wav")[0]

    one = load_msp_podcast(tmp_path, test_sets=["Test2"])
    assert [u.id for u in one.utterances if u.split == "test"] == ["msp_podcast/test2"]
    assert problems_at(one, "Test1") == ["1 rows left out, as asked"]


@pytest.mark.parametrize("unknown", ["Unknown", ""])
def test_a_speaker_nobody_knows_is_a_speaker_of_their_own(tmp_path: Path, unknown: str) -> None:
    corpus = load_msp_podcast(write_msp_podcast(tmp_path, [Clip("a", speaker=unknown, gender="Unknown"), Clip("b")]))
    assert [u.speaker for u in corpus.utterances] == ["msp_podcast/a", "msp_podcast/1"]
    assert corpus.utterances[0].gender is None


def test_raters_audio_and_consensus_are_joined_by_file_name_and_what_lacks_one_is_listed(tmp_path: Path) -> None:
    write_msp_podcast(tmp_path, [Clip("whole"), Clip("mute"), Clip("unrated", votes=())])
    (tmp_path / "Audios" / "mute.wav").unlink()
    write_tone(tmp_path / "Audios" / "unlabelled.wav")
    with (tmp_path / "Labels" / "labels_detailed.csv").open("a", encoding="utf-8") as file:
        file.write("stranger.wav,WORKER1,Happy,Happy,5,5,5\n")

    corpus = load_msp_podcast(tmp_path)

    assert [u.id for u in corpus.utterances] == ["msp_podcast/whole"]
    assert problems_at(corpus, "mute.wav") == ["left out: no audio file of this name"]
    assert problems_at(corpus, "unrated.wav") == ["left out: no rater in labels_detailed.csv"]
    assert problems_at(corpus, "stranger.wav") == ["raters in labels_detailed.csv, but no row in labels_consensus.csv"]
    assert problems_at(corpus, "Audios/unlabelled.wav") == ["no row in labels_consensus.csv"]


def test_rows_in_another_order_make_no_difference(tmp_path: Path) -> None:
    clips = [Clip("a", "S", ("Sad", "Sad")), Clip("b", "H", ("Happy", "Happy")), Clip("c", "N", ("Neutral",))]
    write_msp_podcast(tmp_path, clips)
    path = tmp_path / "Labels" / "labels_detailed.csv"
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([header, *reversed(rows)]) + "\n", encoding="utf-8")
    assert {u.id: u.consensus for u in load_msp_podcast(tmp_path).utterances} == {
        "msp_podcast/a": "sad",
        "msp_podcast/b": "happy",
        "msp_podcast/c": "neutral",
    }


def test_nobody_votes_twice_on_a_clip(tmp_path: Path) -> None:
    write_msp_podcast(tmp_path, [Clip("a", "H", ("Happy", "Happy"))])
    with (tmp_path / "Labels" / "labels_detailed.csv").open("a", encoding="utf-8") as file:
        file.write("a.wav,WORKER00000000,Sad,Sad,5,5,5\n")
    corpus = load_msp_podcast(tmp_path)
    assert corpus.utterances[0].votes == {"happy": 2.0}
    assert problems_at(corpus, "labels_detailed.csv:4") == ["left out: WORKER00000000 has judged a.wav already"]


def test_the_older_form_of_ratings_is_read_too(tmp_path: Path) -> None:
    write_msp_podcast(tmp_path, [Clip("a", "S", ())])
    write_rows(
        tmp_path / "Labels" / "labels_detailed.csv",
        ("FileName", "EmoDetail"),
        [
            ("a.wav", "WORKER00000001; Sad; Sad,Disappointed; A:3.000000; V:2.000000; D:3.000000;"),
            ("a.wav", "WORKER00000002; Other-Tired; A:3.000000; V:2.000000; D:3.000000;"),
            ("a.wav", "WORKER00000003; Sad; Sad; A:3.000000; V:2.000000; D:3.000000;"),
        ],
    )
    (heard,) = load_msp_podcast(tmp_path).utterances
    assert heard.votes == {"sad": 2.0, "other": 1.0}


def test_labels_may_lie_beside_the_audio_and_the_audio_in_a_folder_of_its_old_name(tmp_path: Path) -> None:
    write_msp_podcast(tmp_path, [Clip("a")])
    for path in (tmp_path / "Labels").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "Labels").rmdir()
    (tmp_path / "Audios").rename(tmp_path / "Audio")
    assert len(load_msp_podcast(tmp_path)) == 1


def test_missing_transcripts_are_told_once_with_how_to_get_them(tmp_path: Path) -> None:
    corpus = load_msp_podcast(
        write_msp_podcast(tmp_path, [Clip("a", transcript=None), Clip("b"), Clip("c", transcript="")])
    )
    assert [u.text for u in corpus.utterances] == [None, "so there we were", None]
    (told,) = problems_at(corpus, "Transcripts")
    assert told.startswith("2 of 3 clips have no transcript, the first is msp_podcast/a")
    assert "--transcripts" in told


def test_attributes_that_cannot_be_are_listed_and_the_clip_is_kept(tmp_path: Path) -> None:
    clips = [Clip("a", attributes=(9, 4, 4)), Clip("b", attributes=("", 4, 4))]
    corpus = load_msp_podcast(write_msp_podcast(tmp_path, clips))
    assert [u.attributes for u in corpus.utterances] == [None, None]
    assert "arousal 9 lies outside" in problems_at(corpus, "Audios/a.wav")[0]
    assert "arousal must be a finite number" in problems_at(corpus, "Audios/b.wav")[0]


def test_a_damaged_clip_and_an_unknown_class_are_left_out_and_listed(tmp_path: Path) -> None:
    write_msp_podcast(tmp_path, [Clip("whole"), Clip("broken"), Clip("strange", "Q")])
    (tmp_path / "Audios" / "broken.wav").write_bytes(b"no audio")
    corpus = load_msp_podcast(tmp_path)
    assert [u.id for u in corpus.utterances] == ["msp_podcast/whole"]
    assert problems_at(corpus, "Audios/broken.wav")[0].startswith("left out: cannot be opened as audio")
    assert problems_at(corpus, "strange.wav")[0].startswith("left out: EmoClass 'Q' is none of A S H")


def test_tables_that_lack_a_column_are_refused_by_its_name(tmp_path: Path) -> None:
    write_msp_podcast(tmp_path, [Clip("a")])
    write_rows(tmp_path / "Labels" / "labels_detailed.csv", ("FileName", "Worker"), [("a.wav", "W1")])
    with pytest.raises(CorpusError, match=r"labels_detailed\.csv: no column primary or detail among FileName, Worker"):
        load_msp_podcast(tmp_path)
    write_msp_podcast(tmp_path, [Clip("a")])
    write_rows(tmp_path / "Labels" / "labels_consensus.csv", CONSENSUS_COLUMNS[:-1], [])
    with pytest.raises(CorpusError, match=r"labels_consensus\.csv: no column split"):
        load_msp_podcast(tmp_path)


def test_a_folder_without_labels_or_audio_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="Audios and Audio"):
        load_msp_podcast(tmp_path)
    (tmp_path / "Audios").mkdir()
    with pytest.raises(CorpusError, match=r"no file .*labels_detailed\.csv"):
        load_msp_podcast(tmp_path)
