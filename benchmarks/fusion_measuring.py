"""One run of `medusa bench fusion`: contenders opened, checked against the reference, timed in turn, held to limits.

A contender whose answers are wrong is not timed, and what does not fit into memory or into the time there is, is left
out: both are reported with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Final

from benchmarks.fusion_engines import ONE_BY_ONE, Contender, ModuleEngine
from benchmarks.fusion_result import LeftOut, Outcome, Plan, Timed
from benchmarks.fusion_rounds import (
    IN_A_ROW,
    LEAST_ROUNDS,
    SHORT_S,
    WARM_SHARE,
    WARM_UPS,
    Times,
    difference,
    in_turn,
    settled,
)
from benchmarks.fusion_work import BYTES, Work, ensemble_work, working_bytes
from benchmarks.hardware_limits import Limits, Precision
from benchmarks.place import Place
from benchmarks.shapes import Shape
from models.engines.base import Engine, EngineOutput
from models.errors import ModelsError
from models.modalities import PaddedBatch
from trainer.progress import Advance

TOLERANCE: Final[Mapping[Precision, float]] = {"fp32": 1e-4, "fp16": 0.02, "bf16": 0.02}
"""Largest difference of any score from the reference at which an engine is timed."""
MEMORY_SHARE: Final = 0.8
"""Of what is free, that a call may take."""
CHECK_ROWS: Final = 4
"""Rows on which a reference on a GPU is itself compared with the CPU."""

MeasureLimits = Callable[[Place, Precision], Limits]


@dataclass(slots=True)
class _Run:
    shape: Shape
    place: Place
    plan: Plan
    advance: Advance
    opened: dict[str, tuple[Contender, Engine]] = field(default_factory=dict)
    timed: list[Timed] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def open(self, contenders: Sequence[Contender]) -> dict[str, str]:
        """Opens those that can be; returns the others with the reason."""
        absent: dict[str, str] = {}
        for contender in contenders:
            reason = contender.available(self.place)
            if reason is None:
                reason = self._too_large(self.shape.parameters * BYTES * contender.weight_copies)
            if reason is None:
                try:
                    self.opened[contender.key] = contender, contender.open(self.shape.ensemble, self.place)
                except (ModelsError, MemoryError, RuntimeError) as error:
                    reason = _told(error)
            if reason is not None:
                absent[contender.key] = reason
        return absent

    def setting(self, batch: int, seconds: float, limits: Mapping[Precision, Limits]) -> None:
        """Measures all that were opened on batches of one size."""
        done = 0

        def told() -> None:
            nonlocal done
            done += 1
            self.advance(1, 0.0)

        frames = self.shape.frames(seconds)
        work = ensemble_work(self.shape.members, frames, batch)
        leave = partial(self._leave, batch=batch, seconds=seconds)
        fitting = dict(self.opened)
        for name, (contender, _) in self.opened.items():
            reason = self._too_long(work, limits[contender.precision]) or self._too_large(
                self._call_bytes(contender, frames, batch)
            )
            if reason is not None:
                leave(name, reason)
                del fitting[name]
        if ONE_BY_ONE in fitting:
            self._time(fitting, batch, seconds, work, told)
        else:
            for name in fitting:
                leave(name, "there is nothing to compare with")
        self.advance(self.plan.times - done, 0.0)

    def _time(
        self,
        fitting: Mapping[str, tuple[Contender, Engine]],
        batch: int,
        seconds: float,
        work: Work,
        told: Callable[[], None],
    ) -> None:
        inputs = self.shape.inputs(batch, seconds)
        differences = self._checked(fitting, inputs, partial(self._leave, batch=batch, seconds=seconds))
        if ONE_BY_ONE not in differences:
            return

        def call(engine: Engine) -> None:
            engine.run(inputs)
            self.place.synchronise()

        def settle() -> None:
            self.place.synchronise()
            settled()

        runs = {name: partial(call, fitting[name][1]) for name in differences}
        warm = in_turn(runs, WARM_UPS, WARM_SHARE * self.plan.budget_s, least=1, settle=settle)
        slowest_s = max(min(own) for own in warm.values())
        in_a_row = min(IN_A_ROW, self.plan.times) if slowest_s < SHORT_S else 1
        rounds = -(-self.plan.times // in_a_row)
        taken_s = in_turn(runs, rounds, self.plan.budget_s, in_a_row=in_a_row, settle=settle, told=told)
        times = {name: Times.of(own) for name, own in taken_s.items()}
        self.timed += [
            Timed(fitting[n][0], batch, seconds, times[n], times[ONE_BY_ONE].median_ms, differences[n], work)
            for n in differences
        ]

    def _checked(
        self,
        fitting: Mapping[str, tuple[Contender, Engine]],
        inputs: Mapping[str, PaddedBatch],
        leave: Callable[[str, str], None],
    ) -> dict[str, float]:
        """How far the answers of each lie from the reference; without those that are wrong, or that give none."""
        wanted = self._true_answers(inputs) if self.place.on_gpu else None
        differences: dict[str, float] = {}
        for name in sorted(fitting, key=lambda name: name != ONE_BY_ONE):
            if name != ONE_BY_ONE and ONE_BY_ONE not in differences:
                leave(name, "there is nothing to compare with")
                continue
            contender, engine = fitting[name]
            try:
                found = engine.run(inputs)
            except Exception as error:  # noqa: BLE001 - whatever a library raises, the others go on
                leave(name, f"failed: {_told(error)}")
                continue
            away = difference(found, found if wanted is None else wanted)
            # Not `>`: a difference that is not a number must not pass.
            if away <= TOLERANCE[contender.precision]:
                differences[name] = away
            else:
                leave(name, f"wrong: differs by {away:.1e}, more than {TOLERANCE[contender.precision]:.0e}")
            if name == ONE_BY_ONE:
                wanted = found
        return differences

    def _true_answers(self, inputs: Mapping[str, PaddedBatch]) -> EngineOutput:
        """Of the CPU, on the first rows: a row scores the same in any batch."""
        some = {name: PaddedBatch(b.features[:CHECK_ROWS], b.lengths[:CHECK_ROWS]) for name, b in inputs.items()}
        ensemble = self.shape.ensemble
        return ModuleEngine(ensemble, ensemble.modalities, Place("cpu", self.place.threads)).run(some)

    def _call_bytes(self, contender: Contender, frames: Mapping[str, int], batch: int) -> int:
        inputs = sum(frames[modality.name] * modality.dim for modality in self.shape.ensemble.modalities)
        return BYTES * batch * inputs + working_bytes(
            self.shape.members,
            frames,
            batch,
            side_by_side=contender.side_by_side,
            keeps_scores=contender.keeps_scores,
        )

    def _too_large(self, needed: int) -> str | None:
        free = self.place.free_bytes()
        if free is None or needed <= MEMORY_SHARE * free:
            return None
        return f"needs about {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are free"

    def _too_long(self, work: Work, limits: Limits) -> str | None:
        call_s = limits.operations_ms(work) / 1e3
        least_s = call_s * len(self.opened) * LEAST_ROUNDS
        if least_s <= self.plan.budget_s:
            return None
        return (
            f"a call takes {call_s:.1f} s at the peak rate: {LEAST_ROUNDS} of each engine do not fit into "
            f"{self.plan.budget_s:g} s (--budget)"
        )

    def _leave(self, name: str, reason: str, *, batch: int, seconds: float) -> None:
        self.left_out.append(LeftOut(name, batch, seconds, reason))


def compare(
    shape: Shape,
    place: Place,
    plan: Plan,
    contenders: Sequence[Contender],
    *,
    measure: MeasureLimits,
    advance: Advance,
) -> Outcome:
    """Measures contenders on one ensemble.

    Args:
        shape: the ensemble.
        place: where.
        plan: batches, lengths, how often.
        contenders: the reference among them.
        measure: the limits of a place; done before and after, since the better of two is nearer to the truth.
        advance: told of every round that is done or will not be; there are `plan.rounds`.

    Raises:
        FeatureError: a modality's frame rate is not known, or a length is no length.
    """
    run = _Run(shape, place, plan, advance)
    with place.threads_set():
        absent = run.open(contenders)
        precisions = list(dict.fromkeys(contender.precision for contender, _ in run.opened.values()))
        before = {precision: measure(place, precision) for precision in precisions}
        for seconds, batch in product(plan.seconds, plan.batches):
            run.setting(batch, seconds, before)
        limits = {precision: before[precision].best(measure(place, precision)) for precision in precisions}
    rows = [timed.row(limits[timed.contender.precision]) for timed in run.timed]
    return Outcome(rows, run.left_out, absent, limits)


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
