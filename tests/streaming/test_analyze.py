from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner

from streaming.analyze import FileResult, analyze, find_files
from streaming.audio.codecs import Encoding, encode
from streaming.cli import analyze as command
from streaming.config import Settings
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
