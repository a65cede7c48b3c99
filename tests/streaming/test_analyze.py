from __future__ import annotations

import csv
import io
import json
import wave
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from click.testing import CliRunner

from streaming.analyze import FileResult, analyze, find_files
from streaming.analyze_cli import analyze as command
from streaming.analyze_output import AnalyzeOutput
from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import AudioFile, read_file
from streaming.config import PrivacySettings, Settings
from streaming.errors import RecognitionError
from streaming.exports.formats import FORMATS
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.shell import silence, speech
from tests.fakes.vad import LoudnessVad


def write(path: Path, *channels: Any) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(encode(np.stack(channels).T.reshape(-1), Encoding.PCM16))
    return path


def call(seconds: float = 1.5) -> Any:
    return np.concatenate([silence(0.5), speech(seconds), silence(1.0)])


def video_without_audio(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


async def run(*paths: Path, **options: Any) -> list[FileResult]:
    return await analyze(list(paths), Settings(), FakeRecognizer, vad=lambda _settings: LoudnessVad(), **options)


async def test_every_segment_gives_a_row_with_all_the_fields_of_the_contract(tmp_path: Path) -> None:
    (result,) = await run(write(tmp_path / "call.wav", np.concatenate([call(), call(2.0)])))
    assert [row["label"] for row in result.rows] == ["happy", "happy"]
    fields = [
        "file",
        "start_s",
        "end_s",
        "label",
        "scores",
        "attributes",
        "confidence",
        "abstained",
        "text",
        "language",
    ]
    assert all(field in row for row in result.rows for field in ["file", *fields])
    assert set(result.rows[0]["attributes"]) == {"arousal", "valence", "dominance"}
    assert result.rows[0]["end_s"] <= result.rows[1]["start_s"]


async def test_rows_tell_of_the_words_what_the_settings_allow(tmp_path: Path) -> None:
    settings = Settings(privacy=PrivacySettings(transcripts="masked"))
    files, listening = [write(tmp_path / "call.wav", call())], LoudnessVad
    (result,) = await analyze(files, settings, lambda: FakeRecognizer(lambda _: "room 12, a@b.de"), vad=listening)
    assert [(row["text"], row["label"]) for row in result.rows] == [("room ##, [email]", "happy")]


async def test_results_come_in_the_order_of_the_files_however_many_run_at_a_time(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{i}.wav", call(3.0 - i / 2)) for i in range(5)]
    seen: list[Path] = []
    results = await run(*files, jobs=3, on_result=lambda result: seen.append(result.path))
    assert [result.path for result in results] == seen == files


async def test_files_at_a_time_change_nothing_but_the_time_it_takes(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{i}.wav", call(1.0 + i / 4)) for i in range(4)]
    assert [r.rows for r in await run(*files, jobs=1)] == [r.rows for r in await run(*files, jobs=4)]


async def test_channels_are_kept_apart(tmp_path: Path) -> None:
    (result,) = await run(write(tmp_path / "stereo.wav", call(), silence(3.0)))
    assert [row["channel"] for row in result.rows] == [0]


async def test_a_file_where_nobody_speaks_gives_one_row_without_a_label(tmp_path: Path) -> None:
    (result,) = await run(write(tmp_path / "quiet.wav", silence(3.0)))
    assert result.error is None
    (row,) = result.rows
    assert (row["label"], row["start_s"], row["end_s"], row["text"]) == (None, 0.0, 3.0, "")


@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "no audio"])
async def test_a_file_that_cannot_be_read_is_named_and_the_others_are_done(tmp_path: Path, damage: str) -> None:
    bad = tmp_path / "bad.mp4"
    match damage:
        case "empty":
            bad.touch()
        case "garbage":
            bad.write_bytes(b"no media file" * 50)
        case "no audio":
            video_without_audio(bad)
    good = write(tmp_path / "good.wav", call())
    broken, fine = await run(bad, good)
    assert broken.error is not None
    assert str(bad) in broken.error
    assert broken.rows == []
    assert [row["label"] for row in fine.rows] == ["happy"]


async def test_a_file_that_breaks_off_gives_what_is_there_and_a_warning(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.wav", np.concatenate([call(), call()])).read_bytes()
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    (result,) = await run(cut)
    assert [row["label"] for row in result.rows] == ["happy"]
    assert result.warning is not None


async def test_a_failing_recogniser_is_an_error_of_its_file_alone(tmp_path: Path) -> None:
    bad, good = write(tmp_path / "bad.wav", call(4.0)), write(tmp_path / "good.wav", call(1.0))
    recognizer = FakeRecognizer(breaks_on=lambda request: request.duration_s > 3)
    broken, fine = await analyze(
        [bad, good], Settings(), lambda: recognizer, vad=lambda _settings: LoudnessVad(), jobs=2
    )
    assert broken.failed
    assert not fine.failed


def test_folders_are_searched_for_media_and_named_files_are_taken_as_they_are(tmp_path: Path) -> None:
    inside = tmp_path / "calls" / "deep"
    inside.mkdir(parents=True)
    for name in ("b.WAV", "a.flac", "notes.txt"):
        (inside / name).touch()
    odd = tmp_path / "recording.dat"
    assert find_files([tmp_path / "calls", odd, inside / "a.flac"]) == [inside / "a.flac", inside / "b.WAV", odd]


def test_the_command_prints_json_alone_and_exits_with_1_where_a_file_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.recognition.recognizer.load_recognizer", lambda _settings: FakeRecognizer())
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"garbage")
    done = CliRunner().invoke(command, ["--json", str(write(tmp_path / "quiet.wav", silence(2.0))), str(bad)])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert rows[0]["label"] is None
    assert set(rows[1]) == {"file", "error"}


def test_a_folder_without_media_is_misuse(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(tmp_path)])
    assert done.exit_code == 2
    assert "no audio or video file" in done.stderr


# --- one file at a time, as far as results go


async def test_what_a_speaker_sounded_like_is_known_before_the_next_segment_is_judged(tmp_path: Path) -> None:
    recognizer = FakeRecognizer()
    files = [write(tmp_path / f"{name}.wav", np.concatenate([call(), call(), call()])) for name in "ab"]
    await analyze(files, Settings(), lambda: recognizer, vad=lambda _settings: LoudnessVad())
    for batch in recognizer.batches:
        assert len({request.session for request in batch}) == len(batch)


async def test_the_language_of_a_sure_final_is_taken_for_the_segments_after_it(tmp_path: Path) -> None:
    recognizer = FakeRecognizer(language="de")
    file = write(tmp_path / "a.wav", np.concatenate([call(), call()]))
    await analyze([file], Settings(), lambda: recognizer, vad=lambda _settings: LoudnessVad())
    assert [request.language for batch in recognizer.batches for request in batch] == [None, "de"]


async def test_speech_that_only_pauses_is_recognised_once(tmp_path: Path) -> None:
    recognizer = FakeRecognizer()
    pausing = np.concatenate([silence(0.5), speech(1.0), silence(0.4), speech(1.0), silence(1.0)])
    (result,) = await analyze(
        [write(tmp_path / "a.wav", pausing)], Settings(), lambda: recognizer, vad=lambda _settings: LoudnessVad()
    )
    assert len(result.rows) == 1
    assert [len(batch) for batch in recognizer.batches] == [1]


async def test_a_fault_nobody_foresaw_is_an_error_of_its_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> AudioFile:
        if path.name == "bad.wav":
            raise MemoryError("too large")
        return read_file(path)

    monkeypatch.setattr("streaming.analyze.read_file", read)
    broken, fine = await run(write(tmp_path / "bad.wav", call()), write(tmp_path / "good.wav", call()))
    assert broken.error == "unexpected MemoryError: too large"
    assert not fine.failed


async def test_a_recogniser_that_cannot_be_loaded_is_the_callers_error(tmp_path: Path) -> None:
    def load() -> FakeRecognizer:
        raise RecognitionError("no weights")

    with pytest.raises(RecognitionError, match="no weights"):
        await analyze([write(tmp_path / "a.wav", call())], Settings(), load)


# --- channels and roles


async def test_both_sides_of_a_call_are_told_apart(tmp_path: Path) -> None:
    ours = np.concatenate([silence(2.5), speech(1.5), silence(1.0)])
    theirs = np.concatenate([silence(0.5), speech(1.5), silence(3.0)])
    (result,) = await run(write(tmp_path / "call.wav", theirs, ours))
    assert [(row["channel"], row["role"]) for row in result.rows] == [(0, "customer"), (1, "customer")]


async def test_one_voice_stored_on_both_channels_is_heard_once(tmp_path: Path) -> None:
    (result,) = await run(write(tmp_path / "dual-mono.wav", call(), call()))
    assert [row["channel"] for row in result.rows] == [0]


async def test_more_channels_than_a_server_takes_are_no_obstacle(tmp_path: Path) -> None:
    quiet = silence(3.0)
    (result,) = await run(write(tmp_path / "six.wav", quiet, quiet, call(), quiet, quiet, quiet))
    assert [row["channel"] for row in result.rows] == [2]


async def test_an_agent_is_transcribed_and_not_scored(tmp_path: Path) -> None:
    (result,) = await run(write(tmp_path / "a.wav", call()), roles=["agent"])
    (row,) = result.rows
    assert (row["role"], row["label"], row["scores"], row["abstained"]) == ("agent", None, {}, True)
    assert row["text"]


# --- the command


@pytest.fixture
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command with a recogniser and a detector of the tests."""
    monkeypatch.setattr("streaming.recognition.recognizer.load_recognizer", lambda _settings: FakeRecognizer())
    monkeypatch.setattr("streaming.analyze.analyze", partial(analyze, vad=lambda _settings: LoudnessVad()))


@pytest.mark.usefixtures("_fakes")
def test_people_get_a_table_and_the_reason_of_every_failure(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    write(tmp_path / "good.wav", call())
    write(tmp_path / "quiet.wav", silence(2.0))
    done = CliRunner().invoke(command, [str(tmp_path)])
    header, good, quiet = done.stdout.splitlines()
    assert header.split() == ["file", "from", "s", "to", "s", "ch", "emotion", "sure", "words"]
    assert "happy" in good
    assert "word1 word2" in good
    assert "no speech" in quiet
    assert done.stderr.splitlines() == [
        f"medusa: error: {tmp_path / 'empty.wav'} is empty",
        "medusa: error: 1 of 3 file(s) could not be read or recognised",
    ]
    assert done.exit_code == 1


@pytest.mark.usefixtures("_fakes")
def test_a_file_that_breaks_off_is_no_failure_but_said(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.wav", np.concatenate([call(), call()])).read_bytes()
    (tmp_path / "whole.wav").write_bytes(whole[: len(whole) * 6 // 10])
    done = CliRunner().invoke(command, [str(tmp_path), "--json"])
    assert done.exit_code == 0
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["happy"]
    assert "medusa: warning: " in done.stderr
    assert "is cut short" in done.stderr


@pytest.mark.usefixtures("_fakes")
def test_an_empty_folder_beside_others_is_named(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    good = write(tmp_path / "good.wav", call())
    done = CliRunner().invoke(command, ["--json", str(tmp_path / "nothing"), str(good)])
    empty, fine = [json.loads(line) for line in done.stdout.splitlines()]
    assert empty == {"file": str(tmp_path / "nothing"), "error": f"{tmp_path / 'nothing'} holds no audio or video file"}
    assert fine["label"] == "happy"
    assert done.exit_code == 1


@pytest.mark.parametrize("language", ["English", "", "EN", "en-GB"])
def test_a_language_that_is_no_code_is_misuse(language: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(tmp_path), "--language", language])
    assert done.exit_code == 2
    assert "no ISO 639 code" in done.stderr


def test_results_go_to_stdout_even_where_the_bar_has_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes stderr for a terminal
    path = tmp_path / "a.wav"
    with AnalyzeOutput([path], form=FORMATS["jsonl"]) as output:
        output.show(FileResult(path, [{"file": str(path), "text": "é" * 300}]))
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"file": str(path), "text": "é" * 300}
    assert "recognising" in captured.err


@pytest.mark.usefixtures("_fakes")
@pytest.mark.parametrize("form", ["jsonl", "csv", "emotionml"])
def test_all_recordings_are_one_document_on_stdout(tmp_path: Path, form: str) -> None:
    files = [str(write(tmp_path / name, call())) for name in ("a.wav", "b.wav")]
    done = CliRunner().invoke(command, ["--format", form, *files])
    assert done.exit_code == 0
    match form:
        case "jsonl":
            assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == files
        case "csv":
            assert [row["file"] for row in csv.DictReader(io.StringIO(done.stdout))] == files
        case _:
            root = ElementTree.fromstring(done.stdout)  # noqa: S314 - our own
            assert len(root.findall("{*}emotion")) == 2


@pytest.mark.usefixtures("_fakes")
@pytest.mark.parametrize("form", ["jsonl", "csv", "vtt", "emotionml"])
def test_each_recording_has_its_document_and_picture_in_a_folder(tmp_path: Path, form: str) -> None:
    files = [str(write(tmp_path / name, call())) for name in ("a.wav", "b.wav")]
    out, pictures = tmp_path / "out", tmp_path / "pictures"
    done = CliRunner().invoke(command, ["--format", form, "--out", str(out), "--plot", str(pictures), *files])
    assert (done.exit_code, done.stdout) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == [f"a.{form}", f"b.{form}"]
    assert all("happy" in path.read_text(encoding="utf-8") for path in out.iterdir())
    assert sorted(path.name for path in pictures.iterdir()) == ["a.svg", "b.svg"]
    assert all(ElementTree.parse(path).getroot().tag.endswith("svg") for path in pictures.iterdir())  # noqa: S314


@pytest.mark.usefixtures("_fakes")
def test_one_recording_is_subtitled_on_stdout(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--format", "vtt", str(write(tmp_path / "a.wav", call()))])
    assert done.stdout.startswith("WEBVTT\n\n00:00:00")
    assert "<c.happy>[happy " in done.stdout


@pytest.mark.usefixtures("_fakes")
def test_what_no_document_tells_is_said_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    write(tmp_path / "good.wav", call())
    done = CliRunner().invoke(command, ["--format", "csv", str(tmp_path)])
    assert len(done.stdout.splitlines()) == 2
    assert "empty.wav is empty" in done.stderr
    assert done.exit_code == 1


@pytest.mark.usefixtures("_fakes")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "vtt"], "one recording, these are 2"),
        (["--json", "--format", "csv"], "leave one of them out"),
        (["--out", "somewhere"], "--out needs to know a --format"),
        (["--format", "table", "--out", "somewhere"], "--out needs to know a --format"),
    ],
)
def test_formats_that_do_not_go_together_are_misuse(tmp_path: Path, options: list[str], said: str) -> None:
    files = [str(write(tmp_path / name, call())) for name in ("a.wav", "b.wav")]
    done = CliRunner().invoke(command, [*options, *files])
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())
