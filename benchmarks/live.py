"""Live streams at the pace of speech: how late the answers come, and how many streams the machine carries."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from benchmarks import run_options
from benchmarks.errors import BenchmarkError
from benchmarks.live_adapter import CALLS, LEAST_ROUNDS, AdapterCost, compared
from benchmarks.live_lines import NATIVE, PROTOCOLS
from benchmarks.live_measuring import LivePlan, LiveRun
from benchmarks.live_reference import offline_segments, offline_word_errors
from benchmarks.live_report import live_tables, remarks, write_files
from benchmarks.live_result import LiveRow
from benchmarks.live_server import KINDS, MEDUSA
from benchmarks.live_speech import TALKERS, spoken_clips
from benchmarks.long_runs import stopped_by_sigterm
from benchmarks.place import busy_note, load_average
from benchmarks.seconds_bar import seconds_shown
from benchmarks.spoken_clips import CorpusFormatError
from models.errors import ModelsError
from models.machine import this_machine, written
from streaming.client import CHUNK_S
from streaming.config import Settings, load_settings
from streaming.errors import StreamingError
from streaming.recognition.recognizer import load_recognizer
from trainer.errors import TrainerError

TARGETS_MS: Final = (500.0, 1500.0)
MINUTES: Final = 1.0
WARM_UP_S: Final = 10.0
PATIENCE_S: Final = 30.0
MOST_STREAMS: Final = 64
STREAMS_A_PROCESS: Final = 16
MOST_CLIPS: Final = 300


def _numbers(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, ...]:
    if value is None:
        return ()
    try:
        found = tuple(dict.fromkeys(int(part) for part in value.split(",")))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of whole numbers such as 1,4,8.") from None
    if min(found) < 1:
        raise click.BadParameter("there must be 1 stream at least.")
    return found


def _servers(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(value.split(",")))
    if unknown := [name for name in found if name not in KINDS]:
        raise click.BadParameter(f"{', '.join(unknown)} is not known: there are {', '.join(KINDS)}.")
    return found


def _not_here(_context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        raise click.UsageError("to simulate, run: medusa bench live --simulate")


async def measure(
    run: LiveRun, servers: Sequence[str], streams: Sequence[int], targets_ms: Sequence[float], most: int
) -> dict[str, dict[str, Any]]:
    """Measures what was asked for; the rows are in `run`.

    Args:
        run: what is measured, and where rows are kept.
        servers: their names, in the order in which they take turns.
        streams: numbers to measure; none to look for the largest within each target.
        targets_ms: for the 95th percentile of `total_ms` - `endpoint_ms`.
        most: streams that are tried at most.

    Returns:
        By server and target, the largest number of streams that was carried, and whether larger ones may be.

    Raises:
        BenchmarkError: server or clients do not start.
    """
    for number in streams:
        for server in servers:
            await run.row(server, number)
    largest: dict[str, dict[str, Any]] = {}
    for server in servers:
        largest[server] = {}
        for target_ms in targets_ms:
            if streams:
                carried = [n for n in streams if run.rows[server, n].carries(target_ms)]
                answer = {"streams": max(carried, default=0), "open_ended": max(streams) in carried}
            else:
                search = await run.largest(server, target_ms, most)
                answer = {"streams": search.found, "open_ended": search.open_ended}
            largest[server][f"{target_ms:g}"] = answer
    return largest


@click.command(epilog="Example: medusa bench live --streams 1,4,8 --minutes 1 --out bench-out")
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default=NATIVE,
    show_default=True,
    help="That the clients speak. Another than our own is compared with it, call by call, and its cost is told.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=LEAST_ROUNDS,
    show_default=True,
    help="Rows of either protocol that are compared.",
)
@click.option("--server", "servers", default=",".join(KINDS), show_default=True, callback=_servers, help="Which ones.")
@click.option(
    "--streams", callback=_numbers, metavar="N,N", help="Numbers to measure; by default the largest is looked for."
)
@click.option(
    "--target-ms",
    "targets_ms",
    type=click.FloatRange(min=1),
    multiple=True,
    default=TARGETS_MS,
    show_default=True,
    help="For the 95th percentile of finals after the silence; may be given again.",
)
@click.option(
    "--most", type=click.IntRange(min=1), default=MOST_STREAMS, show_default=True, help="Streams that are tried."
)
@run_options.talkers
@click.option(
    "--minutes", type=click.FloatRange(min=0.05), default=MINUTES, show_default=True, help="Measured in each row."
)
@click.option(
    "--warm-up", "warm_up_s", type=click.FloatRange(min=0), default=WARM_UP_S, show_default=True, help="Seconds before."
)
@click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(min=1),
    default=PATIENCE_S,
    show_default=True,
    help="Seconds that finals may take after the last audio; then they are missing.",
)
@run_options.corpus
@click.option(
    "--clips", "limit", type=click.IntRange(min=1), default=MOST_CLIPS, show_default=True, help="Of a corpus, at most."
)
@run_options.language
@run_options.seed
@click.option(
    "--streams-a-process",
    type=click.IntRange(min=1),
    default=STREAMS_A_PROCESS,
    show_default=True,
    help="Clients in one process; none is in the server's.",
)
@run_options.config
@click.option("--offline/--no-offline", default=True, help="Compare labels with those of the same audio offline.")
@run_options.out
@run_options.as_json
@click.option(
    "--simulate",
    is_flag=True,
    expose_value=False,
    callback=_not_here,
    help="Drive the scheduler alone on a virtual clock; has options of its own: medusa bench live --simulate --help.",
)
def main(
    protocol: str,
    rounds: int,
    servers: Sequence[str],
    streams: Sequence[int],
    targets_ms: Sequence[float],
    most: int,
    talkers: str,
    minutes: float,
    warm_up_s: float,
    patience_s: float,
    corpus: Path | None,
    limit: int,
    language: str,
    seed: int,
    streams_a_process: int,
    config: Path | None,
    offline: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Streams real speech to servers at the pace of speech, and measures how late their answers come.

    MEDUSA live runs beside a plain server: the same voice detector, `WhisperModel.transcribe` of each segment, then the
    members one by one in PyTorch. The clients are in processes of their own; they share the machine, and how late they
    are themselves stands in every row.
    """
    load = load_average()
    if protocol != NATIVE and tuple(servers) not in {tuple(KINDS), (MEDUSA,)}:
        raise click.UsageError(f"the plain server speaks our own protocol alone, not {protocol}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    plan = LivePlan(TALKERS[talkers], minutes, warm_up_s, seed, language or None, streams_a_process, patience_s)
    try:
        settings = Settings() if config is None else load_settings(config)
        clips = spoken_clips(corpus, limit)
        with tempfile.TemporaryDirectory(prefix="medusa-bench-live-") as folder:
            run = LiveRun(KINDS, clips, plan, Path(folder), seconds_shown, config and config.absolute())
            largest: dict[str, dict[str, Any]] = {}
            wrong, costs = None, list[AdapterCost]()
            if protocol == NATIVE:
                largest, wrong = asyncio.run(_all(run, settings, servers, streams, targets_ms, most, offline=offline))
                rows = list(run.rows.values())
            else:
                rows, costs = asyncio.run(_compared(run, protocol, streams or (CALLS,), rounds))
        stated = {
            "talkers": talkers,
            **{name: value for name, value in asdict(plan).items() if name != "talker"},
            "corpus": "packaged" if corpus is None else corpus.name,
            "clips": len(clips),
            "speech_share": [round(talk.speech_share, 3) for talk in run.talks],
            "chunk_s": CHUNK_S,
            "targets_ms": list(targets_ms),
            "largest": largest,
            "protocol": protocol,
            "adapter": [asdict(cost) for cost in costs],
            "offline_word_error_rate": wrong,
            **{name: getattr(settings, name).model_dump() for name in ("asr", "vad", "ensemble", "batcher")},
            "load_average": load,
            "busy": busy_note(load, this_machine().cores),
        }
        report = written("live", stated, [asdict(row) for row in rows])
        heading = f"{talkers} talkers, {report['machine']['cores']} cores of {report['machine']['cpu']}"
        files = [] if out is None else write_files(out, report, rows, heading)
    except (BenchmarkError, CorpusFormatError, ModelsError, StreamingError, TrainerError) as error:
        raise click.ClickException(str(error)) from error
    except asyncio.CancelledError:
        raise click.Abort from None
    if as_json:
        click.echo(json.dumps(report, indent=1))
        return
    console = Console()
    for shown in live_tables(rows, heading):
        console.print(shown)
    for remark in remarks(rows, stated):
        console.print(remark, style="dim", markup=False, highlight=False)
    for file in files:
        console.print(f"wrote {os.fspath(file)}", markup=False, highlight=False)


async def _compared(
    run: LiveRun, protocol: str, streams: Sequence[int], rounds: int
) -> tuple[list[LiveRow], list[AdapterCost]]:
    """Calls by a protocol and by our own: all rows, and what the protocol costs at each number of streams."""
    rows: list[LiveRow] = []
    costs: list[AdapterCost] = []
    with stopped_by_sigterm():
        for number in streams:
            own, cost = await compared(run, protocol, number, rounds)
            rows += own
            costs += [] if cost is None else [cost]
    return rows, costs


async def _all(
    run: LiveRun,
    settings: Settings,
    servers: Sequence[str],
    streams: Sequence[int],
    targets_ms: Sequence[float],
    most: int,
    *,
    offline: bool,
) -> tuple[dict[str, dict[str, Any]], float | None]:
    """Everything that takes time: the rows, and what the same audio amounts to offline."""
    with stopped_by_sigterm():
        largest = await measure(run, servers, streams, targets_ms, most)
        if not offline:
            return largest, None
        with seconds_shown("the same audio offline, streams", len(run.talks)) as done:
            found = await offline_segments(
                run.audio(len(run.talks)),
                settings,
                lambda: load_recognizer(settings),
                language=run.plan.language,
                done=lambda: done(1.0),
            )
        run.compare_labels(found)
        return largest, round(offline_word_errors([talk.words for talk in run.talks], found), 4)


if __name__ == "__main__":
    main()
