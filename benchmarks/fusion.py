"""The fused ensemble against its members one by one, and against the hardware's limit."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.errors import BenchmarkError
from benchmarks.fusion_engines import CONTENDERS, ONE_BY_ONE
from benchmarks.fusion_measuring import TOLERANCE, compare
from benchmarks.fusion_picture import fusion_picture
from benchmarks.fusion_result import Outcome, Plan
from benchmarks.hardware_limits import measure_limits
from benchmarks.place import Place, busy_note, find_place, load_average
from benchmarks.shapes import BASE, SEED, SHAPES, TOKENS_PER_S, Shape, load_shape
from models.errors import ModelsError
from models.machine import this_machine, written
from trainer.canvas import LIGHT
from trainer.errors import TrainerError
from trainer.progress import terminal_progress

BATCHES: Final = (1, 8, 32, 128)
SECONDS: Final = (1.0, 3.0, 5.0, 10.0)
TIMES: Final = 50
BUDGET_S: Final = 60.0

_WORDS: Final = frozenset({"engine", "by"})
_WHOLE_FROM: Final = 100.0
_LIBRARIES: Final = ("torch", "onnxruntime")


def stated(shape: Shape, place: Place, plan: Plan, outcome: Outcome, load: float | None) -> dict[str, Any]:
    """What a run was measured under, for the result.

    Args:
        shape: the ensemble.
        place: device and threads.
        plan: what was to be measured.
        outcome: limits, and what is missing.
        load: average before the run.
    """
    return {
        "shape": shape.name,
        **shape.told,
        "members": len(shape.members),
        "parameters": shape.parameters,
        "device": place.device,
        "threads": place.threads,
        **asdict(plan),
        "input_seed": SEED,
        "tokens_per_s": TOKENS_PER_S,
        "frames": {f"{seconds:g}": shape.frames(seconds) for seconds in plan.seconds},
        "tolerance": dict(TOLERANCE),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "limits": {
            precision: {name: round(value, 1) for name, value in asdict(limits).items()}
            for precision, limits in outcome.limits.items()
        },
        "load_average": load,
        "busy": busy_note(load, this_machine().cores),
        "absent": outcome.absent,
        "left_out": [asdict(one) for one in outcome.left_out],
    }


def tables(outcome: Outcome) -> list[Table]:
    """The rows, for people: a table for each length of speech.

    `faster` is over the members one by one, `over` is the median over the limit.
    """
    made = []
    for seconds in dict.fromkeys(row.seconds for row in outcome.rows):
        shown = Table(title=f"{seconds:g} s of speech, ms a call", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for heading in ("batch", "engine", "ms", "p10 to p90", "faster", "limit", "by", "over"):
            shown.add_column(heading, justify="left" if heading in _WORDS else "right", no_wrap=True)
        rows = [row for row in outcome.rows if row.seconds == seconds]
        for batch, own in groupby(rows, key=lambda row: row.batch):
            for place, row in enumerate(own):
                shown.add_row(
                    "" if place else str(batch),
                    row.key,
                    _short(row.median_ms),
                    f"{_short(row.p10_ms)} to {_short(row.p90_ms)}",
                    f"{_short(row.speedup)}x",
                    _short(row.limit_ms),
                    row.limited_by,
                    f"{_short(row.limit_ratio)}x",
                )
            shown.add_section()
        made.append(shown)
    return made


def _short(number: float) -> str:
    """Three digits; more where there are more before the point."""
    return f"{number:.3g}" if number < _WHOLE_FROM else f"{number:.0f}"


def remarks(outcome: Outcome, load: float | None) -> list[str]:
    """What a reader of the table must know beside it, a line each."""
    said = [
        f"{precision}: memory is read at {limits.bandwidth_gb_s:.1f} GB/s, "
        f"matrices are multiplied at {limits.peak_gflop_s:.0f} GFLOP/s"
        for precision, limits in outcome.limits.items()
    ]
    for engine in dict.fromkeys(row.key for row in outcome.rows if row.engine != ONE_BY_ONE):
        away = max(row.difference for row in outcome.rows if row.key == engine)
        said.append(f"{engine} differs from {ONE_BY_ONE} by {away:.0e} at most")
    said += [f"{engine} is not measured: {reason}" for engine, reason in outcome.absent.items()]
    said += [f"{o.engine}, batch {o.batch}, {o.seconds:g} s is left out: {o.reason}" for o in outcome.left_out]
    note = busy_note(load, this_machine().cores)
    return [*said, note] if note else said


def write(folder: Path, report: dict[str, Any], outcome: Outcome, titles: dict[str, str]) -> list[Path]:
    """Writes the result as JSON and, where anything was measured, as a picture.

    Raises:
        TrainerError: matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    settings, machine = report["settings"], report["machine"]
    name = f"fusion-{settings['shape']}-{settings['device'].replace(':', '')}"
    files = [folder / f"{name}.json"]
    files[0].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if outcome.rows:
        threads = f"{settings['threads']} thread{'s' if settings['threads'] > 1 else ''}"
        where = f"{threads} of {machine['cpu']}" if settings["device"] == "cpu" else machine["gpu"]
        heading = (
            f"{settings['shape']}: {settings['members']} members, {settings['parameters'] / 1e6:.1f} M weights, {where}"
        )
        files.append(folder / f"{name}.png")
        files[1].write_bytes(fusion_picture(outcome.rows, titles, heading, LIGHT))
    return files


@click.command(epilog="Example: medusa bench fusion --shape base --batch 1 --batch 8 --seconds 3 --out bench-out")
@click.option(
    "--shape",
    "shape_name",
    type=click.Choice(SHAPES),
    default=BASE,
    show_default=True,
    help="A trained bundle, or the paper's 14 members with random weights.",
)
@click.option(
    "--bundle", default=None, help="Name or folder of the bundle that base stands for; the shipped one if none."
)
@click.option(
    "--batch", "batches", type=click.IntRange(min=1), multiple=True, default=BATCHES, show_default=True, help="Rows."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1, max=30.0),
    multiple=True,
    default=SECONDS,
    show_default=True,
    help="Of speech in each row.",
)
@click.option(
    "--engine",
    "engines",
    type=click.Choice(list(dict.fromkeys(contender.name for contender in CONTENDERS))),
    multiple=True,
    help="Beside the members one by one, which always run; all if none is named.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, or cuda:1 for the second GPU.")
@click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads; one a core if none.")
@click.option(
    "--times", type=click.IntRange(min=3), default=TIMES, show_default=True, help="Calls of each engine on each batch."
)
@click.option(
    "--budget",
    "budget_s",
    type=click.FloatRange(min=0.1),
    default=BUDGET_S,
    show_default=True,
    help="Seconds for one size of batch, all engines together; then it ends with fewer calls.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=None, help="Folder for JSON and picture."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(
    shape_name: str,
    bundle: str | None,
    batches: Sequence[int],
    seconds: Sequence[float],
    engines: Sequence[str],
    device: str,
    threads: int | None,
    times: int,
    budget_s: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measures members one by one and fused, in turn, beside what memory and arithmetic of this hardware allow."""
    if bundle is not None and shape_name != BASE:
        raise click.UsageError(f"--bundle goes with --shape {BASE}: {shape_name} has random weights")
    load = load_average()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    chosen = [one for one in CONTENDERS if not engines or one.name in {ONE_BY_ONE, *engines}]
    titles = {contender.key: contender.title for contender in chosen}
    plan = Plan(tuple(dict.fromkeys(batches)), tuple(dict.fromkeys(seconds)), times, budget_s)
    try:
        place = find_place(device, threads)
        shape = load_shape(shape_name, BASE if bundle is None else bundle)
        with terminal_progress(f"fusion, {shape.name}", plan.rounds, 0.0) as advance:
            outcome = compare(shape, place, plan, chosen, measure=measure_limits, advance=advance)
        report = written("fusion", stated(shape, place, plan, outcome, load), [asdict(row) for row in outcome.rows])
        files = [] if out is None else write(out, report, outcome, titles)
    except (BenchmarkError, ModelsError, TrainerError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        console = Console()
        for shown in tables(outcome):
            console.print(shown)
        for remark in remarks(outcome, load):
            console.print(remark, style="dim", markup=False, highlight=False)
        for file in files:
            console.print(f"wrote {os.fspath(file)}", markup=False, highlight=False)


if __name__ == "__main__":
    main()
