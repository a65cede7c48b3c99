"""The tables of a report: what was measured, a row a thing."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.abstention import Abstention
from trainer.breakdown import PartScores
from trainer.comparison import Difference
from trainer.mistakes import Mistake
from trainer.report.tables import Table, between, figure, points, points_between, share
from trainer.results import Result


def summary_table(results: Sequence[Result]) -> Table:
    """One row a model."""
    header = ("model", "examples", "macro-F1", "95 % interval", "UAR", "accuracy", "ECE", "ECE, 95 % interval", "AURC")
    attributes = tuple(dict.fromkeys(name for result in results for name in result.concordance))
    rows = tuple(
        (
            result.name,
            str(result.examples),
            figure(result.classes.macro_f1),
            between(result.macro_f1_interval),
            figure(result.classes.unweighted_average_recall),
            figure(result.accuracy),
            figure(result.reliability.expected_calibration_error),
            between(result.ece_interval),
            figure(result.risk_coverage.area),
            *(figure(result.concordance.get(name)) for name in attributes),
        )
        for result in results
    )
    caption = (
        "Every model on the same examples. Intervals are bootstrapped over speakers. UAR: unweighted average recall. "
        "ECE: expected calibration error. AURC: area under the risk-coverage curve."
    )
    return Table((*header, *(f"CCC {name}" for name in attributes)), rows, caption)


def class_table(result: Result) -> Table:
    """One row a class."""
    classes = result.classes
    rows = tuple(
        (name, figure(classes.precision[i]), figure(classes.recall[i]), figure(classes.f1[i]), str(classes.support[i]))
        for i, name in enumerate(result.labels)
    )
    return Table(("class", "precision", "recall", "F1", "examples"), rows, f"The {result.name}, by class")


def aggregation_table(parts: Sequence[Difference], reference: str) -> Table:
    """Other aggregations, and how far they are from the reference."""
    rows = tuple(
        (
            part.name,
            figure(part.macro_f1),
            points(part.value),
            points_between(part.interval),
        )
        for part in parts
    )
    header = ("aggregation", "macro-F1", "difference, points", "95 % interval")
    return Table(header, rows, f"Macro-F1, and how far it is from that of the {reference}")


def abstention_table(result: Result, in_use: Abstention | None) -> Table:
    """What a threshold buys: over the classes of the corpus and, where those are not all, over all."""
    held = result.abstention
    rows = [] if held is None else [_abstention_row(f"the {len(result.labels)} of the corpus", held)]
    rows += [] if in_use is None else [_abstention_row("all of the bundle, as in use", in_use)]
    header = (
        *("classes to choose among", "threshold", "claimed", "right of that"),
        *("right without abstaining", "gain, points", "95 % interval"),
    )
    return Table(header, tuple(rows), "What abstaining below the threshold of the confidence buys")


def view_table(parts: Sequence[Difference], reference: str) -> Table:
    """What each waveform view costs."""
    rows = tuple(
        (
            part.name,
            str(part.examples),
            figure(part.reference_macro_f1),
            figure(part.macro_f1),
            points(part.loss),
            points_between(part.loss_interval),
        )
        for part in parts
    )
    header = ("view", "clips", f"macro-F1, {reference}", "macro-F1, view", "loss, points", "95 % interval")
    return Table(header, rows, f"What each view costs against {reference}")


def part_table(parts: Sequence[PartScores], what: str, caption: str) -> Table:
    """One row a part, such as a speaker."""
    rows = tuple((p.name, str(p.examples), str(p.classes), figure(p.macro_f1), figure(p.accuracy)) for p in parts)
    return Table((what, "examples", "classes", "macro-F1", "accuracy"), rows, caption)


def mistake_table(mistakes: Sequence[Mistake]) -> Table:
    """Examples most confidently wrong, with what was said in them where it is known."""
    texts = any(mistake.text is not None for mistake in mistakes)
    header = ("example", "speaker", "true", "predicted", *(("text",) if texts else ()), "confidence")
    rows = tuple(
        (m.id, m.speaker, m.true, m.predicted, *((m.text or "",) if texts else ()), figure(m.confidence))
        for m in mistakes
    )
    caption = f"The {len(rows)} wrong predictions of highest confidence"
    return Table(header, rows, caption, words=len(header) - 1)


def _abstention_row(among: str, held: Abstention) -> tuple[str, ...]:
    low, high = held.lowest_threshold, held.highest_threshold
    return (
        among,
        figure(low) if low == high else f"{low:.3f} to {high:.3f}",
        share(held.coverage),
        share(held.accuracy),
        share(held.accuracy_of_all),
        points(held.gain),
        points_between(held.gain_interval),
    )
