"""`medusa features`: what training reads, extracted once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainer.command_line import RECIPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer.corpora.manifest import Corpus
    from trainer.extraction import ExtractionReport

_SHOWN_PROBLEMS = 20
"""Of a corpus; `--problems` shows all."""

_FEATURES = click.option(
    "--features",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("features"),
    show_default=True,
    help="The folder of the feature stores.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON, one object a line.")


@click.group(epilog="Example: medusa features extract --corpora ~/corpora")
def features() -> None:
    """Features of a corpus: extracted once a backbone, then read from disk in every training run."""


class _PartType(click.ParamType[tuple[int, int]]):
    """`2/4` is the second of four."""

    name = "r/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """The rank, from 0, and how many there are."""
        rank, slash, of = str(value).partition("/")
        if not (slash and rank.isdecimal() and of.isdecimal() and 1 <= int(rank) <= int(of)):
            self.fail(f"{value!r} is no part such as 1/4 to 4/4", param, ctx)
        return int(rank) - 1, int(of)


@features.command("extract", epilog="Example: medusa features extract --corpora ~/corpora --corpus ravdess --jobs 2")
@click.option(
    "--corpora",
    "root",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder that holds the corpora, each in a folder of its own name.",
)
@click.option(
    "--corpus", "names", multiple=True, help="Only this corpus; may be given again. All of the recipe if none."
)
@RECIPE
@click.option("--view", "views", multiple=True, help="Only this waveform view; may be given again.")
@click.option("--problems", "all_problems", is_flag=True, help="List every problem of every corpus.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that extract, each with its share of the cores; one a core is the fastest for small backbones.",
)
@click.option(
    "--part",
    type=_PartType(),
    default=None,
    help="Only this part of the clips, such as 1/4; for several machines with one features folder.",
)
@_FEATURES
@_JSON
@click.pass_context
def extract_command(
    context: click.Context,
    root: Path,
    names: tuple[str, ...],
    source: str,
    views: tuple[str, ...],
    all_problems: bool,
    jobs: int,
    part: tuple[int, int] | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Extract what a recipe's training needs and the stores lack; may be stopped and started again.

    Exit code 1 if clips could not be used; they are listed at the end, the others are stored.
    """
    from trainer.corpora.registry import load_corpora
    from trainer.feature_library import FeatureLibrary
    from trainer.progress import terminal_progress
    from trainer.recipe import load_recipe
    from trainer.workload import WHOLE, Part

    recipe = load_recipe(source)
    corpora = load_corpora(names or recipe.corpora, root)
    for corpus in corpora:
        _show_corpus(corpus, limit=None if all_problems else _SHOWN_PROBLEMS)
    with FeatureLibrary(folder, recipe.modalities, views or recipe.views, recipe.specs) as library:
        report = library.extract(
            corpora, progress=terminal_progress, jobs=jobs, part=WHOLE if part is None else Part(*part)
        )
        _show_report(report, sorted(library.stores), as_json=as_json)
    if report.failures:
        count = len({problem.where for problem in report.failures})
        click.echo(f"medusa: error: clips that could not be used: {count}; replace or remove them", err=True)
        context.exit(1)


@features.command("info", epilog="Example: medusa features info --verify --jobs 2")
@click.option("--verify", is_flag=True, help="Read every frame and compare checksums.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Utterances verified at a time.")
@_FEATURES
@_JSON
@click.pass_context
def info_command(context: click.Context, verify: bool, jobs: int, folder: Path, as_json: bool) -> None:
    """Show what is stored: utterances, hours, size, corpora, policy, what was stored twice.

    Exit code 1 if `--verify` finds damage.
    """
    from dataclasses import asdict

    from trainer.progress import terminal_progress
    from trainer.store_figures import StoreFigures, stores_in

    damaged = 0
    for store in stores_in(folder):
        with terminal_progress(f"verifying {store.folder.name}", len(store) if verify else 0, 0.0) as advance:
            figures = StoreFigures.of(store, verify=verify, jobs=jobs, advance=lambda count: advance(count, 0.0))
        damaged += len(figures.damaged or {})
        click.echo(json.dumps(asdict(figures)) if as_json else "\n".join(figures.lines()))
    if damaged:
        click.echo(
            f"medusa: error: {damaged} damaged entries; delete the shards that hold them, each with its .jsonl, "
            "and extract again",
            err=True,
        )
        context.exit(1)


def _show_corpus(corpus: Corpus, *, limit: int | None) -> None:
    """Size and problems of a corpus, on stderr."""
    hours = corpus.duration_s / 3600
    problems = corpus.problems
    click.echo(
        f"{corpus.name}: {len(corpus)} utterances, {len(corpus.speakers)} speakers, {hours:.2f} h of audio, "
        f"{len(problems)} problems",
        err=True,
    )
    for problem in problems[:limit]:
        click.echo(f"  {problem}", err=True)
    if limit is not None and len(problems) > limit:
        click.echo(f"  ... and {len(problems) - limit} more; --problems lists them", err=True)


def _show_report(report: ExtractionReport, stores: Sequence[str], *, as_json: bool) -> None:
    for store in stores:
        stored, present, missing = report.stored[store], report.present[store], report.missing[store]
        if as_json:
            fields = {"store": store, "stored": stored, "present": present, "missing_modality": missing}
            click.echo(json.dumps(fields))
        else:
            click.echo(f"{store:<32} {stored:>8} stored {present:>8} there before {missing:>8} without the modality")
    for problem in report.failures:
        if as_json:
            click.echo(json.dumps({"clip": problem.where, "error": problem.what}))
        else:
            click.echo(f"not usable: {problem}")
