"""Streams beside clients that take more than their share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import bullies
from benchmarks.bullies_result import Phase, bullies_claims, ratio_of
from benchmarks.live_result import Span
from benchmarks.live_server import ServerKind
from benchmarks.spoken_clips import Clip
from tests.benchmarks.test_live_result import Client
from tests.fakes.shell import silence, speech

CLIPS = [Clip(Path("loud.flac"), np.concatenate([speech(0.6), silence(0.6)]), "word1 word2")]


def phase(bullied: bool, compute_ms: Sequence[float]) -> Phase:
    client = Client()
    for number, ms in enumerate(compute_ms, start=1):
        client.segment(number, compute_ms=ms)
    return Phase.of([client.record()], 1, Span(0.0, 1e6), bullied=bullied, bullies={})


def phases(*, factor: float) -> list[Phase]:
    rng = np.random.default_rng(1)
    return [phase(bullied, (100 + 10 * rng.random(40)) * (factor if bullied else 1.0)) for bullied in (False, True) * 3]


def test_bullies_that_change_little_are_borne() -> None:
    found = ratio_of(phases(factor=1.02), lambda one: one.compute_ms)

    assert found is not None
    assert found.low < found.ratio < found.high
    assert found.ratio == pytest.approx(1.02, abs=0.02)
    assert len(found.pairs) == 3
    assert [claim.holds for claim in bullies_claims(phases(factor=1.02))] == [True] * 3


def test_bullies_that_slow_the_others_are_told_beyond_the_silence_that_hides_them() -> None:
    every, compute, total = bullies_claims(phases(factor=1.3))

    assert every.holds
    assert not compute.holds
    assert "times 1.298" in compute.found
    assert total.holds


def test_a_final_that_is_missing_counts_whatever_the_percentiles() -> None:
    client = Client()
    client.segment(1)
    client.segment(2, final=False)
    broken = Phase.of([client.record()], 1, Span(0.0, 1e6), bullied=True, bullies={})

    every, *_ = bullies_claims([phase(False, [100.0]), broken])

    assert not every.holds
    assert every.found == "1 of 2 finals are missing"


def test_nothing_is_said_of_streams_without_finals() -> None:
    assert ratio_of([phase(False, []), phase(True, [])], lambda one: one.compute_ms) is None
    assert not any(claim.holds for claim in bullies_claims([phase(False, []), phase(True, [])]))


def test_a_run_of_seconds_takes_turns_and_writes_what_it_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bullies, "KINDS", MappingProxyType({"medusa": ServerKind("tests.fakes.live_server", ())}))
    monkeypatch.setattr(bullies, "spoken_clips", lambda _corpus, _limit: CLIPS)

    short = ("--streams", "1", "--pairs", "1", "--minutes", "0.05", "--warm-up", "0", "--patience", "20")
    done = CliRunner().invoke(bullies.main, [*short, "--out", str(tmp_path)])

    (written,) = tmp_path.glob("bullies-*.json")
    report = json.loads(written.read_text(encoding="utf-8"))
    alone, beside = report["results"]
    claims = [claim["holds"] for claim in report["settings"]["claims"]]
    assert done.exit_code == (0 if all(claims) else 1), done.output
    assert claims[0], done.output
    assert (alone["bullied"], beside["bullied"]) == (False, True)
    assert alone["bullies"] == {}
    assert beside["bullies"]["audio_s"] > 10
    assert beside["bullies"]["stalled_subscribers"] == 1
    assert report["settings"]["ratios"]["compute_p95"]["pairs"]
