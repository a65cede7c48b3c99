"""What a report says, section by section, whatever it is written as."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from trainer.breakdown import PartScores
from trainer.comparison import Difference
from trainer.measurement import Measurement
from trainer.report.canvas import Theme
from trainer.report.pictures import (
    confusion_picture,
    differences_picture,
    durations_picture,
    reliability_picture,
    risk_coverage_picture,
    speakers_picture,
)
from trainer.report.tables import Table, between, figure, points, points_between, share
from trainer.results import Result

LISTED_SPEAKERS: Final = 50
"""Most rows of the table of speakers on a page; the JSON holds all of them."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, drawn when it is known on which page."""

    file: str
    """Name of its PNG."""
    caption: str
    described: str
    """What it shows, for who cannot see it."""
    draw: Callable[[Theme], bytes]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report under a heading of its own."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    brief: bool = True
    """False where it is left out of the Markdown: long lists, and what names people."""


def sections_of(measured: Measurement) -> list[Section]:
    """All sections that there are figures for, in the order of reading."""
    return [
        section
        for make in (_summary, _aggregations, _classes, _calibration, _abstention, _views, _durations, _speakers)
        for section in make(measured)
    ] + list(_mistakes(measured))


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


def _summary(measured: Measurement) -> Iterator[Section]:
    yield Section("Summary", measured.notes, (summary_table(measured.results),))


def _aggregations(measured: Measurement) -> Iterator[Section]:
    if not measured.aggregations:
        return
    best = max((r for r in measured.results if r.name in measured.members), key=lambda r: r.classes.macro_f1)
    name = measured.ensemble.name
    yield Section(
        "Aggregations compared",
        (
            f"Below 0 the {name} is better. Both answers are compared on the same draws of speakers, so an interval "
            "that lies on one side of 0 tells them apart.",
            f"In hindsight the best member is {best.name}, macro-F1 {best.classes.macro_f1:.3f}: nobody could have "
            "known before.",
        ),
        (_aggregation_table(measured.aggregations, name),),
        (
            Picture(
                "aggregations.png",
                f"Other aggregations less the {name}",
                _listed(f"{part.name} {points(part.value)} points" for part in measured.aggregations),
                lambda theme: differences_picture(measured.aggregations, name, theme),
            ),
        ),
    )


def _classes(measured: Measurement) -> Iterator[Section]:
    result = measured.ensemble
    recalled = _listed(f"{label} {100 * result.classes.recall[i]:.0f} %" for i, label in enumerate(result.labels))
    yield Section(
        "Classes",
        (),
        (class_table(result),),
        (
            Picture(
                "confusion.png",
                "Confusion matrix, per cent of each true class, counts beneath",
                f"Confusion matrix of the {result.name}. Recognised of each class: {recalled}.",
                lambda theme: confusion_picture(result, theme),
            ),
        ),
    )


def _calibration(measured: Measurement) -> Iterator[Section]:
    result = measured.ensemble
    error, interval = result.reliability.expected_calibration_error, between(result.ece_interval)
    said = f"Expected calibration error {error:.3f}" + (f" (95 % interval {interval})" if interval else "")
    yield Section(
        "Calibration",
        (f"{said}: the mean distance between confidence and the share that is right.",),
        (),
        (
            Picture(
                "reliability.png",
                "Reliability: bars on the dashed line would be a confidence that means what it says",
                f"Reliability diagram. {said}.",
                lambda theme: reliability_picture(result, theme),
            ),
        ),
    )


def _abstention(measured: Measurement) -> Iterator[Section]:
    result = measured.ensemble
    held = result.abstention
    tables: tuple[Table, ...] = ()
    said = f"Risk-coverage curve, area {result.risk_coverage.area:.3f}."
    if held is not None:
        low, high = held.lowest_threshold, held.highest_threshold
        row = (
            figure(low) if low == high else f"{low:.3f} to {high:.3f}",
            share(held.coverage),
            share(held.accuracy),
            share(held.accuracy_of_all),
            points(held.gain),
            points_between(held.gain_interval),
        )
        header = ("threshold", "claimed", "right of that", "right without abstaining", "gain, points", "95 % interval")
        tables = (Table(header, (row,), "What abstaining below the threshold of the confidence buys"),)
        said += f" At the threshold {row[1]} get a label and {row[2] or 'none'} of those labels are right."
    yield Section(
        "Abstention",
        (),
        tables,
        (
            Picture(
                "risk_coverage.png",
                "Risk and coverage: the dot is where the threshold sits, the dashed line a label for everything",
                said,
                lambda theme: risk_coverage_picture(result, theme),
            ),
        ),
    )


def _views(measured: Measurement) -> Iterator[Section]:
    if not measured.view_differences:
        return
    rows = tuple(
        (
            part.name,
            str(part.examples),
            figure(part.reference_macro_f1),
            figure(part.macro_f1),
            points(part.loss),
            points_between(part.loss_interval),
        )
        for part in measured.view_differences
    )
    header = ("view", "clips", f"macro-F1, {measured.view}", "macro-F1, view", "loss, points", "95 % interval")
    yield Section(
        "Waveform views",
        (
            "The same clips as another channel would have carried them, scored by the same ensembles. The interval is "
            "of the loss, on the same draws of speakers in both.",
        ),
        (Table(header, rows, f"What each view costs against {measured.view}"),),
    )


def _durations(measured: Measurement) -> Iterator[Section]:
    parts = measured.durations
    if not parts:
        return
    yield Section(
        "Duration of speech",
        (
            "Seconds from shortly before the first speech of a clip to shortly behind its last. A part holds few "
            "examples of few classes: its macro-F1 is the mean over the classes that occur in it.",
        ),
        (_part_table(parts, "speech", "Scores by seconds of speech"),),
        (
            Picture(
                "durations.png",
                "Scores by seconds of speech, with the number of examples",
                _listed(f"{p.name}: macro-F1 {figure(p.macro_f1) or 'none'}, {p.examples} examples" for p in parts),
                lambda theme: durations_picture(parts, theme),
            ),
        ),
    )


def _speakers(measured: Measurement) -> Iterator[Section]:
    parts = measured.speakers
    if not parts:
        return
    shown = parts[:LISTED_SPEAKERS]
    listed = f"The {len(shown)} of {len(parts)} speakers" if len(shown) < len(parts) else "All speakers"
    worst, best = parts[0], parts[-1]
    yield Section(
        "Speakers",
        (),
        (_part_table(shown, "speaker", f"{listed}, the lowest macro-F1 first"),),
        (
            Picture(
                "speakers.png",
                "Macro-F1 and accuracy of every speaker, the worst at the top",
                f"{len(parts)} speakers. Lowest macro-F1 {figure(worst.macro_f1)} ({worst.name}), highest "
                f"{figure(best.macro_f1)} ({best.name}).",
                lambda theme: speakers_picture(parts, theme),
            ),
        ),
        brief=False,
    )


def _mistakes(measured: Measurement) -> Iterator[Section]:
    if not measured.mistakes:
        return
    texts = any(mistake.text is not None for mistake in measured.mistakes)
    header = ("example", "speaker", "true", "predicted", *(("text",) if texts else ()), "confidence")
    rows = tuple(
        (m.id, m.speaker, m.true, m.predicted, *((m.text or "",) if texts else ()), figure(m.confidence))
        for m in measured.mistakes
    )
    caption = f"The {len(rows)} wrong predictions of highest confidence"
    yield Section("Most confidently wrong", (), (Table(header, rows, caption, words=len(header) - 1),), brief=False)


def _aggregation_table(parts: Sequence[Difference], reference: str) -> Table:
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


def _part_table(parts: Sequence[PartScores], what: str, caption: str) -> Table:
    rows = tuple((p.name, str(p.examples), str(p.classes), figure(p.macro_f1), figure(p.accuracy)) for p in parts)
    return Table((what, "examples", "classes", "macro-F1", "accuracy"), rows, caption)


def _listed(parts: Iterator[str]) -> str:
    return ", ".join(parts)
