"""Service times: the file they come in, and how they are measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.service_measuring import line, measured_times
from benchmarks.service_table import ASSUMED_GPU, BUCKETS_S, load_service_table
from streaming.config import BatcherSettings
from streaming.recognition.request import RecognitionRequest, RecognitionResult
from tests.fakes.recognizer import FakeRecognizer

ASSUMED = json.loads(ASSUMED_GPU.read_text(encoding="utf-8"))


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "times.json"
    path.write_text(json.dumps({**ASSUMED, **changes}), encoding="utf-8")
    return path


def test_the_gpu_that_comes_with_it_is_said_to_be_assumed() -> None:
    table = load_service_table(ASSUMED_GPU)

    assert table.origin == "assumed"
    assert "assumed" in table.machine
    assert "assumed" in ASSUMED_GPU.name
    assert (
        table.batch_s(10.0, 8, words=False)
        < table.batch_s(10.0, 8, words=True)
        < 8 * table.batch_s(10.0, 1, words=True)
    )


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    table = load_service_table(ASSUMED_GPU).scaled(3.0)
    path = written(tmp_path, **table.to_json())

    assert load_service_table(path) == table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"service_times": 2}, "version 2"),
        ({"origin": "hearsay"}, "assumed, measured, got 'hearsay'"),
        ({"batches": ASSUMED["batches"][:-1]}, "each bucket"),
        ({"batches": [*ASSUMED["batches"], ASSUMED["batches"][0]]}, "each bucket"),
        ({"batches": [{**row, "once_s": -1} for row in ASSUMED["batches"]]}, "must take some time"),
        ({"batches": [{**row, "each_s": float("nan")} for row in ASSUMED["batches"]]}, "must take some time"),
        ({"batches": [{"window_s": 6}]}, "it needs service_times, machine, origin and batches"),
        ({"batches": 3}, "it needs service_times"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        load_service_table(written(tmp_path, **changes))


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "times.json").write_text("{", encoding="utf-8")

    with pytest.raises(BenchmarkError, match=r"times\.json cannot be read as JSON"):
        load_service_table(tmp_path / "times.json")


class TimedRecognizer(FakeRecognizer):
    """Pays something once and something for each second of audio, less without words."""

    now_s = 0.0

    def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
        assert len({self.window_s(request) for request in batch}) == 1
        words = 1.0 if batch[0].transcribe else 0.5
        self.now_s += words * (0.02 + 0.001 * len(batch) * self.window_s(batch[0]))
        return super().recognize(batch)


def test_a_straight_line_is_drawn_through_what_batches_took_in_every_bucket() -> None:
    recognizer, done = TimedRecognizer(), list[None]()
    table = measured_times(
        recognizer,
        [np.ones(16_000 * 40, np.float32)],
        BatcherSettings(),
        "a fake",
        clock=lambda: recognizer.now_s,
        done=lambda: done.append(None),
    )

    assert (table.machine, table.origin) == ("a fake", "measured")
    assert len(done) == len(table.times) == 2 * len(BUCKETS_S)
    for window_s in BUCKETS_S:
        assert table.batch_s(window_s, 2, words=True) == pytest.approx(0.02 + 0.002 * window_s)
        assert table.batch_s(window_s, 2, words=False) == pytest.approx(0.01 + 0.001 * window_s)
    assert max(map(len, recognizer.batches)) == 8


def test_too_little_speech_measures_nothing() -> None:
    with pytest.raises(BenchmarkError, match="3 s of speech do not fill a window of 30 s"):
        measured_times(FakeRecognizer(), [np.ones(48_000, np.float32)], BatcherSettings(), "a fake")


@pytest.mark.parametrize(
    ("seconds", "once_s", "each_s"),
    [([0.1, 0.2], 0.0, 0.1), ([0.3, 0.2], 0.25, 0.0), ([0.05, 0.2], 0.0, 0.09), ([0.3, 0.4], 0.2, 0.1)],
)
def test_no_batch_takes_less_than_nothing(seconds: list[float], once_s: float, each_s: float) -> None:
    found = line([1, 2], seconds)

    assert (found.once_s, found.each_s) == (pytest.approx(once_s, abs=1e-9), pytest.approx(each_s, abs=1e-9))
