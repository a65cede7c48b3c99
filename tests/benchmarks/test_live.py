"""`medusa bench live` from end to end, on servers whose recogniser is a fake."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from benchmarks import live
from benchmarks.live_clients import send_in_time
from benchmarks.live_reference import offline_segments, offline_word_errors
from benchmarks.live_server import ServerKind
from benchmarks.report_files import file_stem
from benchmarks.spoken_clips import Clip
from streaming.audio.codecs import Encoding, encode
from streaming.config import Settings
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.shell import silence, speech
from tests.fakes.vad import LoudnessVad

FAKE = "tests.fakes.live_server"
KINDS = MappingProxyType({"medusa": ServerKind(FAKE, ()), "plain": ServerKind(FAKE, ())})
CLIPS = [Clip(Path("loud.flac"), np.concatenate([speech(0.6), silence(0.6)]), "word1 word2")]


@pytest.fixture
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KINDS", KINDS)
    monkeypatch.setattr(live, "spoken_clips", lambda _corpus, _limit: CLIPS)


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(live.main, list(arguments))


@pytest.mark.usefixtures("_fakes")
def test_a_run_streams_in_real_time_and_writes_what_it_found(tmp_path: Path) -> None:
    short = ("--minutes", "0.05", "--warm-up", "1", "--patience", "5", "--no-offline")
    result = bench(*short, "--server", "medusa", "--streams", "2", "--streams-a-process", "1", "--out", str(tmp_path))

    assert result.exit_code == 0, result.output
    (written,) = tmp_path.glob("live-*.json")
    report = json.loads(written.read_text(encoding="utf-8"))
    (row,) = report["results"]
    assert report["benchmark"] == "live"
    assert (row["server"], row["streams"], row["client_processes"]) == ("medusa", 2, 2)
    assert row["failures"] == []
    assert row["finals"] == row["finals_expected"] >= 2
    assert 0 <= row["compute_p50_ms"] <= row["compute_p95_ms"] <= row["total_p95_ms"]
    assert row["total_p50_ms"] == pytest.approx(600 + row["compute_p50_ms"], abs=200)
    assert row["sender_late_p95_ms"] is not None
    assert report["settings"]["largest"]["medusa"]["1500"]["streams"] in {0, 2}
    assert len(list(tmp_path.glob("live-*.png"))) == 2
    assert "sent late" in result.stdout


async def test_audio_is_sent_when_its_last_sample_would_have_been_spoken() -> None:
    now_s, sent, late_ms = 0.0, [], []  # type: ignore[var-annotated]

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    async def send(message: bytes) -> None:
        nonlocal now_s
        sent.append((round(now_s, 3), len(message)))
        now_s += 0.15 if len(sent) == 2 else 0.0

    data = bytes(32_000 // 100 * 45)
    await send_in_time(send, data, chunk_s=0.1, clock=lambda: now_s, sleep=sleep, late_ms=late_ms)

    assert sent == [(0.1, 3200), (0.2, 3200), (0.35, 3200), (0.4, 3200), (0.45, 1600)]
    assert late_ms == pytest.approx([0, 0, 50, 0, 0])


async def test_the_same_audio_is_recognised_offline(tmp_path: Path) -> None:
    paths = []
    for stream in range(2):
        path = tmp_path / f"{stream}.pcm"
        audio = np.concatenate([silence(0.5), speech(2.0), silence(1.0)])
        path.write_bytes(encode(audio, Encoding.PCM16))
        paths.append(path)
    recognizer, done = FakeRecognizer(), []

    found = await offline_segments(
        paths, Settings(), lambda: recognizer, language="en", done=lambda: done.append(1), vad=LoudnessVad
    )

    assert [len(own) for own in found] == [1, 1]
    (segment,) = found[0]
    assert segment.label == "happy"
    assert segment.start_s < 0.5
    assert segment.end_s > 2.4
    assert offline_word_errors([segment.text, segment.text], found) == 0.0
    assert done == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--streams", "1,x"], "no list of whole numbers"),
        (["--streams", "0"], "1 stream at least"),
        (["--server", "medusa,other"], "other is not known: there are medusa, plain"),
        (["--talkers", "shouting"], "shouting"),
    ],
)
def test_misuse_is_said(arguments: list[str], message: str) -> None:
    result = bench(*arguments)

    assert result.exit_code == 2
    assert message in result.output


def test_a_folder_without_clips_is_said(tmp_path: Path) -> None:
    result = bench("--corpus", str(tmp_path))

    assert result.exit_code == 1
    assert "refs.tsv does not exist" in result.output


@pytest.mark.parametrize(
    ("gpu", "particulars", "stem"),
    [
        (None, [], "live-2-cores"),
        (None, ["conversation"], "live-2-cores-conversation"),
        ("NVIDIA H200", [], "live-nvidia-h200"),
    ],
)
def test_files_are_named_for_the_machine(gpu: str | None, particulars: list[str], stem: str) -> None:
    assert file_stem("live", {"machine": {"gpu": gpu, "cores": 2}}, *particulars) == stem


def test_the_largest_number_is_looked_for_once_for_all_targets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from benchmarks.live_measuring import LivePlan, LiveRun
    from benchmarks.live_speech import TALKERS
    from tests.benchmarks.test_live_result import Client, row

    measured: list[tuple[str, int]] = []

    async def pretend(_run: LiveRun, server: str, streams: int, _name: str) -> Any:
        measured.append((server, streams))
        client = Client()
        client.segment(compute_ms=100.0 * streams)
        return row(client.record()), []

    monkeypatch.setattr(LiveRun, "measured", pretend)
    plan = LivePlan(TALKERS["continuous"], 1.0, 10.0, 1, "en", 16, 30.0)
    run = LiveRun(KINDS, CLIPS, plan, tmp_path, live.seconds_shown)

    largest = asyncio.run(live.measure(run, ["medusa"], [], [500.0, 1500.0], 64))

    assert largest == {
        "medusa": {"500": {"streams": 5, "open_ended": False}, "1500": {"streams": 15, "open_ended": False}}
    }
    assert len(measured) == len(set(measured))
