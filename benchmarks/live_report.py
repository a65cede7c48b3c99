"""A run of `medusa bench live` for people: the table, what must be known beside it, and the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.live_lines import NATIVE
from benchmarks.live_picture import latency_picture, processor_picture
from benchmarks.live_result import LATE_MS, LiveRow
from benchmarks.report_files import file_stem, write_report
from trainer.canvas import LIGHT

_NOTHING: Final = "-"
_LEGEND: Final = (
    "p50, p95, p99: of finals, total_ms - endpoint_ms; first interim: median, from speech.started; "
    "shed: interims dropped; flips: labels taken back, a minute of speech; drift: of total_ms - endpoint_ms, with its "
    "95 % interval; labels: as the same audio gets offline; sent late: the clients' own lateness, p95 in ms"
)


def live_tables(rows: Sequence[LiveRow], heading: str) -> list[Table]:
    """The rows, in the order in which they were measured: how late answers are, then what they are worth and cost."""
    answers = _table(heading, "finals", "p50 ms", "p95 ms", "p99 ms", "total p95 ms", "first interim ms", "shed")
    beside = _table("", "flips", "drift ms/min", "words wrong", "labels", "CPU", "MiB", "sent late ms")
    for row in rows:
        spoken = "" if row.protocol == NATIVE and not row.telephone else f", {row.protocol}"
        who = row.server + spoken + (" !" if row.failures else ""), str(row.streams)
        answers.add_row(
            *who,
            f"{row.finals}" if row.finals == row.finals_expected else f"{row.finals} of {row.finals_expected}",
            _whole(row.compute_p50_ms),
            _whole(row.compute_p95_ms),
            _whole(row.compute_p99_ms),
            _whole(row.total_p95_ms),
            _whole(row.first_interim_p50_ms),
            str(row.dropped_interims),
        )
        beside.add_row(
            *who,
            _short(row.flips_per_min),
            _drift(row),
            f"{row.word_error_rate:.1%}",
            _NOTHING if row.label_agreement is None else f"{row.label_agreement:.1%}",
            _short(row.cpu_cores),
            _whole(row.rss_mib),
            _short(row.sender_late_p95_ms),
        )
    return [answers, beside]


def _table(heading: str, *names: str) -> Table:
    shown = Table(title=heading or None, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("server", "streams", *names):
        shown.add_column(name, justify="left" if name == "server" else "right")
    return shown


def remarks(rows: Sequence[LiveRow], settings: dict[str, Any]) -> list[str]:
    """What a reader of the table must know beside it, a line each.

    Args:
        rows: of the table.
        settings: as in the result.
    """
    said = [_LEGEND]
    for server, found in settings["largest"].items():
        for target, answer in found.items():
            more = ", or more: none was tried above" if answer["open_ended"] else ""
            said.append(f"{server} carries {answer['streams']} streams within {target} ms{more}")
    said += [_adapter(cost) for cost in settings["adapter"]]
    offline = settings["offline_word_error_rate"]
    if offline is not None:
        said.append(f"offline, {offline:.1%} of the same words are wrong")
    for row in rows:
        place = f"{row.server} at {row.streams}"
        said += [f"{place} does not count: {failure}" for failure in row.failures]
        if row.clients_late:
            said.append(
                f"{place}: the clients sent {row.sender_late_p95_ms:.0f} ms late (p95, above {LATE_MS:g}): they had "
                "too little of the machine to speak in real time"
            )
    if settings["busy"]:
        said.append(settings["busy"])
    return said


def write_files(folder: Path, report: dict[str, Any], rows: Sequence[LiveRow], heading: str) -> list[Path]:
    """Writes the result as JSON and, where any final came by our own protocol, as pictures.

    Args:
        folder: where.
        report: the one object of the contract.
        rows: its rows.
        heading: above the pictures.

    Raises:
        TrainerError: matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    talkers, protocol = report["settings"]["talkers"], report["settings"]["protocol"]
    usual = ("continuous", NATIVE)
    stem = file_stem("live", report, *(one for one in (talkers, protocol) if one not in usual))
    files = [write_report(folder, stem, report)]
    timed = [row for row in rows if row.compute_p95_ms is not None and protocol == NATIVE]
    if timed:
        files += [folder / f"{stem}.png", folder / f"{stem}-cpu.png"]
        files[1].write_bytes(latency_picture(timed, report["settings"]["targets_ms"], heading, LIGHT))
        files[2].write_bytes(processor_picture(timed, report["machine"]["cores"], heading, LIGHT))
    return files


def _adapter(cost: dict[str, Any]) -> str:
    within = "" if cost["share_low"] is None else f" ({cost['share_low']:.1%} to {cost['share_high']:.1%})"
    return (
        f"{cost['protocol']} at {cost['streams']}: takes {cost['difference_ms_per_s']:.1f} ms of the event loop for a "
        f"second of call more than our own protocol, {cost['difference_share']:.1%}{within} of the recogniser's "
        f"{cost['recogniser_ms_per_s']:.0f} ms; the translator alone {cost['dialect_ms_per_s']:.2f} ms, "
        f"{cost['dialect_share']:.1%}"
    )


def _whole(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.0f}"


def _short(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.2g}"


def _drift(row: LiveRow) -> str:
    slope, low, high = row.lag_slope_ms_per_min, row.lag_slope_low, row.lag_slope_high
    if slope is None or low is None or high is None:
        return _NOTHING
    return f"{slope:+.0f} ({low:+.0f} to {high:+.0f})"
