"""What a report says, section by section, whatever it is written as."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from trainer.canvas import Theme
from trainer.measurement import Measurement
from trainer.report.contents import (
    abstention_table,
    aggregation_table,
    class_table,
    mistake_table,
    part_table,
    summary_table,
    view_table,
)
from trainer.report.pictures import (
    confusion_picture,
    differences_picture,
    durations_picture,
    reliability_picture,
    risk_coverage_picture,
    speakers_picture,
)
from trainer.report.tables import Table, between, figure, points, share

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
        (aggregation_table(measured.aggregations, name),),
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
        tables = (abstention_table(result, measured.abstention_in_use),)
        right = share(held.accuracy) or "none"
        said += f" At the threshold {share(held.coverage)} get a label and {right} of those labels are right."
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
    yield Section(
        "Waveform views",
        (
            "The same clips as another channel would have carried them, scored by the same ensembles. The interval is "
            "of the loss, on the same draws of speakers in both.",
        ),
        (view_table(measured.view_differences, measured.view),),
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
        (part_table(parts, "speech", "Scores by seconds of speech"),),
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
        (part_table(shown, "speaker", f"{listed}, the lowest macro-F1 first"),),
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
    yield Section("Most confidently wrong", (), (mistake_table(measured.mistakes),), brief=False)


def _listed(parts: Iterator[str]) -> str:
    return ", ".join(parts)
