"""`medusa bench chaos` from end to end: seconds of it, on servers whose recogniser is a fake."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from benchmarks import chaos, chaos_recordings, chaos_run, soak_watching
from benchmarks.live_server import ServerKind
from benchmarks.spoken_clips import Clip
from tests.fakes.shell import silence, speech
from tests.fakes.vad import LoudnessVad

CLIPS = [Clip(Path("loud.flac"), np.concatenate([speech(0.6), silence(0.6)]), "word1 word2")]
FAKE = "tests.fakes.chaos_server"
SHORT = (
    *("--minutes", "0.06", "--streams", "2", "--call-seconds", "4", "--messages", "20", "--disconnects", "5"),
    *("--floods", "0", "--stalls", "0", "--patience", "20"),
)


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "KINDS", MappingProxyType({"medusa": ServerKind(FAKE, ("--port", "0"))}))
    monkeypatch.setattr(chaos, "INSIDE", FAKE)
    monkeypatch.setattr(chaos, "spoken_clips", lambda _corpus, _limit: CLIPS)
    monkeypatch.setattr(chaos, "make_vad", LoudnessVad)
    monkeypatch.setattr(chaos_recordings, "LENGTHS", (1.0, 1.0))
    monkeypatch.setattr(soak_watching, "_SETTLE_S", 0.2)
    monkeypatch.setattr(chaos_run, "_QUIET_S", 0.5)
    monkeypatch.setattr(chaos_run, "_BROKER_AWAY_BOUNDS_S", (0.1, 0.3))
    monkeypatch.setenv("MEDUSA_SERVER__RESUME_S", "1")


def bench(*arguments: str) -> tuple[Result, dict[str, Any]]:
    done = CliRunner().invoke(chaos.main, [*SHORT, *arguments, "--json"])
    return done, json.loads(done.stdout)


def test_broken_lines_a_killed_server_and_a_killed_broker_lose_nothing() -> None:
    done, report = bench("--broker-restarts", "2", "--kills", "1")

    (row,) = report["results"]
    assert [claim for claim in report["settings"]["claims"] if not claim["holds"]] == []
    assert done.exit_code == 0
    assert {name: one["done"] for name, one in row["faults"].items() if one["of"]} == {
        "client disconnected": 5,
        "message cut in half": 1,
        "broker stopped": 1,
        "broker killed": 1,
        "server killed": 1,
    }
    assert row["messages"]["done"] == 20
    assert row["lives"] == 2
    assert row["account"]["calls"] >= 2
    assert row["account"]["finals"] >= 2


def test_faults_inside_the_server_lose_nothing() -> None:
    done, report = bench("--broker-restarts", "0", "--inside", "--seed", "3")

    (row,) = report["results"]
    assert [claim for claim in report["settings"]["claims"] if not claim["holds"]] == []
    assert done.exit_code == 0
    assert row["lives"] == 1
    assert row["inside"]["full disks"] >= 1
    assert row["inside"]["clock leaps"] >= 1
