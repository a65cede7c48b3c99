"""`medusa bench live --simulate` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from benchmarks import live, live_simulation
from benchmarks.spoken_clips import Clip
from models.console import medusa
from tests.fakes.command_lines import parse
from tests.fakes.markdown import shell_commands
from tests.fakes.recognizer import FakeRecognizer

SHORT = ("--seconds", "3", "--ramp", "3")


def simulated(*arguments: str) -> Result:
    return CliRunner().invoke(medusa, ["bench", "live", "--simulate", *arguments])


def test_it_writes_what_it_found_and_says_what_was_assumed(tmp_path: Path) -> None:
    result = simulated(*SHORT, "--sessions", "100", "--out", str(tmp_path))

    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "live-simulation.json").read_text(encoding="utf-8"))
    (row,) = report["results"]
    assert report["benchmark"] == "live-simulation"
    assert report["settings"]["service_times"]["origin"] == "assumed"
    assert row["finals_answered"] == row["finals_asked"] > 0
    assert (tmp_path / "live-simulation.png").read_bytes().startswith(b"\x89PNG")
    assert "assumed: nothing was measured" in " ".join(result.stdout.split())


def test_as_json_it_prints_the_one_object_alone() -> None:
    report = json.loads(simulated(*SHORT, "--sessions", "50", "--json", "--greedy", "3").stdout)

    assert report["settings"]["greedy_voices"] == 3
    assert report["results"][0]["greedy_served"] is not None


def test_a_load_is_as_many_sessions_as_take_that_share_of_the_capacity() -> None:
    report = json.loads(simulated(*SHORT, "--load", "0.1", "--json").stdout)
    (row,) = report["results"]

    assert row["load"] == 0.1
    assert report["settings"]["sessions"] == pytest.approx(0.1 * row["capacity_sessions"], abs=0.1)


def test_service_times_from_a_file_are_used(tmp_path: Path) -> None:
    table = json.loads(live_simulation.ASSUMED_GPU.read_text(encoding="utf-8"))
    slow = {**table, "batches": [{**row, "each_s": 10 * row["each_s"]} for row in table["batches"]]}
    (tmp_path / "slow.json").write_text(json.dumps(slow), encoding="utf-8")

    quick = json.loads(simulated(*SHORT, "--load", "0.1", "--json").stdout)
    slowly = json.loads(
        simulated(*SHORT, "--load", "0.1", "--json", "--service-times", str(tmp_path / "slow.json")).stdout
    )

    assert slowly["results"][0]["capacity_sessions"] < 0.5 * quick["results"][0]["capacity_sessions"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sessions", "5", "--load", "0.5"], "give one of them"),
        (["--measure", "--service-times", str(live_simulation.ASSUMED_GPU)], "give one of them"),
        (["--streams", "3"], "No such option"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], message: str) -> None:
    result = simulated(*arguments)

    assert result.exit_code == 2
    assert message in result.output


def test_a_table_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.json").write_text("[]", encoding="utf-8")
    result = simulated("--service-times", str(tmp_path / "wrong.json"))

    assert result.exit_code == 1
    assert "wrong.json is no table of service times" in result.output


def test_service_times_are_measured_here_and_kept_for_another_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = Clip(Path("loud.flac"), np.ones(16_000 * 31, np.float32), "word")
    monkeypatch.setattr(live_simulation, "load_recognizer", lambda _settings: FakeRecognizer())
    monkeypatch.setattr(live_simulation, "spoken_clips", lambda _corpus: [speech])

    result = simulated(*SHORT, "--sessions", "20", "--measure", "--out", str(tmp_path), "--json")
    again = simulated(*SHORT, "--sessions", "20", "--service-times", str(tmp_path / "service-times.json"), "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["settings"]["service_times"]["origin"] == "measured"
    assert json.loads(again.stdout)["results"] == json.loads(result.stdout)["results"]


def test_the_example_in_its_help_would_be_accepted() -> None:
    (command, *_) = shell_commands((live_simulation.main.epilog or "").removeprefix("Example: "))

    parse(command.words[1:])
    assert "--admission" in simulated("--help").output


def test_live_itself_tells_of_it() -> None:
    assert "--simulate" in CliRunner().invoke(medusa, ["bench", "live", "--help"]).output
    refused = CliRunner().invoke(live.main, ["--simulate"])
    assert refused.exit_code == 2
    assert "medusa bench live --simulate" in refused.output
