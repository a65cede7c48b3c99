"""A simulation for people: the table, what must be known beside it, and the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.report_files import write_report
from benchmarks.service_table import ServiceTable
from benchmarks.simulation_picture import simulation_picture
from benchmarks.simulation_result import Second, SimulationRow
from trainer.canvas import LIGHT

FILE_STEM: Final = "live-simulation"
_NOTHING: Final = "-"


def simulation_table(row: SimulationRow, heading: str) -> Table:
    """The row, a figure a line."""
    table = Table(title=heading, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_header=False)
    table.add_column("what")
    table.add_column("figure", justify="right")
    interims = (
        f"{row.interims_answered} computed, {row.interims_withheld} withheld by step, {row.interims_shed} shed, "
        f"{row.interims_replaced} replaced, {row.interims_discarded} discarded"
    )
    for what, figure in (
        ("sessions let in, refused, at once", f"{row.sessions}, {row.refused}, {row.most_open}"),
        ("load, of a capacity of", f"{row.load:.0%}, {row.capacity_sessions} sessions"),
        ("finals asked for, told", f"{row.finals_asked}, {row.finals_answered}"),
        ("final after its end, p50 / p95 / p99 / most", " / ".join(map(_ms, _latencies(row)))),
        ("finals later than the deadline", f"{row.late_share:.1%}"),
        (f"of {row.interims_asked} interims", interims),
        (
            f"of {row.speculative_asked} finals computed ahead",
            f"{row.speculative_answered} computed, {row.speculative_discarded} discarded, {row.speculative_shed} shed",
        ),
        (f"fairness of {row.sessions_compared} sessions: audio, waiting", _fairness(row)),
        ("recogniser busy, requests in a batch", f"{row.utilisation:.0%}, {row.batch_mean:g}"),
        ("longest queue", f"{row.longest_queue}"),
        ("answered after everybody fell silent", f"{row.drained_s:g} s"),
    ):
        table.add_row(what, figure)
    if row.greedy_served is not None:
        table.add_row("share of its audio that the greedy session got", f"{row.greedy_served:.1%}")
    return table


def remarks(row: SimulationRow, table: ServiceTable) -> list[str]:
    """What a reader of the table must know beside it, a line each."""
    said = [f"service times: {table.machine}"]
    if table.origin == "assumed":
        said.append("these service times are assumed: nothing was measured, and no machine is said to be like that")
    said.append("nothing was recognised: the scheduler ran alone, on a virtual clock, for sessions that a seed drew")
    said += [f"from {at_s:g} s: {step.replace('_', ' ')}" for at_s, step in row.steps]
    return said


def write_files(
    folder: Path, report: dict[str, Any], seconds: Sequence[Second], deadline_ms: float, heading: str
) -> list[Path]:
    """Writes the result as JSON and as a picture.

    Args:
        folder: where.
        report: the one object of the contract.
        seconds: one by one.
        deadline_ms: for finals.
        heading: above the picture.

    Raises:
        TrainerError: matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    file = write_report(folder, FILE_STEM, report)
    picture = file.with_suffix(".png")
    picture.write_bytes(simulation_picture(seconds, deadline_ms, heading, LIGHT))
    return [file, picture]


def _latencies(row: SimulationRow) -> tuple[float | None, ...]:
    return row.final_p50_ms, row.final_p95_ms, row.final_p99_ms, row.final_max_ms


def _fairness(row: SimulationRow) -> str:
    return ", ".join(_NOTHING if v is None else f"{v:.3f}" for v in (row.fairness_served, row.fairness_waiting))


def _ms(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.0f} ms"
