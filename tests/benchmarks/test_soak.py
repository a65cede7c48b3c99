"""Long runs: who calls when, what is claimed of the server, and a run of seconds on a fake recogniser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import soak
from benchmarks.live_records import StreamRecord
from benchmarks.live_result import Span
from benchmarks.live_server import ServerKind
from benchmarks.soak_calls import Call, plan_calls
from benchmarks.soak_result import Idle, SoakRow, soak_claims, soak_row
from benchmarks.soak_run import SoakPlan
from benchmarks.soak_watching import Look, gauges
from benchmarks.spoken_clips import Clip
from tests.benchmarks.test_live_result import Client
from tests.fakes.shell import silence, speech

CLIPS = [Clip(Path("loud.flac"), np.concatenate([speech(0.6), silence(0.6)]), "word1 word2")]
SPAN = Span(60.0, 660.0)


def looked(at_s: float, *, rss_mib: float = 400.0, descriptors: int = 30, tasks: int = 12) -> Look:
    return Look(at_s, at_s / 2, rss_mib, descriptors, 8, tasks, 1, 2)


def looks(growth_mib_per_min: float = 0.0) -> list[Look]:
    rng = np.random.default_rng(1)
    moments = np.arange(5.0, 660.0, 5.0)
    return [
        looked(float(at), rss_mib=400 + growth_mib_per_min * float(at) / 60 + float(rng.normal()), tasks=12 + n % 3)
        for n, at in enumerate(moments)
    ]


def calls_and_records(growth_ms_per_min: float = 0.0) -> tuple[list[Call], list[StreamRecord]]:
    """Eleven minutes of calls of a minute, each with six finals."""
    rng = np.random.default_rng(2)
    calls, records = [], []
    for number in range(11):
        client = Client(number)
        for place in range(6):
            compute_ms = 50 + growth_ms_per_min * (number + place / 6) + float(rng.normal())
            client.segment(place + 1, compute_ms=compute_ms)
        calls.append(Call(0, 60.0 * number, 0, 60.0))
        records.append(client.record())
    return calls, records


def run(
    *,
    seen: Sequence[Look] | None = None,
    growth_ms_per_min: float = 0.0,
    after: Look | None = None,
    faults: Sequence[str] = (),
) -> SoakRow:
    calls, records = calls_and_records(growth_ms_per_min)
    idle = Idle(looked(0.0), after or looked(0.0))
    return soak_row(calls, records, seen or looks(), SPAN, idle=idle, faults=faults)


def test_lines_are_hardly_ever_silent_and_nobody_calls_beyond_the_end() -> None:
    planned = plan_calls(lines=4, seconds=1800.0, usual_s=180.0, seed=1)

    assert {call.line for call in planned.calls} == {0, 1, 2, 3}
    for line in range(4):
        own = [call for call in planned.calls if call.line == line]
        breaths = [later.begin_s - earlier.end_s for earlier, later in pairwise(own)]
        assert len(own) > 5
        assert own[0].begin_s <= 180.0
        assert all(0.0 < breath_s <= 3.1 for breath_s in breaths)
        assert 1800.0 - 8.1 <= own[-1].end_s <= 1800.0
    assert all(call.seconds <= planned.lengths_s[call.recording] for call in planned.calls)
    assert all(90.0 <= length_s <= 270.0 for length_s in planned.lengths_s)


def test_calls_are_the_same_for_the_same_seed_alone() -> None:
    def planned(seed: int) -> object:
        return plan_calls(lines=3, seconds=600.0, usual_s=60.0, seed=seed)

    assert planned(1) == planned(1) != planned(2)


def test_nobody_calls_on_no_line() -> None:
    with pytest.raises(ValueError, match="0 lines"):
        plan_calls(lines=0, seconds=60.0, usual_s=60.0, seed=1)


def test_a_run_in_which_nothing_grows_bears_out_every_claim() -> None:
    row = run()

    assert [claim.what for claim in soak_claims(row) if not claim.holds] == []
    assert (row.finals, row.finals_expected, row.calls) == (66, 66, 11)
    assert row.rss.slope is not None
    assert row.rss.slope.low <= 0 <= row.rss.slope.high
    assert len(row.rss.means) == len(row.lag.means) == 20
    assert (row.tasks.begin, row.tasks.end) == ((12, 14), (12, 14))
    assert row.cpu_cores == 0.5


@pytest.mark.parametrize(
    ("row", "failing"),
    [
        (run(seen=looks(growth_mib_per_min=1.0)), "memory does not drift"),
        (run(growth_ms_per_min=2.0), "lag does not drift"),
        (run(after=looked(0.0, descriptors=31)), "no more open files after than before"),
        (run(after=looked(0.0, tasks=13)), "no more tasks after than before"),
        (run(faults=["the server ended"]), "every final came, every session ended in order"),
    ],
)
def test_whatever_grows_or_breaks_refutes_its_claim_alone(row: SoakRow, failing: str) -> None:
    assert [claim.what for claim in soak_claims(row) if not claim.holds] == [failing]


def test_a_run_too_short_to_tell_shows_nothing() -> None:
    short = [one for one in looks() if one.at_s < 120.0]

    claims = {claim.what: claim for claim in soak_claims(run(seen=short))}

    assert not claims["memory does not drift"].holds
    assert "too short" in claims["memory does not drift"].found


def test_figures_without_labels_are_read_from_metrics() -> None:
    text = '# HELP medusa_tasks Tasks.\nmedusa_tasks 12.0\nmedusa_errors_total{code="x"} 3.0\nmedusa_queue_depth 0.0\n'

    assert gauges(text) == {"medusa_tasks": 12.0, "medusa_queue_depth": 0.0}


def test_a_run_of_seconds_makes_calls_and_writes_what_it_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(soak, "KINDS", MappingProxyType({"medusa": ServerKind("tests.fakes.live_server", ())}))
    monkeypatch.setattr(soak, "spoken_clips", lambda _corpus, _limit: CLIPS)
    monkeypatch.setattr(soak, "SoakPlan", partial(SoakPlan, look_every_s=0.5))

    short = ("--minutes", "0.06", "--warm-up", "1", "--call-minutes", "0.03", "--streams", "2", "--patience", "5")
    done = CliRunner().invoke(soak.main, [*short, "--out", str(tmp_path)])

    # Seconds are too short for a slope, so the command says that its claims are not borne out.
    assert done.exit_code == 1, done.output
    assert "too short to tell" in done.stdout
    (written,) = tmp_path.glob("soak-*.json")
    report = json.loads(written.read_text(encoding="utf-8"))
    (row,) = report["results"]
    claims = {claim["what"]: claim["holds"] for claim in report["settings"]["claims"]}
    assert row["failures"] == []
    assert row["calls"] >= 3
    assert row["finals"] == row["finals_expected"] >= 3
    assert claims["no more tasks after than before"]
    assert claims["no more open files after than before"]
    assert row["tasks"]["begin"] is not None
    assert len(list(tmp_path.glob("soak-*.png"))) == 1
