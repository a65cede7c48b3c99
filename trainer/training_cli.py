"""`medusa train` and `medusa evaluate`: thin shells around stages and protocols."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.bundle import Bundle
    from trainer.measurement import Measurement
    from trainer.recipe import Recipe
    from trainer.stages import Announce
    from trainer.workload import Part

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
_JOBS = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes: members trained, or clips extracted, at a time.",
)
_DEVICE = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="cpu, cuda or cuda:1; auto deals processes to the GPUs.",
)
_CHECKPOINT = click.option(
    "--checkpoint-every",
    "checkpoint_every_s",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    help="Seconds between two checkpoints of a member.",
)
_CHANGES = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change the recipe, in TOML: --set stage1.epochs=3 --set member_defaults.dropout=0.2; may be given again.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON.")


@click.command(epilog="Example: medusa train --config base --corpora ~/corpora --out bundles/mine --jobs 2")
@click.option(
    "--recipe", "--config", "source", default="base", show_default=True, help="A packaged recipe or a TOML file."
)
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
@_DEVICE
@_CHECKPOINT
@_CHANGES
@_JSON
@click.pass_context
def train(
    context: click.Context,
    source: str,
    out: Path,
    name: str | None,
    licence: str,
    metrics: tuple[Path, ...],
    corpora: Path,
    features: Path,
    work: Path,
    jobs: int,
    device: str,
    checkpoint_every_s: float,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Go from audio folders to a bundle: features, four stages, calibration, model card.

    May be stopped at any time, and goes on from where it was when it is started again. Under torchrun, as in
    `torchrun --nproc-per-node 4 --no-python medusa train ...`, the processes share the members.
    """
    from trainer.numeric_threads import one_numpy_thread

    one_numpy_thread()
    from trainer.assembly import RunSpec
    from trainer.compute import choose_compute
    from trainer.export import export_bundle
    from trainer.ranks import join_ranks
    from trainer.recipe import load_recipe
    from trainer.running import Execution, run_stages
    from trainer.workload import Part

    recipe = load_recipe(source, changes)
    reports = dict(_read_figures(path) for path in metrics)
    spec = RunSpec(recipe, corpora, features, work / recipe.name)
    with _stopping(context), join_ranks() as ranks:
        part = Part(ranks.rank, ranks.world)
        here = choose_compute(device, worker=ranks.local_rank).device
        _extract(recipe, corpora, features, recipe.corpora, recipe.views, jobs=jobs, device=here, part=part)
        ranks.barrier()
        execution = Execution(jobs, device, checkpoint_every_s, ranks)
        with _announcing() as announce:
            trained = run_stages(spec, execution, announce=announce)
    if not ranks.leads:
        return
    name = name or out.resolve().name
    bundle = export_bundle(trained, spec, out, name=name, licence=licence, metrics=reports)
    if as_json:
        click.echo(json.dumps({"bundle": str(out), "sha256": bundle.sha256, "temperature": trained.temperature}))
    else:
        click.echo(f"{out}: bundle {bundle.manifest.name}, {len(bundle.manifest.members)} members, {bundle.sha256}")


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
@_CORPORA
@_FEATURES
@_WORK
@_JOBS
@_DEVICE
@_CHANGES
@_JSON
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
    from trainer.numeric_threads import one_numpy_thread

    one_numpy_thread()
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
        _extract(recipe, corpora, features, recipe.corpora, recipe.views, jobs=jobs, device=device)
    _extract(recipe, corpora, features, [corpus], views, jobs=jobs, device=device)
    sets = evaluation_sets(recipe, corpora, features, corpus, split=split, views=views)
    spec = RunSpec(recipe, corpora, features, work / f"evaluate-{recipe.name}")
    heard = "" if views[0] == CLEAN else f", view {views[0]}"
    execution = Execution(jobs, device)
    with _stopping(context), _announcing() as announce:
        if folds is not None:
            protocol = f"{corpus}, speaker-independent, {folds} folds{heard}"
            evaluation = evaluate_folds(spec, corpus, folds, sets, execution=execution, started=_say, announce=announce)
        elif leave_out:
            protocol = f"{corpus}, left out of training{heard}"
            evaluation = evaluate_left_out(spec, corpus, sets, execution=execution, started=_say, announce=announce)
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


def _extract(
    recipe: Recipe,
    corpora: Path,
    features: Path,
    names: Sequence[str],
    views: Sequence[str],
    *,
    jobs: int,
    device: str,
    part: Part | None = None,
) -> None:
    from trainer.corpora.registry import load_corpora
    from trainer.feature_library import FeatureLibrary
    from trainer.progress import terminal_progress
    from trainer.workload import WHOLE

    with FeatureLibrary(features, recipe.modalities, views, recipe.specs) as library:
        report = library.extract(
            load_corpora(names, corpora), progress=terminal_progress, jobs=jobs, device=device, part=part or WHOLE
        )
    for problem in report.failures:
        click.echo(f"left out: {problem}", err=True)


def _say(text: str) -> None:
    click.echo(text, err=True)


@contextmanager
def _stopping(context: click.Context) -> Iterator[None]:
    """Ends the command where training was asked to stop, with the exit code of an interrupted program."""
    from models.console import EXIT_INTERRUPTED
    from trainer.errors import TrainingStoppedError

    try:
        yield
    except TrainingStoppedError as stopped:
        _say(f"medusa: {stopped}")
        context.exit(EXIT_INTERRUPTED)


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
