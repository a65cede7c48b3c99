from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.corpora import write_clips, write_tone
from trainer.corpora.emodb import load_emodb
from trainer.corpora.manifest import Corpus
from trainer.corpora.ravdess import load_ravdess
from trainer.corpora.registry import CORPORA
from trainer.corpora.tess import load_tess
from trainer.errors import CorpusError


def labels_of(corpus: Corpus) -> dict[str, str | None]:
    return {u.id: u.consensus for u in corpus.utterances}


def problem_at(corpus: Corpus, where: str) -> str:
    found = [problem.what for problem in corpus.problems if problem.where == where]
    assert len(found) == 1, f"{len(found)} problems at {where} among {[str(p) for p in corpus.problems]}"
    return found[0]


class TestRavdess:
    def test_the_name_says_emotion_sentence_actor_and_gender(self, tmp_path: Path) -> None:
        write_clips(tmp_path, ["Actor_01/03-01-05-02-01-01-01.wav", "Actor_12/03-01-08-01-02-02-12.wav"])
        angry, surprised = load_ravdess(tmp_path).utterances
        assert (angry.consensus, angry.text, angry.speaker, angry.gender) == (
            "angry",
            "Kids are talking by the door.",
            "ravdess/actor-01",
            "male",
        )
        assert (surprised.consensus, surprised.text, surprised.speaker, surprised.gender) == (
            "surprise",
            "Dogs are sitting by the door.",
            "ravdess/actor-12",
            "female",
        )
        assert angry.id == "ravdess/03-01-05-02-01-01-01"
        assert angry.duration_s == pytest.approx(0.1)

    def test_every_emotion_has_its_class_and_calm_is_neutral(self, tmp_path: Path) -> None:
        write_clips(tmp_path, [f"03-01-0{emotion}-01-01-01-02.wav" for emotion in range(1, 9)])
        assert list(labels_of(load_ravdess(tmp_path)).values()) == [
            *("neutral", "neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")
        ]

    def test_song_video_and_foreign_names_are_left_out_and_listed(self, tmp_path: Path) -> None:
        write_clips(
            tmp_path,
            [
                "03-01-01-01-01-01-01.wav",
                "03-02-01-01-01-01-01.wav",
                "01-01-01-01-01-01-01.wav",
                "03-01-09-01-01-01-01.wav",
                "03-01-01-01-01-01-25.wav",
                "notes.wav",
            ],
        )
        corpus = load_ravdess(tmp_path)
        assert len(corpus) == 1
        assert "speech" in problem_at(corpus, "03-02-01-01-01-01-01.wav")
        assert "speech" in problem_at(corpus, "01-01-01-01-01-01-01.wav")
        assert "emotion 09" in problem_at(corpus, "03-01-09-01-01-01-01.wav")
        assert "actor 25" in problem_at(corpus, "03-01-01-01-01-01-25.wav")
        assert "seven numbers" in problem_at(corpus, "notes.wav")

    def test_missing_clips_are_counted_by_actor(self, tmp_path: Path) -> None:
        write_clips(tmp_path, ["Actor_03/03-01-01-01-01-01-03.wav"])
        corpus = load_ravdess(tmp_path)
        assert problem_at(corpus, "Actor_03").startswith("1 of 60")
        assert problem_at(corpus, "Actor_24").startswith("0 of 60")

    def test_a_clip_that_stands_in_two_folders_is_taken_once(self, tmp_path: Path) -> None:
        write_clips(tmp_path, ["Actor_01/03-01-01-01-01-01-01.wav", "copy/Actor_01/03-01-01-01-01-01-01.wav"])
        corpus = load_ravdess(tmp_path)
        assert len(corpus) == 1
        assert "Actor_01/03-01-01-01-01-01-01.wav" in problem_at(corpus, "copy/Actor_01/03-01-01-01-01-01-01.wav")

    def test_an_empty_and_a_damaged_file_are_left_out_and_listed(self, tmp_path: Path) -> None:
        write_clips(tmp_path, ["03-01-01-01-01-01-01.wav"])
        (tmp_path / "03-01-02-01-01-01-01.wav").write_bytes(b"")
        (tmp_path / "03-01-03-01-01-01-01.flac").write_text("this is no audio")
        corpus = load_ravdess(tmp_path)
        assert list(labels_of(corpus)) == ["ravdess/03-01-01-01-01-01-01"]
        assert problem_at(corpus, "03-01-02-01-01-01-01.wav").startswith("left out")
        assert problem_at(corpus, "03-01-03-01-01-01-01.flac").startswith("left out")

    def test_a_folder_in_which_nothing_can_be_used_says_why(self, tmp_path: Path) -> None:
        write_clips(tmp_path, ["notes.wav"])
        with pytest.raises(CorpusError, match=r"none of the clips.*notes\.wav"):
            load_ravdess(tmp_path)


class TestTess:
    def test_folders_may_be_spelt_either_way(self, tmp_path: Path) -> None:
        write_clips(
            tmp_path,
            [
                "OAF_Fear/OAF_back_fear.wav",
                "YAF_fear/YAF_back_fear.wav",
                "OAF_Pleasant_surprise/OAF_back_ps.wav",
                "YAF_pleasant_surprised/YAF_Bar_ps.wav",
                "nested/OAF_neutral/OA_bite_neutral.wav",
            ],
        )
        corpus = load_tess(tmp_path)
        assert labels_of(corpus) == {
            "tess/OAF_back_fear": "fear",
            "tess/YAF_back_fear": "fear",
            "tess/OAF_back_ps": "surprise",
            "tess/YAF_Bar_ps": "surprise",
            "tess/OA_bite_neutral": "neutral",
        }
        assert corpus.speakers == ("tess/OAF", "tess/YAF")

    def test_the_carrier_phrase_is_the_text(self, tmp_path: Path) -> None:
        write_clips(tmp_path, ["OAF_angry/OAF_Back_angry.wav"])
        (spoken,) = load_tess(tmp_path).utterances
        assert spoken.text == "Say the word back."

    def test_a_name_that_contradicts_its_folder_is_left_out_and_listed(self, tmp_path: Path) -> None:
        write_clips(
            tmp_path,
            [
                "OAF_angry/OAF_back_angry.wav",
                "OAF_angry/OAF_bar_sad.wav",
                "OAF_angry/YAF_base_angry.wav",
                "OAF_bored/OAF_back_bored.wav",
                "OAF_angry/noise.wav",
            ],
        )
        corpus = load_tess(tmp_path)
        assert list(labels_of(corpus)) == ["tess/OAF_back_angry"]
        assert "contradict" in problem_at(corpus, "OAF_angry/OAF_bar_sad.wav")
        assert "contradict" in problem_at(corpus, "OAF_angry/YAF_base_angry.wav")
        assert "'bored'" in problem_at(corpus, "OAF_bored/OAF_back_bored.wav")
        assert "SPEAKER_WORD_EMOTION" in problem_at(corpus, "OAF_angry/noise.wav")
        assert problem_at(corpus, "OAF, angry").startswith("1 of 200")


class TestEmodb:
    def test_the_name_says_speaker_sentence_and_emotion(self, tmp_path: Path) -> None:
        write_clips(tmp_path, ["Angry/03a01Wa.wav", "Sad/16b10Tb.wav"])
        angry, sad = load_emodb(tmp_path).utterances
        assert (angry.consensus, angry.speaker, angry.gender, angry.language) == ("angry", "emodb/03", "male", "de")
        assert angry.text == "Der Lappen liegt auf dem Eisschrank."
        assert (sad.consensus, sad.speaker, sad.gender) == ("sad", "emodb/16", "female")
        assert sad.text == "Die wird auf dem Platz sein, wo wir sie immer hinlegen."

    def test_the_official_folder_is_read_too_and_boredom_is_listed(self, tmp_path: Path) -> None:
        write_clips(
            tmp_path / "wav",
            [f"03a0{i}{letter}a.wav" for i, letter in ((1, "W"), (2, "E"), (4, "A"), (5, "F"), (7, "N"))],
        )
        write_tone(tmp_path / "wav" / "08b01Lc.wav")
        corpus = load_emodb(tmp_path)
        assert list(labels_of(corpus).values()) == ["angry", "disgust", "fear", "happy", "neutral"]
        assert "boredom" in problem_at(corpus, "wav/08b01Lc.wav")
        assert problem_at(corpus, ".").startswith("5 of the corpus's 535")

    def test_a_name_that_contradicts_its_folder_is_left_out_and_listed(self, tmp_path: Path) -> None:
        write_clips(tmp_path, ["Angry/03a01Wa.wav", "Happy/03a02Wa.wav", "Happy/04a01Fa.wav", "Happy/03a03Fa.wav"])
        corpus = load_emodb(tmp_path)
        assert len(corpus) == 1
        assert "says angry, the folder Happy" in problem_at(corpus, "Happy/03a02Wa.wav")
        assert problem_at(corpus, "Happy/04a01Fa.wav").startswith("left out")
        assert problem_at(corpus, "Happy/03a03Fa.wav").startswith("left out")


@pytest.mark.parametrize("name", ["ravdess", "tess", "emodb"])
def test_a_missing_and_an_empty_folder_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=f"corpus {name}: no folder .*nowhere"):
        CORPORA[name].load(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match=f"corpus {name}: no audio file"):
        CORPORA[name].load(tmp_path)
