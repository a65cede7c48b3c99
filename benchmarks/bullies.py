"""Streams alone and beside clients that take more than their share, in turn: what that does to their answers."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks import run_options
from benchmarks.bullies_result import Phase, bullies_claims, ratio_of
from benchmarks.bully_clients import SPEED, BulliesJob
from benchmarks.children import child, complaint
from benchmarks.claims import all_hold, claims_table
from benchmarks.errors import BenchmarkError
from benchmarks.live_clients import GO, READY
from benchmarks.live_crew import crew
from benchmarks.live_measuring import LivePlan
from benchmarks.live_server import KINDS, MEDUSA, MeasuredServer, ServerKind, measured_server, overrides
from benchmarks.live_speech import TALKERS, plan_talk, spoken_clips
from benchmarks.long_runs import Progress, stopped_by_sigterm
from benchmarks.place import busy_note, load_average
from benchmarks.report_files import file_stem, new_folder, write_report
from benchmarks.seconds_bar import seconds_shown
from benchmarks.soak_watching import when_idle
from benchmarks.spoken_clips import Clip, CorpusFormatError
from models.errors import ModelsError
from models.machine import this_machine, written
from streaming.audio.codecs import Encoding, encode
from streaming.errors import StreamingError

STREAMS: Final = 4
PAIRS: Final = 3
MINUTES: Final = 1.0
WARM_UP_S: Final = 10.0
PATIENCE_S: Final = 60.0
LINES_A_PROCESS: Final = 16
MOST_CLIPS: Final = 300
_BULLY: Final = 1_000_000
"""The bullies' own number, for what they say."""
_BULLY_S: Final = 30.0
_START_PATIENCE_S: Final = 60.0
_SPARE_SESSIONS: Final = 32
_S_PER_MIN: Final = 60.0
_SLACK_S: Final = 60.0


async def measure(
    kind: ServerKind,
    clips: Sequence[Clip],
    plan: LivePlan,
    *,
    streams: int,
    pairs: int,
    folder: Path,
    progress: Progress,
    config: Path | None = None,
) -> list[Phase]:
    """The same streams, without and with bullies in turn, on one server.

    Args:
        kind: of server.
        clips: to say.
        plan: of every phase alike.
        streams: of the others.
        pairs: of phases.
        folder: an empty one, for audio and logs.
        progress: shows the time.
        config: the server's config.toml, by an absolute path; None for the defaults.

    Raises:
        BenchmarkError: server, streams or bullies do not start, or hang.
    """
    audio = []
    for stream in (*range(streams), _BULLY):
        seconds = _BULLY_S if stream == _BULLY else plan.span.end_s
        talk = plan_talk(clips, plan.talker, seconds=seconds, seed=plan.seed, stream=stream)
        audio.append(folder / f"stream-{stream}.pcm")
        audio[-1].write_bytes(encode(talk.rendered(stream), Encoding.PCM16))
    phases: list[Phase] = []
    environment = overrides(sessions=streams + _SPARE_SESSIONS, language=plan.language)
    async with measured_server(kind, new_folder(folder / "server"), environment, config=config) as server:
        with progress(f"{streams} streams, alone and not", 2 * pairs * plan.audio_s) as passed:
            for number in range(2 * pairs):
                own = new_folder(folder / f"phase-{number}")
                phases.append(await _phase(server, audio, plan, own, bullied=bool(number % 2)))
                passed(plan.audio_s)
                if server.fault is not None:
                    raise BenchmarkError(server.fault)
                if number + 1 < 2 * pairs:
                    await when_idle(server, plan.patience_s + _SLACK_S)
    return phases


async def _phase(
    server: MeasuredServer, audio: Sequence[Path], plan: LivePlan, folder: Path, *, bullied: bool
) -> Phase:
    *own, theirs = audio
    async with crew(
        server.url,
        own,
        folder,
        language=plan.language,
        patience_s=plan.patience_s,
        streams_a_process=plan.streams_a_process,
    ) as clients:
        job = BulliesJob(server.url, str(theirs), str(folder / "bullies.json"))
        (folder / "bullies").write_text(job.to_json(), encoding="utf-8")
        log = folder / "bullies.log"
        async with child("benchmarks.bully_clients", str(folder / "bullies"), folder=folder, stderr=log) as bullies:
            if bullies.stdin is None or bullies.stdout is None:
                raise BenchmarkError("bullies were started without pipes")
            async with asyncio.timeout(_START_PATIENCE_S):
                if (await bullies.stdout.readline()).decode().strip() != READY:
                    raise BenchmarkError(f"the bullies did not start: {complaint(log)}")
            if bullied:
                bullies.stdin.write(f"{GO}\n".encode())
            try:
                async with asyncio.timeout(plan.audio_s + plan.patience_s + _SLACK_S):
                    records, _ = await clients.run()
                bullies.stdin.close()
                async with asyncio.timeout(_START_PATIENCE_S):
                    await bullies.wait()
            except TimeoutError:
                raise BenchmarkError("the clients hang") from None
    told = json.loads((folder / "bullies.json").read_text(encoding="utf-8"))
    return Phase.of(records, len(own), plan.span, bullied=bullied, bullies=told if bullied else {})


async def _run(
    clips: Sequence[Clip], plan: LivePlan, streams: int, pairs: int, folder: Path, config: Path | None
) -> list[Phase]:
    with stopped_by_sigterm():
        return await measure(
            KINDS[MEDUSA],
            clips,
            plan,
            streams=streams,
            pairs=pairs,
            folder=folder,
            progress=seconds_shown,
            config=config,
        )


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("others", "finals", "p50 ms", "p95 ms", "total p95 ms", "bullies sent"):
        shown.add_column(name, justify="left" if name == "others" else "right")
    for row in rows:
        sent = row["bullies"]
        shown.add_row(
            "beside bullies" if row["bullied"] else "alone",
            f"{row['finals']} of {row['finals_expected']}",
            *(f"{row[name] or 0:.0f}" for name in ("compute_p50_ms", "compute_p95_ms", "total_p95_ms")),
            f"{sent['audio_s']:.0f} s, {sent['times_real_time']:g} times real time" if sent else "",
        )
    return shown


@click.command(epilog="Example: medusa bench bullies --streams 4 --pairs 3 --out bench-out")
@click.option("--streams", type=click.IntRange(min=1), default=STREAMS, show_default=True, help="Of the others.")
@click.option(
    "--pairs", type=click.IntRange(min=1), default=PAIRS, show_default=True, help="Of phases without and with bullies."
)
@click.option(
    "--minutes", type=click.FloatRange(min=0.05), default=MINUTES, show_default=True, help="Measured in each phase."
)
@click.option(
    "--warm-up", "warm_up_s", type=click.FloatRange(min=0), default=WARM_UP_S, show_default=True, help="Seconds before."
)
@run_options.talkers
@click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(min=1),
    default=PATIENCE_S,
    show_default=True,
    help="Seconds that finals may take after the last audio; then they are missing.",
)
@run_options.run
def main(
    streams: int,
    pairs: int,
    minutes: float,
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
    """Puts streams beside a subscriber that reads nothing and a sender a hundred times faster than real time.

    Phases without and with them take turns on one server. Exits with 1 where the others' 95th percentile rises by a
    tenth or more, or one of their finals is missing.
    """
    before = load_average()
    plan = LivePlan(TALKERS[talkers], minutes, warm_up_s, seed, language or None, LINES_A_PROCESS, patience_s)
    try:
        clips = spoken_clips(corpus, MOST_CLIPS)
        with tempfile.TemporaryDirectory(prefix="medusa-bench-bullies-") as folder:
            phases = asyncio.run(_run(clips, plan, streams, pairs, Path(folder), config and config.absolute()))
    except (BenchmarkError, CorpusFormatError, ModelsError, StreamingError) as error:
        raise click.ClickException(str(error)) from error
    except asyncio.CancelledError:
        raise click.Abort from None
    claims = bullies_claims(phases)
    ratios = {
        name: found and found.to_json()
        for name, found in (
            ("compute_p95", ratio_of(phases, lambda phase: phase.compute_ms)),
            ("total_p95", ratio_of(phases, lambda phase: phase.total_ms)),
        )
    }
    stated: dict[str, Any] = {
        "streams": streams,
        "pairs": pairs,
        "minutes": minutes,
        "warm_up_s": warm_up_s,
        "talkers": talkers,
        "seed": seed,
        "language": plan.language,
        "speed": SPEED,
        "corpus": "packaged" if corpus is None else corpus.name,
        "ratios": ratios,
        "claims": [claim.to_row() for claim in claims],
        "load_average": before,
        "busy": busy_note(before, this_machine().cores),
    }
    report = written("bullies", stated, [phase.to_json() for phase in phases])
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        console = Console()
        console.print(_table(report["results"]))
        console.print(claims_table(claims))
        if stated["busy"]:
            console.print(stated["busy"], style="dim", markup=False, highlight=False)
    if out is not None:
        file = write_report(out, file_stem("bullies", report), report)
        if not as_json:
            click.echo(f"wrote {os.fspath(file)}")
    if not all_hold(claims):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
