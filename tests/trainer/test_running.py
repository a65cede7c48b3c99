"""A whole run: whoever shares the work and however often it stops, the weights are the same."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.bundle import load_bundle
from tests.fakes.runs import MEMBERS, MODELS, VOICES, TinyData, TinyRun, assert_same_run
from trainer import running, stages
from trainer.artefacts import Artefacts
from trainer.assembly import RunSpec, assemble
from trainer.compute import CPU
from trainer.errors import RecipeError, TrainingStoppedError
from trainer.fitting import Watch
from trainer.running import Execution, run_stages, train_member
from trainer.variants import changed

RUN = """
import sys
from pathlib import Path
from trainer.assembly import RunSpec
from trainer.recipe import load_recipe
from trainer.running import Execution, run_stages
if __name__ == "__main__":
    recipe, corpora, features, folder = map(Path, sys.argv[1:5])
    print("ready", flush=True)
    run_stages(RunSpec(load_recipe(recipe), corpora, features, folder),
               Execution(int(sys.argv[5]), device="cpu", checkpoint_every_s=0.0))
"""
"""A run in a process of its own, with a checkpoint after every step."""


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(running.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


class Interrupted(Exception):  # noqa: N818 - stands in for a power cut
    """The machine went away."""


def started(tiny: TinyData, spec: RunSpec, jobs: int = 1) -> subprocess.Popen[str]:
    paths = (str(tiny.recipe_file), str(spec.corpora), str(spec.features), str(spec.folder))
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *paths, str(jobs)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class TestDeterminism:
    def test_interrupted_after_any_artefact_it_goes_on_to_the_same_weights_bit_for_bit(
        self, tiny: TinyData, whole_run: TinyRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec, save, saved = tiny.spec("interrupted"), Artefacts.save, []

        def save_and_stop(self: Artefacts, stage: str, name: str, *content: object) -> None:
            save(self, stage, name, *content)  # type: ignore[arg-type]
            saved.append((stage, name))
            raise Interrupted

        monkeypatch.setattr(Artefacts, "save", save_and_stop)
        for _ in MODELS:
            # Chance is used up differently every time: a run must not depend on what came before it.
            torch.manual_seed(len(saved))
            with pytest.raises(Interrupted):
                run_stages(spec)
        monkeypatch.undo()
        assert sorted(saved) == sorted(MODELS)
        assert_same_run(spec, whole_run.spec)

    def test_a_finished_run_trains_nothing_again(self, whole_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stages, "fit", _must_not_run)
        monkeypatch.setattr(running, "stage_1", _must_not_run)
        monkeypatch.setattr(running, "stage_2", _must_not_run)
        again = run_stages(whole_run.spec)
        assert (again.temperature, again.abstain_below) == (
            whole_run.trained.temperature,
            whole_run.trained.abstain_below,
        )

    def test_two_processes_give_what_one_gives(self, tiny: TinyData, whole_run: TinyRun) -> None:
        spec = tiny.spec("two-jobs")
        told: list[tuple[str, int, int, float]] = []
        run_stages(spec, Execution(jobs=2), announce=lambda *said: told.append(said))
        assert_same_run(spec, whole_run.spec)
        assert sorted(what for what, *_ in told[:3]) == [f"{name}, stages 1 and 2" for name in MEMBERS]
        assert [entry[1:3] for entry in told[:3]] == [(1, 3), (2, 3), (3, 3)]

    def test_it_trains_with_one_thread_whatever_the_process_had_and_gives_them_back(
        self, tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads: list[int] = []

        def counting(*_given: object, **_more: object) -> None:
            threads.append(torch.get_num_threads())
            raise Interrupted

        before = torch.get_num_threads()
        monkeypatch.setattr(running, "train_member", counting)
        torch.set_num_threads(2)
        try:
            with pytest.raises(Interrupted):
                run_stages(replace(tiny.spec("unused"), folder=tmp_path))
            assert (threads, torch.get_num_threads()) == ([1], 2)
        finally:
            torch.set_num_threads(before)

    def test_another_seed_gives_other_weights(self, tiny: TinyData, whole_run: TinyRun) -> None:
        spec = tiny.spec("other-seed", changed(whole_run.spec.recipe, seed=4))
        train_member(spec, "voice", assemble(spec))
        mine, theirs = (Artefacts(s).weights("stage2", "voice") for s in (spec, whole_run.spec))
        assert not torch.equal(mine["to_logits.weight"], theirs["to_logits.weight"])


class TestRefusing:
    def test_another_recipe_in_the_same_folder_is_refused_before_anything_is_trained(
        self, whole_run: TinyRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(running, "assemble", _must_not_run)
        other = replace(whole_run.spec, recipe=changed(whole_run.spec.recipe, seed=4))
        with pytest.raises(RecipeError, match="another recipe"):
            run_stages(other)

    def test_other_data_under_the_same_recipe_is_refused(self, tiny: TinyData, tmp_path: Path) -> None:
        spec = replace(tiny.spec("unused"), folder=tmp_path)
        Artefacts(spec).claim("of other corpora")
        with pytest.raises(RecipeError, match="other data"):
            run_stages(spec)

    def test_too_few_held_out_speakers_are_found_before_anything_is_trained(
        self, tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(running, "train_member", _must_not_run)
        recipe = changed(tiny.spec("unused").recipe, corpora=(VOICES,), quota={}, development_share=0.1)
        with pytest.raises(RecipeError, match="hold out more speakers"):
            run_stages(replace(tiny.spec("unused", recipe), folder=tmp_path))

    def test_a_member_the_recipe_has_not_is_named(self, tiny: TinyData, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match="the recipe has no member 'choir'"):
            spec = replace(tiny.spec("unused"), folder=tmp_path)
            train_member(spec, "choir", assemble(spec))


class TestStopping:
    def test_killed_at_random_moments_it_ends_with_the_same_weights(self, tiny: TinyData, whole_run: TinyRun) -> None:
        spec = tiny.spec("killed")
        chance = random.Random(11)
        killed = 0
        for _ in range(3):
            process = started(tiny, spec)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.1, 0.8))
            process.kill()
            killed += process.wait() == -signal.SIGKILL
        process = started(tiny, spec)
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert killed
        assert_same_run(spec, whole_run.spec)

    def test_asked_to_stop_it_leaves_a_checkpoint_and_goes_on_from_there(
        self, tiny: TinyData, whole_run: TinyRun, tmp_path: Path
    ) -> None:
        spec = replace(whole_run.spec, folder=tmp_path)
        artefacts, split = Artefacts(spec), assemble(spec)
        steps = iter([False, False, True])
        with pytest.raises(TrainingStoppedError, match="goes on from here"):
            train_member(spec, "voice", split, CPU, watch=Watch(stop=lambda: next(steps)))
        assert artefacts.checkpoint("stage1", "voice").is_file()
        train_member(spec, "voice", split)
        assert not list(tmp_path.rglob("*.checkpoint.safetensors"))
        for stage in ("stage1", "stage2"):
            mine, whole = (Artefacts(s).weights(stage, "voice") for s in (spec, whole_run.spec))
            assert [name for name in mine if not torch.equal(mine[name], whole[name])] == []

    @pytest.mark.parametrize(("number", "jobs"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
    def test_a_signal_to_one_process_stops_all_in_good_order(
        self, tiny: TinyData, number: signal.Signals, jobs: int
    ) -> None:
        spec = tiny.spec(f"signalled-{jobs}")
        process = started(tiny, spec, jobs)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        while process.poll() is None and not any(spec.folder.rglob("*.checkpoint.safetensors")):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.005)
        process.send_signal(number)
        _, said = process.communicate()
        assert process.returncode == 1
        assert "TrainingStoppedError: stopped as asked; the same command goes on from here" in said

    def test_a_damaged_checkpoint_is_named(self, whole_run: TinyRun, tmp_path: Path) -> None:
        spec = replace(whole_run.spec, folder=tmp_path)
        path = Artefacts(spec).checkpoint("stage1", "voice")
        path.parent.mkdir()
        path.write_bytes(b"half a file")
        with pytest.raises(RecipeError, match=r"voice\.checkpoint\.safetensors: damaged .* delete it"):
            train_member(spec, "voice", assemble(spec))

    def test_curves_are_written_for_tensorboard(self, whole_run: TinyRun) -> None:
        curves = Artefacts(whole_run.spec).curves("stage1", "both")
        assert [path.name.startswith("events.out.tfevents") for path in curves.iterdir()] == [True]


class TestRanks:
    def test_two_ranks_give_what_one_process_gives(self, tiny: TinyData, whole_run: TinyRun) -> None:
        spec = replace(whole_run.spec, folder=tiny.folder / "two-ranks" / whole_run.spec.recipe.name)
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        train = ["-m", "models.console", "train", "--recipe", str(tiny.recipe_file), "--device", "cpu", *tiny.options]
        places = ["--work", str(spec.folder.parent), "--out", str(spec.folder.parent / "bundle")]
        done = subprocess.run(
            [sys.executable, *torchrun, *train, *places], env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert_same_run(spec, whole_run.spec)
        assert len(done.stdout.splitlines()) == 1, "the leading rank alone says where the bundle is"
        assert len(load_bundle(spec.folder.parent / "bundle").manifest.members) == len(MEMBERS)


def _must_not_run(*_given: object, **_more: object) -> None:
    pytest.fail("it was trained again")
