"""`medusa bench live --simulate`: the scheduler alone on a virtual clock, for thousands of sessions."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from benchmarks import run_options
from benchmarks.errors import BenchmarkError
from benchmarks.live_speech import TALKERS, spoken_clips
from benchmarks.seconds_bar import seconds_shown
from benchmarks.service_measuring import measured_times
from benchmarks.service_table import ASSUMED_GPU, BUCKETS_S, ServiceTable, load_service_table
from benchmarks.simulated_capacity import capacity
from benchmarks.simulation import SimulationPlan, simulate
from benchmarks.simulation_report import remarks, simulation_table, write_files
from benchmarks.simulation_result import seconds_of, summed_up
from models.errors import ModelsError
from models.machine import this_machine, written
from streaming.config import Settings, load_settings
from streaming.errors import StreamingError
from streaming.recognition.recognizer import load_recognizer
from trainer.errors import TrainerError
from trainer.progress import terminal_progress

SESSIONS: Final = 2000
SECONDS: Final = 60.0
RAMP_S: Final = 30.0
STAY_S: Final = 120.0
SERVICE_TIMES_FILE: Final = "service-times.json"


@click.command(epilog="Example: medusa bench live --simulate --sessions 2000 --seconds 60 --out bench-out")
@click.option(
    "--service-times",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="JSON of batch times; by default those of a GPU that are assumed, not measured.",
)
@click.option("--measure", is_flag=True, help="Measure the batch times of this machine first; a minute or a few.")
@click.option(
    "--sessions",
    type=click.FloatRange(min=0, min_open=True),
    help=f"Open at once, on average.  [default: {SESSIONS}]",
)
@click.option(
    "--load",
    type=click.FloatRange(min=0, min_open=True, max=10),
    help="Instead: so many sessions that their finals take this share of the capacity, such as 0.8.",
)
@click.option("--seconds", type=click.FloatRange(min=1), default=SECONDS, show_default=True, help="Virtual, measured.")
@click.option(
    "--ramp",
    "ramp_s",
    type=click.FloatRange(min=1),
    default=RAMP_S,
    show_default=True,
    help="Virtual seconds before, in which sessions come until as many are open.",
)
@click.option(
    "--stay",
    "stay_s",
    type=click.FloatRange(min=1),
    default=STAY_S,
    show_default=True,
    help="Seconds that a session stays, on average.",
)
@click.option(
    "--talkers",
    type=click.Choice(list(TALKERS)),
    default="conversation",
    show_default=True,
    help="Speech with natural pauses, or as much silence as speech.",
)
@click.option("--greedy", type=click.IntRange(min=2), help="One session more, with so many voices at once.")
@click.option("--admission/--no-admission", default=True, help="Refuse sessions for which there is no room.")
@run_options.seed
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="config.toml: [batcher], [asr] and [vad] count; the defaults by default.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=None, help="Folder for JSON and a picture."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(
    service_times: Path | None,
    measure: bool,
    sessions: float | None,
    load: float | None,
    seconds: float,
    ramp_s: float,
    stay_s: float,
    talkers: str,
    greedy: int | None,
    admission: bool,
    seed: int,
    config: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Drives the scheduler alone on a virtual clock, with the times that a machine takes for batches.

    Sessions come by a Poisson process, speak, pause and go as the seed draws it, and ask as live sessions do; the
    scheduler of the server decides who is let in, what is computed when, and what is given up. Nothing is recognised.
    """
    if sessions is not None and load is not None:
        raise click.UsageError("--sessions and --load both say how many sessions there are: give one of them.")
    if measure and service_times is not None:
        raise click.UsageError("--measure and --service-times both say what batches take: give one of them.")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    talker = TALKERS[talkers]
    try:
        settings = Settings() if config is None else load_settings(config)
        table = _measured(settings, out) if measure else load_service_table(service_times or ASSUMED_GPU)
        most = capacity(settings, table, talker)
        wanted = load * most if load is not None else sessions or SESSIONS
        plan = SimulationPlan(wanted, seconds, ramp_s, stay_s, talker, seed, admission, greedy or 0)
        with seconds_shown(f"{wanted:.0f} sessions, virtual seconds", ramp_s + seconds) as passed:
            found = simulate(plan, settings, table, passed)
        deadline_ms = settings.batcher.deadline_ms
        row = summed_up(found, load=wanted / most, capacity=most, deadline_ms=deadline_ms)
        stated = {
            **{name: value for name, value in asdict(plan).items() if name != "talker"},
            "talkers": talkers,
            "service_times": table.to_json(),
            **{name: getattr(settings, name).model_dump() for name in ("asr", "vad", "batcher")},
        }
        report = written("live-simulation", stated, [asdict(row)])
        heading = f"{wanted:.0f} sessions simulated, load {wanted / most:.0%} ({table.origin} service times)"
        files = [] if out is None else write_files(out, report, seconds_of(found), deadline_ms, heading)
    except (BenchmarkError, ModelsError, StreamingError, TrainerError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(report, indent=1))
        return
    console = Console()
    console.print(simulation_table(row, heading))
    for remark in remarks(row, table):
        console.print(remark, style="dim", markup=False, highlight=False)
    for file in files:
        console.print(f"wrote {os.fspath(file)}", markup=False, highlight=False)


def _measured(settings: Settings, out: Path | None) -> ServiceTable:
    """Service times of this machine; kept in a folder, if there is one, for `--service-times`."""
    recognizer = load_recognizer(settings)
    machine = this_machine()
    name = machine.gpu or f"{machine.cores} cores of {machine.cpu}"
    speech = [clip.samples for clip in spoken_clips(None)]
    with terminal_progress("batch times, buckets", 2 * len(BUCKETS_S), 0.0) as advance:
        table = measured_times(recognizer, speech, settings.batcher, name, done=lambda: advance(1, 0.0))
    if out is not None:
        (out / SERVICE_TIMES_FILE).write_text(json.dumps(table.to_json(), indent=1) + "\n", encoding="utf-8")
    return table


if __name__ == "__main__":
    main()
