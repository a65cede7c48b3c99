"""The commands of this package: `medusa features`, `medusa train` and `medusa evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

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


@features.command("extract", epilog="Example: medusa features extract --corpora ~/corpora --corpus ravdess")
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
@click.option("--config", "source", default="base", show_default=True, help="A packaged recipe or a TOML file.")
@click.option("--view", "views", multiple=True, help="Only this waveform view; may be given again.")
@click.option("--problems", "all_problems", is_flag=True, help="List every problem of every corpus.")
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

    recipe = load_recipe(source)
    corpora = load_corpora(names or recipe.corpora, root)
    for corpus in corpora:
        _show_corpus(corpus, limit=None if all_problems else _SHOWN_PROBLEMS)
    with FeatureLibrary(folder, recipe.modalities, views or recipe.views, recipe.specs) as library:
        report = library.extract(corpora, progress=terminal_progress)
        _show_report(report, sorted(library.stores), as_json=as_json)
    if report.failures:
        count = len({problem.where for problem in report.failures})
        click.echo(f"medusa: error: clips that could not be used: {count}; replace or remove them", err=True)
        context.exit(1)


@features.command("info", epilog="Example: medusa features info --verify")
@click.option("--verify", is_flag=True, help="Read every frame and compare checksums.")
@_FEATURES
@_JSON
@click.pass_context
def info_command(context: click.Context, verify: bool, folder: Path, as_json: bool) -> None:
    """Show which features are stored, and under which policy they were made.

    Exit code 1 if `--verify` finds damage.
    """
    from collections import Counter

    from trainer.errors import FeatureStoreError
    from trainer.feature_policy import POLICY_FILE
    from trainer.features import FeatureStore

    folders = sorted(path.parent for path in folder.glob(f"*/{POLICY_FILE}"))
    if not folders:
        raise FeatureStoreError(f"no feature store under {folder}; run medusa features extract")
    damaged = 0
    for path in folders:
        store = FeatureStore.inspect(path)
        corpora = Counter(utterance.partition("/")[0] for utterance in store)
        broken = store.verify() if verify else ()
        damaged += len(broken)
        if as_json:
            fields = {
                "store": path.name,
                "utterances": len(store),
                "frames": store.frames,
                "size_bytes": store.size_bytes,
                "corpora": dict(corpora),
                "policy": store.policy,
                "damaged": list(broken),
            }
            click.echo(json.dumps(fields))
            continue
        click.echo(
            f"{path.name:<32} {len(store):>8} utterances {store.frames:>10} frames {store.size_bytes / 1e6:>8.1f} MB"
        )
        click.echo(f"  {', '.join(f'{name} {count}' for name, count in corpora.items()) or 'empty'}")
        for utterance in broken:
            click.echo(f"  damaged: {utterance}")
    if damaged:
        click.echo(f"medusa: error: {damaged} damaged entries; delete their stores and extract again", err=True)
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
