"""Which layer says how something was said, on clips of tones and an encoder that hides the emotion in one layer."""

from __future__ import annotations

import csv
import json
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from benchmarks import layers
from benchmarks.errors import BenchmarkError
from benchmarks.layer_picture import layer_picture
from benchmarks.layer_probe import NOT_SCORED, Answer, Question, answered, ask, cuts, relative_to_speaker
from benchmarks.layer_reading import DEPTH, Probed, ReadClips, agreed, read
from benchmarks.layers import main
from models.backbones.whisper import EncodedSpeech
from models.emotions import MSP8, LabelSet
from models.windows import SAMPLE_RATE_HZ, encoder_frames
from tests.fakes.corpora import corpus_of, utterance, write_tone
from tests.fakes.shell import pcm, silence, speech
from trainer.audio import read_clip
from trainer.canvas import DARK, LIGHT, Theme
from trainer.errors import RecipeError
from trainer.silence import trim_silence

LABELS = LabelSet(("angry", "sad", "happy", "neutral"))
TONES_HZ = {"angry": 300.0, "sad": 700.0, "happy": 1500.0, "neutral": 3100.0}
SPEAKERS = ("ann", "bob", "cy")
TELLING = 2
"""The layer that holds the emotion."""
PNG = b"\x89PNG"


class FakeEncoder:
    """Frames of one layer say which tone a clip is, above how loud its speaker is; those of all others are noise."""

    def __init__(self, *_: object, **__: object) -> None:
        self.heard: list[tuple[int, float]] = []

    def encode(self, segments: Sequence[NDArray[np.float32]], window_s: float) -> EncodedSpeech:
        self.heard += [(segment.size, window_s) for segment in segments]
        frames = {
            None if layer == DEPTH else layer: tuple(self._frames(segment, layer) for segment in segments)
            for layer in range(1, DEPTH + 1)
        }
        sizes = tuple(segment.size for segment in segments)
        return EncodedSpeech(np.zeros((0, 0, 0), dtype=np.float32), frames, sizes, window_s)

    @staticmethod
    def _frames(segment: NDArray[np.float32], layer: int) -> NDArray[np.float32]:
        shape = (encoder_frames(segment.size), len(TONES_HZ))
        if layer != TELLING:
            noise = np.random.default_rng([layer, segment.size, *segment[:64].tobytes()])
            return noise.standard_normal(shape).astype(np.float32)
        loudest_hz = np.abs(np.fft.rfft(segment)).argmax() * SAMPLE_RATE_HZ / segment.size
        near = [abs(loudest_hz - hz) < 100 for hz in TONES_HZ.values()]
        return np.broadcast_to(np.array(near) + 100 * np.abs(segment).max(), shape).astype(np.float32)


class FakeProsody:
    """One column: how loud the frame is."""

    def extract(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full((encoder_frames(samples.size), 1), np.abs(samples).mean(), dtype=np.float32)


def write_wave(path: Path, samples: bytes) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples)
    return path


def told(_count: int, _seconds: float) -> None:
    """What a progress bar is told, forgotten."""


def clips_of(
    *corpora: tuple[str, Sequence[str], Sequence[int]], means: dict[str, Sequence[int]] | None = None
) -> ReadClips:
    """Clips of every speaker and class of some corpora: the last layer is noise, the first holds class and speaker.

    Args:
        corpora: name, speakers, classes.
        means: by corpus, what the first layer says of each class, where it is another.
    """
    rows = [(c, f"{c}/{s}", label) for c, speakers, classes in corpora for s in speakers for label in classes * 3]
    rng = np.random.default_rng(0)
    names = [speaker for _, speaker, _ in rows]
    voices = {speaker: 20 * rng.standard_normal(len(LABELS)) for speaker in dict.fromkeys(names)}
    shown = [(means or {}).get(corpus, range(len(LABELS)))[label] for corpus, _, label in rows]
    return ReadClips(
        ids=tuple(f"{corpus}/{i}" for i, (corpus, _, _) in enumerate(rows)),
        labels=LABELS,
        corpora=np.array([corpus for corpus, _, _ in rows]),
        speakers=np.array(names),
        true=np.array([label for _, _, label in rows], dtype=np.int64),
        may_train=np.ones(len(rows), dtype=np.bool_),
        vectors={
            Probed(1): (np.eye(len(LABELS))[shown] + [voices[speaker] for speaker in names]).astype(np.float32),
            Probed(2): rng.standard_normal((len(rows), 4)).astype(np.float32),
        },
    )


def only(answers: Sequence[Answer], layer: int) -> Answer:
    (answer,) = [one for one in answers if one.probed == Probed(layer)]
    return answer


def test_the_layer_that_holds_the_emotion_scores_best_whoever_speaks() -> None:
    clips = clips_of(("plays", SPEAKERS, [0, 1, 2, 3]))

    answers = ask(clips, [Question("within", "plays")], 3, [], told)

    best, last = only(answers, 1), only(answers, 2)
    assert best.macro_f1 == 1.0
    assert last.macro_f1 < 0.6
    assert (best.clips, best.speakers, best.classes) == (36, 3, LABELS.names)
    assert best.over_last.value == pytest.approx(1.0 - last.macro_f1)
    assert last.over_last.value == 0.0
    assert last.interval is not None
    assert last.interval.low <= last.macro_f1 <= last.interval.high


def test_a_speakers_offset_and_scale_are_taken_out() -> None:
    rng = np.random.default_rng(3)
    speakers = np.array(["ann", "bob", "ann", "bob", "ann", "bob"])
    said = rng.standard_normal((6, 2)).astype(np.float32)
    heard = np.where((speakers == "ann")[:, None], 5 * said + 40, said - 7).astype(np.float32)

    relative = relative_to_speaker(heard, speakers)

    np.testing.assert_allclose(relative, relative_to_speaker(said, speakers), atol=1e-4)
    np.testing.assert_allclose(relative[speakers == "ann"].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(relative[speakers == "bob"].std(axis=0), 1, atol=1e-5)


def test_what_a_speaker_never_varies_says_nothing() -> None:
    speakers = np.array(["ann", "ann", "ann", "alone"])
    always = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0], [4.0, 5.0]], dtype=np.float32)

    relative = relative_to_speaker(always, speakers)

    assert (relative[:3, 0] == 0).all()
    assert (relative[3] == 0).all()
    assert relative[2, 1] > 1


def test_a_corpus_left_out_never_stands_in_training() -> None:
    # In `films` every class looks like another's in `plays`: fitted on any of them a probe would be right of most.
    films = ("films", [*SPEAKERS, "dee", "eve"], [0, 1, 2, 3])
    clips = clips_of(("plays", SPEAKERS, [0, 1, 2, 3]), films, means={"films": (1, 2, 3, 0)})

    answers = ask(clips, [Question("left_out", "films"), Question("within", "films")], 5, ["plays", "films"], told)

    left_out, within = [one for one in answers if one.probed == Probed(1)]
    assert left_out.macro_f1 == 0.0
    assert within.macro_f1 == 1.0


def test_nobody_is_on_both_sides_and_a_test_split_is_never_fitted_on() -> None:
    clips = clips_of(("plays", SPEAKERS, [0, 1]), ("films", SPEAKERS, [0, 1]))
    clips.may_train[::5] = False

    for question in (Question("within", "plays"), Question("left_out", "plays")):
        made = cuts(question, clips, 3, ["plays", "films"])

        assert sorted(np.concatenate([cut.scored for cut in made])) == clips.rows_of("plays").tolist()
        for cut in made:
            assert not set(clips.speakers[cut.known]) & set(clips.speakers[cut.scored])
            assert clips.may_train[cut.known].all()


def test_only_classes_that_both_sides_hold_are_scored_and_only_those_of_the_corpus_are_answered() -> None:
    clips = clips_of(("plays", SPEAKERS, [0, 1, 3]), ("films", SPEAKERS, [0, 1, 2]), means={"films": (3, 1, 2, 0)})

    question = Question("left_out", "films")
    vectors = relative_to_speaker(clips.of(Probed(1)), clips.speakers)

    given = answered(vectors, clips, question, cuts(question, clips, 3, ["plays"]))
    answer = only(ask(clips, [question], 3, ["plays"], told), 1)

    # `plays` has no `happy`; `films` has no `neutral`, as which its angry clips sound.
    scored = given != NOT_SCORED
    assert set(clips.true[scored]) == {0, 1}
    assert set(given[scored]) <= {0, 1}
    assert (answer.classes, answer.clips) == (("angry", "sad"), 18)


def test_a_question_nobody_can_answer_is_refused() -> None:
    clips = clips_of(("plays", SPEAKERS, [0, 1]))

    with pytest.raises(BenchmarkError, match="plays, left out: a probe needs clips of two classes"):
        ask(clips, [Question("left_out", "plays")], 3, ["plays"], told)
    with pytest.raises(BenchmarkError, match="no clip of songs was read"):
        ask(clips, [Question("within", "songs")], 3, ["plays"], told)
    with pytest.raises(RecipeError, match="3 speakers cannot be dealt into 5 folds"):
        ask(clips, [Question("within", "plays")], 5, ["plays"], told)


def test_a_clip_is_cut_to_its_speech_and_encoded_in_its_window(tmp_path: Path) -> None:
    path = write_wave(tmp_path / "long.wav", pcm(silence(2.0), speech(9.0), silence(2.0)))
    encoder = FakeEncoder()

    clips = read([utterance("long", audio=path)], MSP8, encoder, FakeProsody(), told)

    spoken = trim_silence(read_clip(path))
    assert 9 * SAMPLE_RATE_HZ < spoken.size < 10 * SAMPLE_RATE_HZ
    assert encoder.heard == [(spoken.size, 12.0)]
    level = np.abs(spoken).mean()
    np.testing.assert_allclose(clips.of(Probed(prosody=True)), [[level, 0.0]], atol=1e-6)
    assert [one.title for one in clips.probed][5:8] == ["layer 6", "prosody", "layer 1 + prosody"]
    assert clips.of(Probed(1, prosody=True)).shape == (1, 2 * len(TONES_HZ) + 2)


def test_a_vector_is_mean_and_deviation_over_the_frames(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "clip.wav", seconds=0.5)

    clips = read([utterance("clip", audio=path)], MSP8, FakeEncoder(), None, told)

    frames = FakeEncoder().encode([trim_silence(read_clip(path))], 10.0).frames
    for layer, (own,) in frames.items():
        expected = np.concatenate([own.mean(axis=0), own.std(axis=0)])
        np.testing.assert_allclose(clips.of(Probed(layer or DEPTH))[0], expected, rtol=1e-4, atol=1e-5)
    assert clips.last == Probed(DEPTH)


def test_a_clip_that_cannot_be_read_is_listed_and_the_others_stand(tmp_path: Path) -> None:
    whole = utterance("whole", audio=write_tone(tmp_path / "whole.wav"))
    damaged = utterance("damaged", audio=tmp_path / "damaged.wav")
    (tmp_path / "damaged.wav").write_bytes(b"RIFF")

    clips = read([damaged, whole], MSP8, FakeEncoder(), None, told)

    assert clips.ids == ("made_up/whole",)
    assert [problem.where for problem in clips.problems] == ["made_up/damaged"]
    with pytest.raises(BenchmarkError, match=r"none of 1 clips could be read: made_up/damaged"):
        read([damaged], MSP8, FakeEncoder(), None, told)


def test_a_corpus_without_sound_has_nothing_to_probe(tmp_path: Path) -> None:
    spoken = corpus_of(utterance("a", audio=tmp_path / "a.wav"), utterance("written"))
    comments = corpus_of(utterance("b", corpus="comments"), name="comments")

    assert [u.id for u in agreed([spoken])] == ["made_up/a"]
    with pytest.raises(BenchmarkError, match="corpus comments has no spoken utterance"):
        agreed([spoken, comments])


@pytest.fixture
def corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two corpora of tones, `plays` and `films`, and an encoder without weights."""
    monkeypatch.setattr(layers, "WhisperEncoder", FakeEncoder)
    monkeypatch.setattr(layers, "ProsodyExtractor", FakeProsody)
    monkeypatch.setattr(layers, "backbone_folder", lambda *_, **__: tmp_path)
    for corpus in ("plays", "films"):
        rows = []
        for level, speaker in enumerate(SPEAKERS, start=1):
            for take, (label, hz) in [(take, tone) for take in (1, 2) for tone in TONES_HZ.items()]:
                name = f"{speaker}-{label}-{take}"
                seconds = 0.2 + 0.01 * take + (0.1 if corpus == "films" else 0)
                write_tone(tmp_path / corpus / f"{name}.wav", hz=hz, level=0.2 * level, seconds=seconds)
                rows.append({"id": name, "audio": f"{name}.wav", "label": label, "speaker": speaker})
        with (tmp_path / corpus / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return tmp_path


def run(corpora: Path, *options: str) -> Result:
    asked = ["--within", "plays", "--left-out", "films", "--train-on", "plays", "--train-on", "films", "--folds", "3"]
    return CliRunner().invoke(main, ["--corpora", str(corpora), *asked, *options])


def test_the_json_has_one_row_a_layer(corpora: Path) -> None:
    result = run(corpora, "--json")

    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    rows = {row["layer"]: row for row in report["results"]}
    assert list(rows) == [1, 2, 3, 4, 5, 6]
    assert max(rows, key=lambda layer: rows[layer]["within"]["plays"]) == TELLING
    assert (rows[TELLING]["within"], rows[TELLING]["left_out"]) == ({"plays": 1.0}, {"films": 1.0})
    assert rows[TELLING]["details"]["left_out"]["films"]["over_last_layer"] > 0
    assert report["benchmark"] == "layers"
    assert report["settings"]["arithmetic"] == "int8"
    assert report["settings"]["corpora"]["plays"]["clips"] == 24
    assert str(corpora) not in result.stdout


def test_the_result_and_its_picture_are_written(corpora: Path, tmp_path: Path) -> None:
    result = run(corpora, "--prosody", "--arithmetic", "float32", "--out", str(tmp_path / "out"))

    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "layers-float32.json").read_text(encoding="utf-8"))
    probed = [(row["layer"], row["prosody"]) for row in report["results"]]
    assert probed == [*((n, False) for n in range(1, 7)), (None, True), *((n, True) for n in range(1, 7))]
    assert (tmp_path / "out" / "layers-float32.png").read_bytes().startswith(PNG)
    shown = click.unstyle(result.stdout)
    assert "plays, new speakers: 24 clips, 3 speakers, 4 classes" in shown
    assert "films, left out" in shown
    assert "layer 2 + prosody" in shown


def test_a_damaged_clip_is_named_and_counted(corpora: Path) -> None:
    rows = (corpora / "films" / "manifest.csv").read_text(encoding="utf-8").splitlines()
    header, *lines = rows
    (corpora / "films" / "manifest.csv").write_text(
        "\n".join([f"{header},duration_s", *(f"{line},0.3" for line in lines)]), encoding="utf-8"
    )
    (corpora / "films" / "ann-sad-1.wav").write_bytes(b"RIFF")

    result = run(corpora, "--json")

    assert "left out: films/ann-sad-1" in result.stderr
    assert json.loads(result.stdout)["settings"]["corpora"]["films"]["unreadable"] == 1


def test_what_cannot_be_asked_is_said_before_anything_is_encoded(
    corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "WhisperEncoder", lambda *_, **__: pytest.fail("an encoder was opened"))

    result = run(corpora, "--folds", "4")

    assert result.exit_code == 1
    assert "3 speakers cannot be dealt into 4 folds" in result.output


def test_a_corpus_that_is_not_there_is_named(corpora: Path) -> None:
    result = run(corpora, "--train-on", "songs")

    assert result.exit_code != 0
    assert "songs" in result.output


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_the_picture_shows_what_was_answered(theme: Theme) -> None:
    clips = clips_of(("plays", SPEAKERS, [0, 1, 2, 3]), ("films", SPEAKERS, [0, 1, 2, 3]))
    answers = ask(clips, [Question("within", "plays"), Question("left_out", "films")], 3, ["plays"], told)

    picture = layer_picture(answers, "a heading", theme)

    assert picture.startswith(PNG)
    assert picture == layer_picture(answers, "a heading", theme)
    assert picture != layer_picture(answers[:2], "a heading", theme)
