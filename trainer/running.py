"""A whole run: who trains which member where, what happens once all are there, and how it is taken up again."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from typing import Final, Literal

import torch

from models.deepser import DeepSER
from trainer.artefacts import Artefacts
from trainer.assembly import RunSpec, assemble, fingerprint_of
from trainer.compute import AUTO, CPU, Compute, choose_compute
from trainer.errors import RecipeError, TrainerError, TrainingStoppedError
from trainer.fitting import Watch
from trainer.journal import tensorboard_curves
from trainer.members import TrainedMember, member_config, stage_1, stage_2
from trainer.ranks import Ranks
from trainer.splits import Split
from trainer.stages import (
    Announce,
    TrainedEnsemble,
    announcing,
    answers_of,
    left_out,
    load_members,
    stage_3,
    stage_4,
)
from trainer.stopping import CHECKPOINT_EVERY_S, stopped_by_signals

_LOOK_S: Final = 0.5
"""How often a process that waits for others looks whether it was asked to stop."""

Stage = Literal["stage1", "stage2"]
_TITLES: Final[dict[Stage, str]] = {"stage1": "stage 1", "stage2": "stage 2"}


@dataclass(frozen=True, slots=True)
class Execution:
    """How a run is carried out; none of it changes what comes out on CPU."""

    jobs: int = 1
    """Members trained at the same time, each in a process of its own with one thread."""
    device: str = AUTO
    """As PyTorch names it; `auto` takes a GPU where there is one."""
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    """Time between two checkpoints of a member."""
    ranks: Ranks = field(default_factory=Ranks)


def run_stages(
    spec: RunSpec, execution: Execution | None = None, *, announce: Announce | None = None
) -> TrainedEnsemble:
    """All four stages, or what is left of them.

    Args:
        spec: the run.
        execution: where and how; one process on the best device by default.
        announce: told after every epoch, where one process trains; after every member, where several do.

    Returns:
        The ensemble; the same for the same seed, however often the run was interrupted and whatever shared the work.

    Raises:
        CorpusError: a corpus or its features are missing.
        RecipeError: too few speakers to hold out, the folder holds another run, or there is no such device.
        TrainingStoppedError: SIGINT or SIGTERM came; the artefacts hold what was reached.
    """
    execution = execution or Execution()
    with one_thread(), stopped_by_signals() as stop:
        split = _claim(spec)
        _train_members(spec, split, execution, announce, stop)
        execution.ranks.barrier()
        artefacts = Artefacts(spec)
        members = load_members(artefacts, spec.recipe, split.train.dims)
        answers = answers_of(members, split.for_meta)
        if execution.ranks.leads:
            stage_3(answers, artefacts, spec.recipe, announce, stop)
        execution.ranks.barrier()
        return stage_4(answers, artefacts, spec.recipe, members, split.train.standardisation, split.development)


def _claim(spec: RunSpec) -> Split:
    """The run's examples; its folder is theirs from now on."""
    artefacts = Artefacts(spec)
    split = assemble(spec)
    artefacts.claim(fingerprint_of(split, spec.recipe))
    # What stage 3 cannot do is better known before stage 1 than after stage 2.
    left_out(split.for_meta, spec.recipe, 0)
    return split


def _train_members(
    spec: RunSpec, split: Split, execution: Execution, announce: Announce | None, stop: Callable[[], bool]
) -> None:
    artefacts, ranks = Artefacts(spec), execution.ranks
    own = ranks.share([member.name for member in spec.recipe.members])
    waiting = [name for name in own if not artefacts.has("stage2", name)]
    if execution.jobs > 1 and len(waiting) > 1:
        _train_in_processes(spec, waiting, execution, announce, stop)
        return
    compute = choose_compute(execution.device, spec.recipe.precision, worker=ranks.local_rank)
    watch = Watch(stop=stop, checkpoint_every_s=execution.checkpoint_every_s)
    for name in waiting:
        train_member(spec, name, split, compute, announce=announce, watch=watch)


def _train_in_processes(
    spec: RunSpec, waiting: Sequence[str], execution: Execution, announce: Announce | None, stop: Callable[[], bool]
) -> None:
    """Trains members side by side; each process has a number, by which several GPUs are dealt out.

    Asked to stop, it asks them: a terminal's Ctrl-C reaches all, another signal this process alone.
    """
    artefacts = Artefacts(spec)
    workers = min(execution.jobs, len(waiting))
    free = list(range(workers))
    running: dict[concurrent.futures.Future[str], int] = {}
    done = 0

    def finish_one() -> None:
        nonlocal done
        finished: set[concurrent.futures.Future[str]] = set()
        asked = False
        while not finished:
            if stop() and not asked:
                asked = True
                for process in multiprocessing.active_children():
                    process.terminate()
            finished = concurrent.futures.wait(running, _LOOK_S, concurrent.futures.FIRST_COMPLETED).done
        for future in finished:
            free.append(running.pop(future))
            name = future.result()
            done += 1
            if announce is not None:
                best = float(artefacts.report("stage2", name)["best_macro_f1"])
                announce(f"{name}, stages 1 and 2", done, len(waiting), best)

    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for name in waiting:
                if not free:
                    finish_one()
                number = free.pop()
                worker = execution.ranks.local_rank * workers + number
                given = (spec, name, execution.device, execution.checkpoint_every_s, worker)
                running[pool.submit(_train_in_worker, *given)] = number
            while running:
                finish_one()
        except BrokenProcessPool as error:
            if stop():  # it reached a process before that was ready to stop in good order, with nothing to lose yet
                raise TrainingStoppedError from error
            raise TrainerError(
                "a training process was killed; the same command goes on from its last checkpoint"
            ) from error


def _train_in_worker(spec: RunSpec, name: str, device: str, checkpoint_every_s: float, worker: int) -> str:
    compute = choose_compute(device, spec.recipe.precision, worker=worker)
    with one_thread(), stopped_by_signals(patient=True) as stop:
        train_member(spec, name, assemble(spec), compute, watch=Watch(stop=stop, checkpoint_every_s=checkpoint_every_s))
    return name


def train_member(
    spec: RunSpec,
    name: str,
    split: Split,
    compute: Compute = CPU,
    *,
    announce: Announce | None = None,
    watch: Watch | None = None,
) -> None:
    """Stages 1 and 2 of one member, from where its artefacts say it is.

    Args:
        spec: the run.
        name: of the member in the recipe.
        split: the run's examples.
        compute: device and precision.
        announce: told after every epoch.
        watch: says how often checkpoints are written and when to stop; curves and checkpoints go to the run's folder.

    Raises:
        RecipeError: the recipe has no such member.
        TrainingStoppedError: the watch said so.
    """
    artefacts, recipe = Artefacts(spec), spec.recipe
    member = next((m for m in recipe.members if m.name == name), None)
    if member is None:
        raise RecipeError(f"the recipe has no member {name!r}")

    def fitted(stage: Stage, train: Callable[[Watch], TrainedMember]) -> None:
        if artefacts.has(stage, name):
            return
        checkpoint = artefacts.checkpoint(stage, name)
        with tensorboard_curves(artefacts.curves(stage, name)) as scalar:
            own = replace(watch or Watch(), scalar=scalar, checkpoint=checkpoint)
            trained = train(announcing(own, announce, f"{name}, {_TITLES[stage]}"))
        artefacts.save(stage, name, trained.model.state_dict(), asdict(trained.report))
        checkpoint.unlink(missing_ok=True)

    fitted("stage1", lambda own: stage_1(member, recipe, split, compute, own))
    start = DeepSER(member_config(member, recipe, split.train.dims))
    start.load_state_dict(artefacts.weights("stage1", name))
    fitted("stage2", lambda own: stage_2(start, member, recipe, split, compute, own))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes with one thread inside the block: sums over several come out in another last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
