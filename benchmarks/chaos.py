"""All that may happen to a server, at once: broken lines, hostile clients, a broker and a machine that fall over."""

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
from benchmarks.chaos_plan import ChaosPlan, Fault
from benchmarks.chaos_result import ChaosRow, chaos_claims
from benchmarks.chaos_run import chaos
from benchmarks.claims import all_hold, claims_table
from benchmarks.errors import BenchmarkError
from benchmarks.live_server import KINDS, MEDUSA, ServerKind
from benchmarks.live_speech import spoken_clips
from benchmarks.long_runs import stopped_by_sigterm
from benchmarks.place import busy_note, load_average
from benchmarks.report_files import file_stem, write_report
from benchmarks.seconds_bar import seconds_shown
from benchmarks.spoken_clips import Clip, CorpusFormatError
from models.errors import ModelsError
from models.machine import this_machine, written
from streaming.audio.vad import make_vad
from streaming.config import Settings, load_settings
from streaming.errors import StreamingError

MINUTES: Final = 10.0
"""For which the numbers below are meant: others are in proportion."""
MESSAGES: Final = 10_000
DISCONNECTS: Final = 500
HALF_SHARE: Final = 0.2
"""Beside so many disconnects, such a share of messages is cut in half."""
BROKER_RESTARTS: Final = 20
KILLS: Final = 5
FLOODS: Final = 20
STALLS: Final = 20
"""Of subscribers, and of speakers."""
STREAMS: Final = 4
CALL_S: Final = 30.0
PATIENCE_S: Final = 60.0
MOST_CLIPS: Final = 300
INSIDE: Final = "benchmarks.chaos_server"


def _run(kind: ServerKind, clips: Sequence[Clip], plan: ChaosPlan, settings: Settings, config: Path | None) -> ChaosRow:
    async def run(folder: Path) -> ChaosRow:
        with stopped_by_sigterm():
            return await chaos(
                kind, clips, plan, folder, seconds_shown, config=config, vad_settings=settings.vad, vad=make_vad
            )

    with tempfile.TemporaryDirectory(prefix="medusa-bench-chaos-") as folder:
        return asyncio.run(run(Path(folder)))


def _tables(row: ChaosRow) -> list[Table]:
    faults, hostile = _table("fault", "done", "of"), _table("hostile message", "sent")
    for name, (done, meant) in row.faults.items():
        faults.add_row(name, str(done), str(meant))
    for name, count in row.inside.items():
        faults.add_row(f"{name}, inside", str(count), "")
    for name, count in row.hostile.items():
        hostile.add_row(name, str(count))
    hostile.add_row("all", f"{row.messages[0]} of {row.messages[1]}")
    return [faults, hostile]


def _table(*names: str) -> Table:
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place, name in enumerate(names):
        shown.add_column(name, justify="right" if place else "left")
    return shown


def _remarks(row: ChaosRow) -> list[str]:
    said = [
        f"{row.lives} lives of the server, {row.down_s:.0f} s without one; all was delivered {row.recovery_s:.0f} s "
        "after the last call"
    ]
    account = row.account
    said += [f"a client was told and the subscriber never was: {final}" for final in account.missing[:5]]
    said += [f"without an answer: {piece}" for piece in account.uncovered[:5]]
    said += [f"out of order: {event}" for event in account.out_of_order[:5]]
    said += [f"session {session}: {count} segments without an answer" for session, count in account.unanswered[:5]]
    return [*said, *account.failures[:5], *row.broken]


@click.command(epilog="Example: medusa bench chaos --minutes 10 --seed 7 --out bench-out")
@click.option("--minutes", type=click.FloatRange(min=0.05), default=MINUTES, show_default=True, help="Of faults.")
@click.option(
    "--streams", type=click.IntRange(min=1), default=STREAMS, show_default=True, help="That behave, at a time."
)
@click.option(
    "--messages", type=click.IntRange(min=0), help=f"Malformed or hostile; by default {MESSAGES} in 10 minutes."
)
@click.option(
    "--disconnects", type=click.IntRange(min=0), help=f"Of clients that behave; by default {DISCONNECTS} in 10 minutes."
)
@click.option(
    "--broker-restarts",
    type=click.IntRange(min=0),
    help=f"Every other one after SIGKILL; by default {BROKER_RESTARTS} in 10 minutes.",
)
@click.option("--kills", type=click.IntRange(min=0), help=f"SIGKILL of the server; by default {KILLS} in 10 minutes.")
@click.option("--floods", type=click.IntRange(min=0), help=f"Of audio in a hurry; by default {FLOODS} in 10 minutes.")
@click.option(
    "--stalls",
    type=click.IntRange(min=0),
    help=f"Subscribers, and as many speakers, that read nothing; by default {STALLS} in 10 minutes.",
)
@click.option(
    "--inside",
    is_flag=True,
    help="A server with faults inside: exceptions, a leaping clock, a full disk. It is not killed: what waits in "
    "memory while a disk is full would be gone.",
)
@click.option(
    "--call-seconds",
    "call_s",
    type=click.FloatRange(min=4),
    default=CALL_S,
    show_default=True,
    help="Length of a call, on average.",
)
@click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(min=5),
    default=PATIENCE_S,
    show_default=True,
    help="Seconds that clients try to come back, and that finals may take.",
)
@run_options.run
def main(
    minutes: float,
    streams: int,
    messages: int | None,
    disconnects: int | None,
    broker_restarts: int | None,
    kills: int | None,
    floods: int | None,
    stalls: int | None,
    inside: bool,
    call_s: float,
    patience_s: float,
    corpus: Path | None,
    language: str,
    seed: int,
    config: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Breaks lines, kills the broker and the server, sends rubbish, and counts what an MQTT subscriber is left with.

    Needs Mosquitto. Everything is on loopback, and nothing is killed that was not started here. Exits with 1 where a
    final is missing, something is out of order, or the server does not answer.
    """

    def many(given: int | None, usual: int) -> int:
        return round(usual * minutes / MINUTES) if given is None else given

    before = load_average()
    lines, restarts = many(disconnects, DISCONNECTS), many(broker_restarts, BROKER_RESTARTS)
    plan = ChaosPlan(
        minutes=minutes,
        streams=streams,
        call_s=call_s,
        faults={
            Fault.DISCONNECT: lines,
            Fault.HALF_MESSAGE: round(HALF_SHARE * lines),
            Fault.BROKER_STOP: restarts - restarts // 2,
            Fault.BROKER_KILL: restarts // 2,
            Fault.SERVER_KILL: 0 if inside else many(kills, KILLS),
        },
        messages=many(messages, MESSAGES),
        floods=many(floods, FLOODS),
        stalled_subscribers=many(stalls, STALLS),
        stalled_speakers=many(stalls, STALLS),
        seed=seed,
        language=language or None,
        patience_s=patience_s,
    )
    kind = ServerKind(INSIDE, ("--seed", str(seed), "--port", "0")) if inside else KINDS[MEDUSA]
    try:
        settings = Settings() if config is None else load_settings(config)
        row = _run(kind, spoken_clips(corpus, MOST_CLIPS), plan, settings, config and config.absolute())
    except (BenchmarkError, CorpusFormatError, ModelsError, StreamingError) as error:
        raise click.ClickException(str(error)) from error
    except asyncio.CancelledError:
        raise click.Abort from None
    claims = chaos_claims(row)
    stated: dict[str, Any] = {
        "minutes": minutes,
        "streams": streams,
        "call_s": call_s,
        "patience_s": patience_s,
        "seed": seed,
        "language": plan.language,
        "inside": inside,
        "corpus": "packaged" if corpus is None else corpus.name,
        "claims": [claim.to_row() for claim in claims],
        "load_average": before,
        "busy": busy_note(before, this_machine().cores),
    }
    report = written("chaos", stated, [row.to_json()])
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        console = Console()
        for shown in (*_tables(row), claims_table(claims)):
            console.print(shown)
        for remark in _remarks(row):
            console.print(remark, style="dim", markup=False, highlight=False)
    if out is not None:
        file = write_report(out, file_stem("chaos", report, *(["inside"] if inside else [])), report)
        if not as_json:
            click.echo(f"wrote {os.fspath(file)}")
    if not all_hold(claims):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
