"""Features: what extracting them costs, and whether training ever waits for reading them."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from benchmarks.feature_reading import ReadingRow, StepRow, measure_reading, measure_steps
from models.errors import FeatureError, WeightsError
from models.machine import this_machine, written
from trainer.audio import read_clip
from trainer.corpora.manifest import Corpus, Utterance
from trainer.corpora.registry import load_corpora
from trainer.errors import TrainerError
from trainer.extractors import Clip, Extractor, open_extractor
from trainer.feature_library import FeatureLibrary
from trainer.progress import Advance
from trainer.recipe import Recipe, load_recipe
from trainer.silence import trim_silence

HOUR_S: Final = 3600.0
TOLD_HOURS: Final = 100
"""Of audio, for which the time is told."""
ONE_BY_ONE_CLIPS: Final = 40
"""Clips on which backbones are measured one by one."""
DECODING: Final = "decoding"
WHOLE: Final = "all"


@dataclass(frozen=True, slots=True)
class ExtractionRow:
    """What one backbone costs, or all of them in several processes."""

    measurement: str
    """`extraction`."""
    backbone: str
    """`decoding` is reading a clip and cutting its silence; `all` is the whole, as `medusa features extract` has it."""
    clips: int
    audio_s: float
    jobs: int
    cpu_s_per_audio_s: float
    hours_an_hour: float | None
    """Hours of audio in an hour by the clock, once every process has started; of all together alone."""
    hours_for_100_hours: float
    """By the clock, on the cores of this machine: from the clock for all, from processor time for one backbone."""


def measure_backbones(utterances: Sequence[Utterance], recipe: Recipe) -> list[ExtractionRow]:
    """Runs every backbone of a recipe alone over some clips, in this process with one thread.

    Args:
        utterances: with audio.
        recipe: says which backbones, and the strides do not matter.

    Raises:
        WeightsError: a backbone's weights cannot be had.
        FeatureError: a clip cannot be encoded.
    """
    audio_s = sum(u.duration_s or 0.0 for u in utterances)
    started = time.process_time()
    clips = [Clip(u.id, trim_silence(read_clip(u.audio)), u.text or "") for u in utterances if u.audio is not None]
    spent = {DECODING: time.process_time() - started}
    for name in dict.fromkeys(source.backbone for source in recipe.modalities.values()):
        extractor = open_extractor(name, threads=1)
        _encode(extractor, clips[:1])
        started = time.process_time()
        _encode(extractor, clips)
        spent[name] = time.process_time() - started
    cores = this_machine().cores
    return [
        ExtractionRow(
            measurement="extraction",
            backbone=name,
            clips=len(clips),
            audio_s=round(audio_s, 1),
            jobs=1,
            cpu_s_per_audio_s=round(cpu_s / audio_s, 5),
            hours_an_hour=None,
            hours_for_100_hours=round(TOLD_HOURS * cpu_s / audio_s / cores, 3),
        )
        for name, cpu_s in spent.items()
    ]


def _encode(extractor: Extractor, clips: Sequence[Clip]) -> None:
    batches: dict[Any, list[Clip]] = {}
    for clip in clips:
        batch = batches.setdefault(extractor.bucket(clip), [])
        batch.append(clip)
        if len(batch) == extractor.room(clip):
            extractor.encode(batch)
            batch.clear()
    for batch in batches.values():
        if batch:
            extractor.encode(batch)


def measure_extraction(corpora: Sequence[Corpus], recipe: Recipe, jobs: int, folder: Path) -> ExtractionRow:
    """Extracts everything a recipe reads of some clips, as training does it.

    Args:
        corpora: the clips.
        recipe: backbones, strides, views.
        jobs: processes.
        folder: for the stores; empty.

    Raises:
        TrainerError: a store cannot be written, or clips cannot be used: they would make the figures too good.
    """
    told: list[tuple[float, float]] = []

    @contextmanager
    def progress(_description: str, _utterances: int, _audio_s: float) -> Iterator[Advance]:
        yield lambda _count, seconds: told.append((time.perf_counter(), seconds))

    clips = [u for corpus in corpora for u in corpus.utterances]
    views = len(recipe.views)
    audio_s = sum(u.duration_s or 0.0 for u in clips)
    before_s, started = _cpu_s(), time.perf_counter()
    with FeatureLibrary(folder, recipe.modalities, recipe.views, recipe.specs) as library:
        report = library.extract(corpora, progress=progress, jobs=jobs)
    wall_s, cpu_s = time.perf_counter() - started, _cpu_s() - before_s
    if report.failures:
        # A clip fails once in every view.
        unusable = {problem.where for problem in report.failures}
        raise TrainerError(f"{len(unusable)} clips could not be used, first: {report.failures[0]}")
    # Once the first of them has come back, all processes are at work.
    steady_s = sum(seconds for _, seconds in told[jobs:])
    rate = steady_s / (told[-1][0] - told[jobs - 1][0]) if len(told) > jobs else audio_s / wall_s
    return ExtractionRow(
        measurement="extraction",
        backbone=WHOLE,
        clips=len(clips),
        audio_s=round(audio_s, 1),
        jobs=jobs,
        cpu_s_per_audio_s=round(cpu_s / audio_s, 5),
        hours_an_hour=round(rate / views, 1),
        hours_for_100_hours=round(TOLD_HOURS / (rate / views), 3),
    )


def _cpu_s() -> float:
    """User and system time of this process and of those it started that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def chosen(corpora: Sequence[Corpus], clips: int) -> list[Corpus]:
    """So many spoken utterances of some corpora, spread evenly over them."""
    spoken = [u for corpus in corpora for u in corpus.utterances if u.audio is not None and u.duration_s]
    if not spoken:
        raise TrainerError("no clips to extract: none says how long it is")
    kept = [spoken[i * len(spoken) // clips] for i in range(clips)] if clips < len(spoken) else spoken
    names = dict.fromkeys(u.corpus for u in kept)
    return [Corpus(name, "", "", tuple(u for u in kept if u.corpus == name)) for name in names]


def table(extraction: Sequence[ExtractionRow], reading: Sequence[ReadingRow], step: StepRow) -> list[Table]:
    """The rows, for people."""
    costs = Table(title="Extraction")
    for heading in ("backbone", "jobs", "clips", "audio s", "CPU s/audio s", "h/h", f"hours for {TOLD_HOURS} h"):
        costs.add_column(heading, justify="left" if heading == "backbone" else "right")
    for row in extraction:
        costs.add_row(
            row.backbone,
            str(row.jobs),
            str(row.clips),
            f"{row.audio_s:.0f}",
            f"{row.cpu_s_per_audio_s:.4f}",
            "" if row.hours_an_hour is None else f"{row.hours_an_hour:.0f}",
            f"{row.hours_for_100_hours:.2f}",
        )
    reads = Table(title="Reading at random")
    for heading in ("page cache", "hours stored", "examples", "examples/s", "MB/s"):
        reads.add_column(heading, justify="right")
    for read in reading:
        reads.add_row(
            read.page_cache,
            f"{read.stored_hours:g}",
            str(read.examples),
            f"{read.examples_per_s:.0f}",
            f"{read.mb_per_s:.0f}",
        )
    waits = Table(title=f"Reading beside a training step of {step.member}")
    for heading in ("parameters", "batch", "MB a batch", "reading ms", "step ms", "reading / step"):
        waits.add_column(heading, justify="right")
    waits.add_row(
        str(step.parameters),
        str(step.batch),
        f"{step.mb_a_batch:.2f}",
        f"{step.reading_ms:.2f}",
        f"{step.step_ms:.1f}",
        f"{step.reading_over_step:.3f}",
    )
    return [costs, reads, waits]


@click.command(epilog="Example: medusa bench features --corpora ~/corpora --corpus ravdess --clips 400 --jobs 2")
@click.option(
    "--corpora",
    "root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=None,
    help="The folder that holds the corpora; without it, extraction is not measured.",
)
@click.option("--corpus", "names", multiple=True, default=("ravdess",), show_default=True, help="May be given again.")
@click.option("--clips", type=click.IntRange(min=1), default=400, show_default=True, help="Clips to extract.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Processes that extract; one a core if none.")
@click.option(
    "--hours", type=click.FloatRange(min=0.05), default=20.0, show_default=True, help="Of made-up features to read."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def main(root: Path | None, names: tuple[str, ...], clips: int, jobs: int | None, hours: float, as_json: bool) -> None:
    """Measures extraction by backbone and as a whole, and reading beside a training step of the largest base member."""
    recipe = load_recipe("base")
    jobs = jobs or this_machine().cores
    extraction: list[ExtractionRow] = []
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            if root is not None:
                corpora = chosen(load_corpora(names, root), clips)
                # The whole first: what its processes load is not in this one's memory yet.
                extraction.append(measure_extraction(corpora, recipe, jobs, folder / "extracted"))
                some = chosen(corpora, ONE_BY_ONE_CLIPS)
                extraction += measure_backbones([u for corpus in some for u in corpus.utterances], recipe)
            reading, library = measure_reading(recipe, hours, folder / "made-up")
            step = measure_steps(recipe, library)
    except (TrainerError, FeatureError, WeightsError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        stated = {"recipe": recipe.name, "corpora": list(names) if root else [], "jobs": jobs, "hours": hours}
        rows = [*map(asdict, extraction), *map(asdict, reading), asdict(step)]
        click.echo(json.dumps(written("features", stated, rows), indent=1))
    else:
        for shown in table(extraction, reading, step):
            if shown.row_count:
                Console().print(shown)


if __name__ == "__main__":
    main()
