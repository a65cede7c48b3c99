"""An ablation: everything compared on the same clips and seeds, nothing trained twice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.fakes.runs import LINES, MEMBERS, VOICES, TinyData
from trainer import running
from trainer.ablation import Ablation, Row
from trainer.ablation_report import ablation_picture, ablation_table
from trainer.assembly import RunSpec, assemble
from trainer.canvas import LIGHT
from trainer.errors import RecipeError
from trainer.running import Execution
from trainer.splits import Split
from trainer.training_cli import train
from trainer.variants import VARIANTS, WHOLE

CHOSEN = ("hard targets", "no stage 2", "greedy soup")


def ablation_of(tiny: TinyData, folder: Path, **values: object) -> Ablation:
    spec = replace(tiny.spec("unused"), folder=folder)
    chosen = tuple(variant for variant in VARIANTS if variant.name in CHOSEN)
    execution = Execution(device="cpu")
    return replace(Ablation(spec, VOICES, LINES, trials=2, folds=4, variants=chosen, execution=execution), **values)


@pytest.fixture(scope="module")
def trained() -> list[tuple[RunSpec, str]]:
    """Every member that was trained, with its run."""
    return []


@pytest.fixture(scope="module")
def rows(
    tiny: TinyData, tmp_path_factory: pytest.TempPathFactory, trained: list[tuple[RunSpec, str]]
) -> dict[tuple[str, str], Row]:
    train_member = running.train_member

    def watching(spec: RunSpec, name: str, *rest: object, **more: object) -> None:
        trained.append((spec, name))
        train_member(spec, name, *rest, **more)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "train_member", watching)
        found = ablation_of(tiny, tmp_path_factory.mktemp("ablation")).run(lambda _: None)
    return {(row.variant, row.corpus): row for row in found}


def test_there_is_a_row_of_every_variant_aggregation_and_size_on_both_corpora(
    rows: dict[tuple[str, str], Row],
) -> None:
    names = [name for name, corpus in rows if corpus == VOICES]
    assert names[0] == WHOLE
    assert set(CHOSEN) < set(names)
    assert {"soft voting", "hard voting", "SVM on scores", "single meta-classifier", "best member"} < set(names)
    assert {"1 of 3 members"} < set(names)
    assert names == [name for name, corpus in rows if corpus == LINES]


def test_all_are_scored_on_the_same_clips(rows: dict[tuple[str, str], Row]) -> None:
    # Two trials, each of two of eight speakers with eight clear clips, and of all eighteen clear clips of the other.
    assert {row.clips for (_, corpus), row in rows.items() if corpus == VOICES} == {32}
    assert {row.clips for (_, corpus), row in rows.items() if corpus == LINES} == {36}
    assert all(len(row.by_trial) == 2 for row in rows.values())


def test_differences_are_to_the_whole_recipe(rows: dict[tuple[str, str], Row]) -> None:
    for (_, corpus), row in rows.items():
        assert row.difference == pytest.approx(row.macro_f1 - rows[WHOLE, corpus].macro_f1)
        assert row.difference_low is not None
        assert row.difference_high is not None
        assert row.difference_low <= row.difference <= row.difference_high
    assert rows[WHOLE, VOICES].difference_low == rows[WHOLE, VOICES].difference_high == 0


def test_what_needs_no_other_members_takes_those_of_the_whole_recipe(
    rows: dict[tuple[str, str], Row], trained: list[tuple[RunSpec, str]]
) -> None:
    assert rows
    by_variant = Counter(spec.folder.name for spec, _ in trained)
    assert by_variant == {folder: 2 * len(MEMBERS) for folder in ("the-whole-recipe", "hard-targets", "no-stage-2")}


def test_nobody_who_is_scored_is_heard_and_trials_leave_out_others(trained: list[tuple[RunSpec, str]]) -> None:
    splits: dict[str, Split] = {}
    for spec, _ in trained:
        splits.setdefault(f"{spec.folder.parent.name}/{spec.folder.name}", assemble(spec))
    kept_from = {}
    for place, split in splits.items():
        heard = {e.speaker for side in (split.train, split.development) for e in side.examples}
        assert not any(speaker.startswith(LINES) for speaker in heard)
        kept_from[place] = {f"{VOICES}/s{i}" for i in range(8)} - heard
    assert {len(speakers) for speakers in kept_from.values()} == {2}
    one, other = (kept_from[f"trial-{trial}/the-whole-recipe"] for trial in (1, 2))
    assert not one & other
    assert kept_from["trial-1/hard-targets"] == one


def test_more_trials_than_parts_are_refused(tiny: TinyData, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="5 trials need as many parts of the speakers, there are 4"):
        ablation_of(tiny, tmp_path, trials=5).run(lambda _: None)


def test_the_table_has_a_line_a_variant_and_the_picture_is_one(rows: dict[tuple[str, str], Row]) -> None:
    table = ablation_table(list(rows.values()))
    assert [line[1] for line in table.rows] == [name for name, corpus in rows if corpus == VOICES]
    assert {len(line) for line in table.rows} == {10}
    assert ablation_picture(list(rows.values()), LIGHT).startswith(b"\x89PNG")


class TestCommand:
    def test_it_writes_json_and_a_picture(self, tiny: TinyData, tmp_path: Path) -> None:
        result = CliRunner().invoke(
            train,
            [
                *("ablate", "--recipe", str(tiny.recipe_file), "--within", VOICES, "--left-out", LINES),
                *("--trials", "1", "--folds", "4", "--only", "late fusion", "--set", "stage1.epochs=1"),
                *("--out", str(tmp_path / "out"), "--work", str(tmp_path / "runs"), "--device", "cpu"),
                *tiny.options,
            ],
        )
        assert result.exit_code == 0, result.output
        written = json.loads((tmp_path / "out" / "ablation.json").read_text())
        assert (written["benchmark"], written["settings"]["changes"]) == ("ablation", ["stage1.epochs=1"])
        assert {"late fusion", WHOLE} <= {row["variant"] for row in written["results"]}
        assert (tmp_path / "out" / "ablation.png").read_bytes().startswith(b"\x89PNG")
        assert "late fusion" in result.stdout

    @pytest.mark.parametrize(
        ("within", "left_out", "only", "message"),
        [
            (VOICES, VOICES, "no MixUp", "are two of the recipe's corpora"),
            (VOICES, "elsewhere", "no MixUp", "are two of the recipe's corpora"),
            (VOICES, LINES, "no luck", "no variant ['no luck']: --list names them"),
        ],
    )
    def test_what_cannot_be_compared_is_said(
        self, tiny: TinyData, within: str, left_out: str, only: str, message: str
    ) -> None:
        given = ["--recipe", str(tiny.recipe_file), "--within", within, "--left-out", left_out, "--only", only]
        result = CliRunner().invoke(train, ["ablate", *given, *tiny.options])
        assert result.exit_code != 0
        assert message in f"{result.output}{result.exception}"

    def test_it_lists_what_it_changes(self, tiny: TinyData) -> None:
        given = ["--within", VOICES, "--left-out", LINES, "--list", *tiny.options]
        result = CliRunner().invoke(train, ["ablate", *given])
        assert result.exit_code == 0
        assert len(result.stdout.splitlines()) == len(VARIANTS)
