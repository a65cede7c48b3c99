"""Calls for half an hour or for a night: whether answers come later with time, and what the server keeps."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks import run_options
from benchmarks.claims import all_hold, claims_table
from benchmarks.errors import BenchmarkError
from benchmarks.live_measuring import LivePlan, LiveRun
from benchmarks.live_server import KINDS, MEDUSA
from benchmarks.live_speech import TALKERS, spoken_clips
from benchmarks.long_runs import stopped_by_sigterm
from benchmarks.place import busy_note, load_average
from benchmarks.report_files import file_stem, new_folder, write_report
from benchmarks.seconds_bar import seconds_shown
from benchmarks.soak_picture import soak_picture
from benchmarks.soak_result import BLOCK_S, SoakRow, soak_claims
from benchmarks.soak_run import LINES_A_PROCESS, SoakPlan, soak
from benchmarks.soak_watching import Look
from benchmarks.spoken_clips import Clip, CorpusFormatError
from models.errors import ModelsError
from models.machine import this_machine, written
from streaming.errors import StreamingError
from trainer.canvas import LIGHT
from trainer.errors import TrainerError

MINUTES: Final = 30.0
WARM_UP_S: Final = 180.0
CALL_MINUTES: Final = 3.0
LOAD: Final = 0.7
SEARCH_MINUTES: Final = 0.5
TARGET_MS: Final = 500.0
PATIENCE_S: Final = 30.0
MOST_STREAMS: Final = 64
MOST_CLIPS: Final = 300
_SEARCH_WARM_UP_S: Final = 10.0


async def capacity(clips: Sequence[Clip], plan: LivePlan, target_ms: float, folder: Path, config: Path | None) -> int:
    """The largest number of streams that is carried within a target, by a short search.

    Raises:
        BenchmarkError: not even one stream is carried, or server or clients do not start.
    """
    run = LiveRun(KINDS, clips, plan, folder, seconds_shown, config)
    found = (await run.largest(MEDUSA, target_ms, MOST_STREAMS)).found
    if not found:
        raise BenchmarkError(
            f"not even one stream is carried within {target_ms:g} ms here: give --streams, or a larger --target-ms"
        )
    return found


async def _run(
    clips: Sequence[Clip],
    plan: SoakPlan,
    search: tuple[LivePlan, float, float] | None,
    folder: Path,
    config: Path | None,
) -> tuple[SoakPlan, int | None, SoakRow, list[Look]]:
    """The run, after the search for how many calls it is to have: by which plan, within what, and which share of it."""
    found = None
    with stopped_by_sigterm():
        if search is not None:
            how, target_ms, share = search
            found = await capacity(clips, how, target_ms, new_folder(folder / "search"), config)
            plan = replace(plan, streams=max(1, int(share * found)))
        row, looks = await soak(KINDS[MEDUSA], clips, plan, new_folder(folder / "soak"), seconds_shown, config=config)
    return plan, found, row, looks


def _table(row: SoakRow) -> Table:
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    figures = {
        "calls": str(row.calls),
        "finals": f"{row.finals} of {row.finals_expected}",
        "p50 ms": _number(row.compute_p50_ms),
        "p95 ms": _number(row.compute_p95_ms),
        "p99 ms": _number(row.compute_p99_ms),
        "CPU": _number(row.cpu_cores),
        "MiB": _number(row.rss_most_mib),
        "waiting p95": _number(row.queue_depth_p95),
        "most": _number(row.queue_depth_most),
        "sent late ms": _number(row.sender_late_p95_ms),
    }
    for name in figures:
        shown.add_column(name, justify="right")
    shown.add_row(*figures.values())
    return shown


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


@click.command(epilog="Example: medusa bench soak --minutes 30 --load 0.7 --out bench-out")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.05),
    default=MINUTES,
    show_default=True,
    help="That count, after a warm-up.",
)
@click.option("--streams", type=click.IntRange(min=1), help="Calls at a time; by default a share of what is carried.")
@click.option(
    "--load",
    type=click.FloatRange(min=0.01, max=1.0),
    default=LOAD,
    show_default=True,
    help="Share of the largest number of streams, which a short search finds.",
)
@click.option(
    "--target-ms", type=click.FloatRange(min=1), default=TARGET_MS, show_default=True, help="Of that search, p95."
)
@click.option(
    "--search-minutes",
    type=click.FloatRange(min=0.05),
    default=SEARCH_MINUTES,
    show_default=True,
    help="For each number that it tries.",
)
@click.option(
    "--call-minutes",
    type=click.FloatRange(min=0.02),
    default=CALL_MINUTES,
    show_default=True,
    help="Length of a call, on average.",
)
@click.option(
    "--warm-up",
    "warm_up_s",
    type=click.FloatRange(min=0),
    default=WARM_UP_S,
    show_default=True,
    help="Seconds of calls before those that count.",
)
@run_options.talkers
@click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(min=1),
    default=PATIENCE_S,
    show_default=True,
    help="Seconds that finals may take after a call's last audio; then they are missing.",
)
@run_options.run
def main(
    minutes: float,
    streams: int | None,
    load: float,
    target_ms: float,
    search_minutes: float,
    call_minutes: float,
    warm_up_s: float,
    talkers: str,
    patience_s: float,
    corpus: Path | None,
    language: str,
    seed: int,
    config: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Keeps a server busy with calls that come and go, and says whether it grows slower or larger.

    Exits with 1 where a final was lost, where lag or memory drift, or where files or tasks are left over.
    """
    before = load_average()
    talker = TALKERS[talkers]
    plan = SoakPlan(talker, streams or 1, minutes, warm_up_s, call_minutes, seed, language or None, patience_s)
    how = LivePlan(talker, search_minutes, _SEARCH_WARM_UP_S, seed, language or None, LINES_A_PROCESS, patience_s)
    search = None if streams else (how, target_ms, load)
    config = config and config.absolute()
    try:
        clips = spoken_clips(corpus, MOST_CLIPS)
        with tempfile.TemporaryDirectory(prefix="medusa-bench-soak-") as folder:
            plan, found, row, looks = asyncio.run(_run(clips, plan, search, Path(folder), config))
        claims = soak_claims(row)
        stated: dict[str, Any] = {
            **{name: value for name, value in asdict(plan).items() if name != "talker"},
            "talkers": talkers,
            "corpus": "packaged" if corpus is None else corpus.name,
            "clips": len(clips),
            "load": None if found is None else load,
            "target_ms": None if found is None else target_ms,
            "capacity": found,
            "block_s": BLOCK_S,
            "claims": [claim.to_row() for claim in claims],
            "load_average": before,
            "busy": busy_note(before, this_machine().cores),
        }
        report = written("soak", stated, [{**row.to_json(), "looks": [asdict(one) for one in looks]}])
        heading = (
            f"{row.minutes:g} min, {row.streams} calls at a time, {report['machine']['cores']} cores of "
            f"{report['machine']['cpu']}"
        )
        files = [] if out is None else _write(out, report, row, looks, heading)
    except (BenchmarkError, CorpusFormatError, ModelsError, StreamingError, TrainerError) as error:
        raise click.ClickException(str(error)) from error
    except asyncio.CancelledError:
        raise click.Abort from None
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        console = Console()
        console.print(heading, highlight=False)
        console.print(_table(row))
        console.print(claims_table(claims))
        for remark in (*row.failures, stated["busy"], *(f"wrote {os.fspath(file)}" for file in files)):
            if remark:
                console.print(remark, style="dim", markup=False, highlight=False)
    if not all_hold(claims):
        raise SystemExit(1)


def _write(folder: Path, report: dict[str, Any], row: SoakRow, looks: Sequence[Look], heading: str) -> list[Path]:
    file = write_report(folder, file_stem("soak", report), report)
    picture = file.with_suffix(".png")
    picture.write_bytes(soak_picture(row, looks, heading, LIGHT))
    return [file, picture]


if __name__ == "__main__":
    main()
