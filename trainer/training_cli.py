"""`medusa train` and `medusa evaluate`: thin shells around stages and protocols."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer.evaluation import Scored
    from trainer.recipe import Recipe
    from trainer.stages import Announce

_CORPORA = click.option(
    "--corpora",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder that holds the corpora, each in a folder of its own name.",
)
_FEATURES = click.option(
    "--features",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("features"),
    show_default=True,
    help="The folder of the feature stores; what is missing is extracted first.",
)
_WORK = click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="The folder of the run's artefacts; a run that was stopped goes on from them.",
)
_JOBS = click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Members at a time.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON.")


@click.command(epilog="Example: medusa train --config base --corpora ~/corpora --out bundles/mine --jobs 2")
@click.option("--config", "source", default="base", show_default=True, help="A packaged recipe or a TOML file.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Where the bundle goes.")
@click.option("--name", default=None, help="Name of the bundle; the folder's by default.")
@click.option("--licence", default="CC-BY-NC-SA-4.0", show_default=True, help="Of the weights.")
@click.option(
    "--metrics",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="figures.json from the report of a `medusa evaluate`, for the model card; may be given again.",
)
@_CORPORA
@_FEATURES
@_WORK
@_JOBS
@_JSON
def train(
    source: str,
    out: Path,
    name: str | None,
    licence: str,
    metrics: tuple[Path, ...],
    corpora: Path,
    features: Path,
    work: Path,
    jobs: int,
    as_json: bool,
) -> None:
    """Go from audio folders to a bundle: features, four stages, calibration, model card."""
    from trainer.assembly import RunSpec
    from trainer.export import export_bundle
    from trainer.recipe import load_recipe
    from trainer.stages import run_stages

    recipe = load_recipe(source)
    reports = dict(_read_figures(path) for path in metrics)
    _extract(recipe, corpora, features, list(recipe.corpora))
    spec = RunSpec(recipe, corpora, features, work / recipe.name)
    with _announcing() as announce:
        trained = run_stages(spec, jobs=jobs, announce=announce)
    name = name or out.resolve().name
    bundle = export_bundle(trained, spec, out, name=name, licence=licence, metrics=reports)
    if as_json:
        click.echo(json.dumps({"bundle": str(out), "sha256": bundle.sha256, "temperature": trained.temperature}))
    else:
        click.echo(f"{out}: bundle {bundle.manifest.name}, {len(bundle.manifest.members)} members, {bundle.sha256}")


@click.command(epilog="Example: medusa evaluate models/pretrained/base --corpus ravdess --corpora ~/corpora --folds 5")
@click.argument("bundle", type=str)
@click.option("--corpus", required=True, help="What to evaluate on.")
@click.option("--folds", type=click.IntRange(min=2), default=None, help="Train anew without each fold of speakers.")
@click.option("--leave-out", is_flag=True, help="Train anew without this corpus.")
@click.option("--split", default=None, help="Only this split that the corpus prescribes, such as test.")
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), default=None, help="Where the report goes.")
@_CORPORA
@_FEATURES
@_WORK
@_JOBS
@_JSON
def evaluate(
    bundle: str,
    corpus: str,
    folds: int | None,
    leave_out: bool,
    split: str | None,
    report: Path | None,
    corpora: Path,
    features: Path,
    work: Path,
    jobs: int,
    as_json: bool,
) -> None:
    """Score BUNDLE (a folder, or the name of a shipped one) on a corpus, print the figures and write a report.

    As it is by default, which flatters it on speakers it was trained on. With --folds or --leave-out its recipe is
    trained anew without the speakers or the corpus that are then scored.
    """
    from models.bundle import find_bundle, load_bundle
    from models.errors import BundleError
    from trainer.assembly import TEST_SPLIT, RunSpec
    from trainer.evaluation import evaluate_bundle, evaluate_folds, evaluate_left_out, evaluation_set, present_labels
    from trainer.recipe import load_recipe, parse_recipe

    anew = folds is not None or leave_out
    if folds is not None and leave_out:
        raise click.UsageError("--folds and --leave-out exclude each other")
    if anew and split is not None:
        raise click.UsageError("--split goes with neither --folds nor --leave-out: they score the whole corpus")
    if Path(bundle).suffix == ".toml" or bundle.startswith("recipe:"):
        recipe, loaded = load_recipe(bundle.removeprefix("recipe:")), None
        if not anew:
            raise click.UsageError("a recipe can only be evaluated with --folds or --leave-out")
    else:
        loaded = load_bundle(find_bundle(bundle))
        if not loaded.manifest.recipe:
            raise BundleError(f"{loaded.folder} does not say which recipe it was trained with: nothing to evaluate by")
        recipe = parse_recipe(loaded.manifest.recipe, f"{loaded.folder}, recipe")
    notes: list[str] = []
    _extract(recipe, corpora, features, list(dict.fromkeys([*recipe.corpora, corpus])) if anew else [corpus])
    spec = RunSpec(recipe, corpora, features, work / f"evaluate-{recipe.name}")
    with _announcing() as announce:
        if folds is not None:
            protocol = f"{corpus}, speaker-independent, {folds} folds"
            scored, data = evaluate_folds(spec, corpus, folds, jobs=jobs, started=_say, announce=announce)
            notes.append("Every speaker was scored by an ensemble trained without them.")
        elif leave_out:
            protocol = f"{corpus}, left out of training"
            scored, data = evaluate_left_out(spec, corpus, jobs=jobs, started=_say, announce=announce)
            notes.append(f"Trained without {corpus}; scored over the classes {corpus} has.")
        elif loaded is not None:
            protocol = f"{corpus}{f' {split}' if split else ''}, as shipped"
            data = evaluation_set(recipe, corpora, features, corpus, split=split)
            scored = evaluate_bundle(loaded, data)
            if any(entry.name == corpus for entry in loaded.manifest.corpora) and split != TEST_SPLIT:
                notes.append(f"The bundle was trained on speakers of {corpus}: this is no measure of new voices.")
    _show(scored, data.labels, present_labels(data), protocol, notes, report, as_json=as_json)


def _show(
    scored: Scored, labels: Any, present: Any, protocol: str, notes: list[str], folder: Path | None, *, as_json: bool
) -> None:
    from trainer.evaluation import soft_voting
    from trainer.report import summary_table, write_report

    scored.probabilities["soft voting"] = soft_voting(scored)
    results = scored.measured(labels, present)
    written = {"protocol": protocol, "notes": notes, "models": {r.name: r.as_mapping() for r in results}}
    if folder is not None:
        write_report(folder, results, title=protocol, notes=notes)
        (folder / "figures.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    if as_json:
        click.echo(json.dumps(written))
        return
    click.echo(protocol)
    click.echo(summary_table(results).markdown())
    for note in notes:
        click.echo(note)


def _read_figures(path: Path) -> tuple[str, dict[str, Any]]:
    """What `evaluate` measured, by the name of its protocol; read before anything is trained."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        models = report["models"]
        complete = isinstance(report["protocol"], str) and {"ensemble", "soft voting"} <= models.keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise click.BadParameter(f"{path} is no figures.json of medusa evaluate", param_hint="--metrics")
    return report["protocol"], report


def _extract(recipe: Recipe, corpora: Path, features: Path, names: list[str]) -> None:
    from trainer.corpora.registry import load_corpora
    from trainer.feature_library import FeatureLibrary
    from trainer.progress import terminal_progress

    with FeatureLibrary(features, recipe.modalities, recipe.views, recipe.specs) as library:
        report = library.extract(load_corpora(names, corpora), progress=terminal_progress)
    for problem in report.failures:
        click.echo(f"left out: {problem}", err=True)


def _say(text: str) -> None:
    click.echo(text, err=True)


@contextmanager
def _announcing() -> Iterator[Announce]:
    """A line per model on stderr: rewritten as it trains on a terminal, one at its end elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("development macro-F1 {task.fields[reached]:.3f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def announce(what: str, epoch: int, epochs: int, reached: float) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=epochs, reached=reached)
            bar.update(tasks[what], completed=epoch, reached=reached)
            if not console.is_terminal:
                console.print(
                    f"{what}: {epoch} of at most {epochs}, development macro-F1 {reached:.3f}", highlight=False
                )

        yield announce
