"""Members fused and one by one, measured on an ensemble too small to take time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import fusion
from benchmarks.fusion import main, remarks, tables
from benchmarks.fusion_engines import CONTENDERS, ONE_BY_ONE, Contender
from benchmarks.fusion_measuring import compare
from benchmarks.fusion_picture import fusion_picture
from benchmarks.fusion_result import Outcome, Plan
from benchmarks.hardware_limits import Limits, Precision
from benchmarks.place import Place
from benchmarks.shapes import Shape, load_shape, random_shape
from models.engines.base import Engine, EngineOutput
from models.ensemble import Ensemble
from models.errors import EngineError
from tests.fakes.bundles import tiny_bundle
from trainer.canvas import DARK, LIGHT, Theme
from trainer.recipe import load_recipe

HERE = Place("cpu", 1)
PLAN = Plan(batches=(1, 3), seconds=(0.5, 1.0), times=4, budget_s=60.0)
ONE = Plan(batches=(2,), seconds=(0.5,), times=3, budget_s=60.0)
LIMITS = Limits(bandwidth_gb_s=10.0, peak_gflop_s=100.0)
PNG = b"\x89PNG"

ROW = {
    "type": "object",
    "additionalProperties": False,
    "required": ["engine", "batch", "seconds", "median_ms", "min_ms", "max_ms", "speedup", "limit_ratio"],
    "properties": {
        "engine": {"enum": ["one_by_one", "torch", "onnx", "tensorrt", "cuda_graph"]},
        "precision": {"enum": ["fp32", "fp16", "bf16"]},
        "limited_by": {"enum": ["bandwidth", "operations"]},
        **{name: {"type": "integer", "minimum": 1} for name in ("batch", "times")},
        **{
            name: {"type": "number", "exclusiveMinimum": 0}
            for name in (
                *("seconds", "median_ms", "p10_ms", "p90_ms", "min_ms", "max_ms"),
                *("speedup", "gflop", "limit_ms", "limit_ratio"),
            )
        },
        "difference": {"type": "number", "minimum": 0},
    },
}


@dataclass
class FakeEngine:
    """Says what it is told to, and remembers the sizes of batches."""

    away: float = 0.0
    fails_above: int = 99
    calls: list[int] = field(default_factory=list)
    name = "fake"
    modalities = ()

    def run(self, inputs: Any) -> EngineOutput:
        rows = len(next(iter(inputs.values())))
        self.calls.append(rows)
        if rows > self.fails_above:
            raise MemoryError
        scores = np.tile(np.array([0.25 + self.away, 0.75 - self.away], dtype=np.float32), (rows, 1))
        return EngineOutput(scores, np.full((rows, 3), 4.0, dtype=np.float32))


def contender(name: str, engine: Engine | None = None, **changes: Any) -> Contender:
    made = Contender(name, name, lambda _ensemble, _place: engine or FakeEngine(), lambda _place: None)
    return replace(made, **changes)


@pytest.fixture(scope="module")
def shape() -> Shape:
    return random_shape("tiny", load_recipe("medusa14", ["member_defaults.width=4"]), seed=3)


def measured(
    shape: Shape,
    *contenders: Contender,
    plan: Plan = ONE,
    limits: Callable[[Place, Precision], Limits] = lambda _place, _precision: LIMITS,
) -> Outcome:
    told: list[int] = []
    outcome = compare(shape, HERE, plan, contenders, measure=limits, advance=lambda count, _seconds: told.append(count))
    assert sum(told) == plan.rounds
    return outcome


def test_each_contender_is_timed_on_every_batch_and_length(shape: Shape) -> None:
    outcome = measured(shape, contender(ONE_BY_ONE), contender("onnx"), plan=PLAN)

    assert [(row.seconds, row.batch, row.engine) for row in outcome.rows] == [
        (seconds, batch, engine)
        for seconds in PLAN.seconds
        for batch in PLAN.batches
        for engine in (ONE_BY_ONE, "onnx")
    ]
    assert all(row.times == PLAN.times for row in outcome.rows)
    assert all(row.min_ms <= row.p10_ms <= row.median_ms <= row.p90_ms <= row.max_ms for row in outcome.rows)
    assert {row.speedup for row in outcome.rows if row.engine == ONE_BY_ONE} == {1.0}
    assert outcome.left_out == []


def test_the_limit_is_what_memory_and_arithmetic_allow(shape: Shape) -> None:
    before, after = Limits(1.0, 100.0), Limits(0.5, 200.0)
    found = iter([before, after])
    outcome = measured(shape, contender(ONE_BY_ONE), limits=lambda _place, _precision: next(found))

    assert outcome.limits == {"fp32": Limits(1.0, 200.0)}
    (row,) = outcome.rows
    assert row.limit_ratio == pytest.approx(row.median_ms / row.limit_ms, rel=0.01)


@pytest.mark.parametrize("away", [2e-4, 0.1, float("nan")])
def test_an_engine_whose_answers_are_wrong_is_not_timed(shape: Shape, away: float) -> None:
    wrong = FakeEngine(away=away)
    outcome = measured(shape, contender(ONE_BY_ONE), contender("onnx", wrong))

    assert [row.engine for row in outcome.rows] == [ONE_BY_ONE]
    assert wrong.calls == [2]
    (left_out,) = outcome.left_out
    assert (left_out.engine, left_out.batch, left_out.seconds) == ("onnx", 2, 0.5)
    assert left_out.reason.startswith("wrong: differs by")
    assert left_out.reason.endswith("more than 1e-04")


@pytest.fixture
def as_if_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is done on a GPU is done, on the CPU."""
    monkeypatch.setattr(Place, "on_gpu", property(lambda _place: True))
    monkeypatch.setattr(Place, "synchronise", lambda _place: None)
    monkeypatch.setattr(Place, "free_bytes", lambda _place: None)


@pytest.mark.usefixtures("as_if_on_a_gpu")
def test_on_a_gpu_the_reference_itself_is_held_to_the_cpu(shape: Shape) -> None:
    plan = replace(ONE, batches=(6,))
    outcome = measured(shape, *(one for one in CONTENDERS if one.name != "tensorrt"), plan=plan)
    assert outcome.absent.pop("onnx") == "runs on the CPU, what is measured here is cpu"
    assert outcome.absent.keys() == {"cuda_graph", "cuda_graph fp16", "cuda_graph bf16"}
    assert all("finds no CUDA device here" in reason for reason in outcome.absent.values())
    assert [row.engine for row in outcome.rows] == [ONE_BY_ONE, "torch"]

    astray = measured(shape, contender(ONE_BY_ONE), contender("torch"), plan=plan)
    assert astray.rows == []
    assert [one.engine for one in astray.left_out] == [ONE_BY_ONE, "torch"]
    assert astray.left_out[0].reason.startswith("wrong: differs by")


def test_a_reduced_precision_may_differ_as_much_as_its_gate_allows(shape: Shape) -> None:
    half = contender("tensorrt", FakeEngine(away=0.01), precision="fp16")
    outcome = measured(shape, contender(ONE_BY_ONE), half)

    assert [(row.engine, row.precision, row.difference) for row in outcome.rows] == [
        (ONE_BY_ONE, "fp32", 0.0),
        ("tensorrt", "fp16", pytest.approx(0.01, rel=0.01)),
    ]
    assert outcome.limits.keys() == {"fp32", "fp16"}


def test_one_engine_may_take_part_in_several_precisions(shape: Shape) -> None:
    both = (contender("tensorrt"), contender("tensorrt", precision="fp16"))
    outcome = measured(shape, contender(ONE_BY_ONE), *both)

    assert [(row.engine, row.precision) for row in outcome.rows][1:] == [("tensorrt", "fp32"), ("tensorrt", "fp16")]
    (table,) = tables(outcome)
    assert list(table.columns[1].cells) == [ONE_BY_ONE, "tensorrt", "tensorrt fp16"]


def test_an_engine_that_fails_on_one_batch_is_timed_on_the_others(shape: Shape) -> None:
    weak = contender("onnx", FakeEngine(fails_above=1))
    outcome = measured(shape, contender(ONE_BY_ONE), weak, plan=replace(PLAN, seconds=(0.5,)))

    assert [(row.engine, row.batch) for row in outcome.rows] == [(ONE_BY_ONE, 1), ("onnx", 1), (ONE_BY_ONE, 3)]
    assert [(one.batch, one.reason) for one in outcome.left_out] == [(3, "failed: MemoryError")]


def test_without_the_reference_nothing_is_timed(shape: Shape) -> None:
    outcome = measured(shape, contender("onnx"), contender(ONE_BY_ONE, FakeEngine(fails_above=0)))

    assert outcome.rows == []
    assert {one.engine: one.reason for one in outcome.left_out} == {
        ONE_BY_ONE: "failed: MemoryError",
        "onnx": "there is nothing to compare with",
    }


def test_engines_that_are_not_here_are_named_with_the_reason(shape: Shape) -> None:
    def refuses(_ensemble: Ensemble, _place: Place) -> Engine:
        raise EngineError("the driver is too old\nsee above")

    outcome = measured(
        shape,
        contender(ONE_BY_ONE),
        contender("tensorrt", available=lambda _place: "there is no GPU"),
        contender("cuda_graph", open=refuses),
    )

    assert outcome.absent == {"tensorrt": "there is no GPU", "cuda_graph": "the driver is too old"}
    assert [row.engine for row in outcome.rows] == [ONE_BY_ONE]


def test_what_does_not_fit_into_memory_is_left_out(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Place, "free_bytes", lambda _place: 2**22)
    alone = contender(ONE_BY_ONE, side_by_side=False, weight_copies=0)
    outcome = measured(shape, alone, contender("onnx", weight_copies=0), contender("torch", weight_copies=9), plan=PLAN)

    assert outcome.absent["torch"].startswith("needs about 0.1 GiB of memory, 0.0 GiB are free")
    timed = {(row.engine, row.batch, row.seconds) for row in outcome.rows}
    left_out = {(one.engine, one.batch, one.seconds) for one in outcome.left_out}
    assert (ONE_BY_ONE, 1, 0.5) in timed
    assert {("onnx", 3, 1.0), (ONE_BY_ONE, 3, 1.0)} <= left_out
    assert all("GiB are free" in one.reason for one in outcome.left_out)


def test_what_would_take_too_long_is_left_out(shape: Shape) -> None:
    slow = Limits(bandwidth_gb_s=1.0, peak_gflop_s=1e-6)
    outcome = measured(shape, contender(ONE_BY_ONE), limits=lambda _place, _precision: slow)

    assert outcome.rows == []
    (left_out,) = outcome.left_out
    assert "s at the peak rate: 3 of each engine do not fit into 60 s (--budget)" in left_out.reason


def test_the_engines_that_are_here_agree_on_a_bundle(tmp_path: Path) -> None:
    tiny = load_shape("base", tiny_bundle(tmp_path / "tiny").folder)
    outcome = measured(tiny, *CONTENDERS)

    assert [row.engine for row in outcome.rows] == ["one_by_one", "torch", "onnx"]
    assert all(row.difference < 1e-5 for row in outcome.rows)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits without the second it takes to measure them; a machine that was busy before."""
    monkeypatch.setattr(fusion, "measure_limits", lambda _place, _precision: LIMITS)
    monkeypatch.setattr(fusion, "load_average", lambda: 99.0)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    bundle = tiny_bundle(tmp_path / "tiny").folder
    size = ["--batch", "1", "--batch", "3", "--seconds", "0.5", "--times", "3", "--threads", "1"]
    return ["--bundle", str(bundle), "--engine", "onnx", *size]


@pytest.mark.usefixtures("quick")
def test_the_json_is_that_of_every_benchmark(command: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [*command, "--json", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output

    report = json.loads(result.stdout)
    assert report.keys() == {"benchmark", "version", "commit", "machine", "settings", "results"}
    assert report["benchmark"] == "fusion"
    for row in report["results"]:
        jsonschema.validate(row, ROW)
    assert [(row["batch"], row["engine"]) for row in report["results"]] == [
        (batch, engine) for batch in (1, 3) for engine in ("one_by_one", "onnx")
    ]
    settings = report["settings"]
    assert (settings["shape"], settings["bundle"], settings["device"], settings["threads"]) == (
        "base",
        "tiny",
        "cpu",
        1,
    )
    assert settings["limits"] == {"fp32": {"bandwidth_gb_s": 10.0, "peak_gflop_s": 100.0}}
    assert settings["load_average"] == 99.0
    assert settings["busy"].startswith("the machine was busy before: load average 99")
    assert json.loads((tmp_path / "out" / "fusion-base-cpu.json").read_text(encoding="utf-8")) == report
    assert (tmp_path / "out" / "fusion-base-cpu.png").read_bytes().startswith(PNG)
    assert str(tmp_path) not in result.stdout


@pytest.mark.usefixtures("quick")
def test_the_console_shows_a_table_and_what_to_know_beside_it(command: list[str]) -> None:
    result = CliRunner().invoke(main, command)

    assert result.exit_code == 0, result.output
    assert "0.5 s of speech" in result.stdout
    for said in ("one_by_one", "onnx", "operations", "10.0 GB/s", "onnx differs from one_by_one by", "was busy before"):
        assert said in " ".join(result.stdout.split())


def test_a_table_says_of_each_engine_how_fast_it_is_and_how_far_from_the_limit(shape: Shape) -> None:
    outcome = measured(shape, contender(ONE_BY_ONE), contender("onnx", FakeEngine(away=1.0)), plan=PLAN)
    outcome.absent["tensorrt"] = "there is no GPU"

    shown = tables(outcome)
    assert [table.title for table in shown] == ["0.5 s of speech, ms a call", "1 s of speech, ms a call"]
    assert [str(column.header) for column in shown[0].columns][:3] == ["batch", "engine", "ms"]
    assert [list(column.cells) for column in shown[0].columns][:2] == [["1", "3"], [ONE_BY_ONE, ONE_BY_ONE]]
    said = remarks(outcome, load=None)
    assert "tensorrt is not measured: there is no GPU" in said
    assert any(line.startswith("onnx, batch 3, 1 s is left out: wrong") for line in said)


@pytest.mark.parametrize(("theme", "plan"), [(LIGHT, ONE), (DARK, PLAN)], ids=["one batch", "many"])
def test_the_picture_is_drawn_of_one_batch_and_of_many(shape: Shape, theme: Theme, plan: Plan) -> None:
    titles = {ONE_BY_ONE: "one by one", "onnx": "ONNX Runtime"}
    outcome = measured(shape, contender(ONE_BY_ONE), contender("onnx"), plan=plan)
    assert fusion_picture(outcome.rows, titles, "tiny", theme).startswith(PNG)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "paper14", "--bundle", "base"], "--bundle goes with --shape base"),
        (["--device", "cuda:99"], "nothing can be measured on device 'cuda:99' here"),
        (["--bundle", "nosuch"], "no shipped bundle 'nosuch'"),
        (["--engine", "magic"], "'magic' is not one of"),
        (["--shape", "huge"], "'huge' is not one of"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code != 0
    assert message in result.output
