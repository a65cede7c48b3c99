"""`medusa evaluate`: a thin shell around the protocols."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainer.command_line import (
    CHANGES,
    CORPORA,
    DEVICE,
    FEATURES,
    JOBS,
    JSON,
    WORK,
    announcing_models,
    ending_in_order,
    extract_missing,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.bundle import Bundle
    from trainer.measurement import Measurement
    from trainer.recipe import Recipe


def _views(_context: click.Context, _option: click.Parameter, written: str) -> tuple[str, ...]:
    from trainer.augment import view
    from trainer.errors import RecipeError

    try:
        return tuple(dict.fromkeys(view(name.strip()).name for name in written.split(",")))
    except RecipeError as error:
        raise click.BadParameter(str(error)) from None


@click.command(epilog="Example: medusa evaluate models/pretrained/base --corpus ravdess --corpora ~/corpora --folds 5")
@click.argument("bundle", type=str)
@click.option("--corpus", required=True, help="What to evaluate on.")
@click.option("--folds", type=click.IntRange(min=2), default=None, help="Train anew without each fold of speakers.")
@click.option("--leave-out", is_flag=True, help="Train anew without this corpus.")
@click.option("--split", default=None, help="Only this split that the corpus prescribes, such as test.")
@click.option(
    "--views",
    default="clean",
    show_default=True,
    callback=_views,
    help="Waveform views, such as clean,telephone: the first is reported on, the others are compared with it.",
)
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), default=None, help="Where the report goes.")
@click.option("--show-text", is_flag=True, help="Quote in the report what people said where it was taken wrongly.")
@CORPORA
@FEATURES
@WORK
@JOBS
@DEVICE
@CHANGES
@JSON
@click.pass_context
def evaluate(
    context: click.Context,
    bundle: str,
    corpus: str,
    folds: int | None,
    leave_out: bool,
    split: str | None,
    views: tuple[str, ...],
    report: Path | None,
    show_text: bool,
    corpora: Path,
    features: Path,
    work: Path,
    jobs: int,
    device: str,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Score BUNDLE (a folder, or the name of a shipped one) on a corpus, print the figures and write a report.

    As it is by default, which flatters it on speakers it was trained on. With --folds or --leave-out its recipe is
    trained anew without the speakers or the corpus that are then scored, and compared with other ways to make one
    answer of its members'. Scored is what raters agreed on: a comment with several labels where one class leads.
    """
    from trainer.assembly import TEST_SPLIT, RunSpec
    from trainer.augment import CLEAN
    from trainer.evaluation import evaluate_bundle, evaluate_folds, evaluate_left_out
    from trainer.evaluation_sets import evaluation_sets, transcripts
    from trainer.measurement import measure
    from trainer.running import Execution

    anew = folds is not None or leave_out
    if folds is not None and leave_out:
        raise click.UsageError("--folds and --leave-out exclude each other")
    if anew and split is not None:
        raise click.UsageError("--split goes with neither --folds nor --leave-out: they score the whole corpus")
    if show_text and report is None:
        raise click.UsageError("--show-text goes with --report: nothing else quotes what people said")
    recipe, loaded = _recipe_and_bundle(bundle, changes)
    if loaded is None and not anew:
        raise click.UsageError("a recipe can only be evaluated with --folds or --leave-out")
    if anew:
        extract_missing(recipe, corpora, features, recipe.corpora, recipe.views, jobs=jobs, device=device)
    extract_missing(recipe, corpora, features, [corpus], views, jobs=jobs, device=device)
    sets = evaluation_sets(recipe, corpora, features, corpus, split=split, views=views)
    spec = RunSpec(recipe, corpora, features, work / f"evaluate-{recipe.name}")
    heard = "" if views[0] == CLEAN else f", view {views[0]}"
    execution = Execution(jobs, device)
    with ending_in_order(context), announcing_models() as announce:
        if folds is not None:
            protocol = f"{corpus}, speaker-independent, {folds} folds{heard}"
            evaluation = evaluate_folds(spec, corpus, folds, sets, execution=execution, started=say, announce=announce)
        elif leave_out:
            protocol = f"{corpus}, left out of training{heard}"
            evaluation = evaluate_left_out(spec, corpus, sets, execution=execution, started=say, announce=announce)
        elif loaded is not None:
            protocol = f"{corpus}{f' {split}' if split else ''}, as shipped{heard}"
            evaluation = evaluate_bundle(loaded, recipe, sets)
            if any(entry.name == corpus for entry in loaded.manifest.corpora) and split != TEST_SPLIT:
                evaluation.notes.append(
                    f"The bundle was trained on speakers of {corpus}: this is no measure of new voices."
                )
    measured = measure(protocol, evaluation, texts=transcripts(recipe, corpora, corpus) if show_text else None)
    _show(measured, report, as_json=as_json)


def _recipe_and_bundle(source: str, changes: Sequence[str]) -> tuple[Recipe, Bundle | None]:
    """What to evaluate: a recipe of its own, or a bundle and the recipe it was trained with."""
    from models.bundle import find_bundle, load_bundle
    from models.errors import BundleError
    from trainer.recipe import load_recipe, parse_recipe

    if Path(source).suffix == ".toml" or source.startswith("recipe:"):
        return load_recipe(source.removeprefix("recipe:"), changes), None
    if changes:
        raise click.UsageError("--set changes a recipe, not a bundle: give recipe:NAME or a TOML file")
    bundle = load_bundle(find_bundle(source))
    if not bundle.manifest.recipe:
        raise BundleError(f"{bundle.folder} does not say which recipe it was trained with: nothing to evaluate by")
    return parse_recipe(bundle.manifest.recipe, f"{bundle.folder}, recipe"), bundle


def _show(measured: Measurement, folder: Path | None, *, as_json: bool) -> None:
    from trainer.report.sections import sections_of
    from trainer.report.writing import write_report

    if folder is not None:
        write_report(folder, measured)
    if as_json:
        click.echo(json.dumps(measured.figures()))
        return
    click.echo(measured.protocol)
    for section in (section for section in sections_of(measured) if section.brief and section.tables):
        click.echo("\n\n".join(["", section.title, *(table.markdown() for table in section.tables)]))
    for note in measured.notes:
        click.echo(f"\n{note}")
