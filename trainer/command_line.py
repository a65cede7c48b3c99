"""What the commands that train and evaluate have in common: options, extraction, progress, an orderly stop."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainer.stopping import CHECKPOINT_EVERY_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trainer.recipe import Recipe
    from trainer.stages import Announce
    from trainer.workload import Part

RECIPE = click.option(
    "--recipe", "--config", "source", default="base", show_default=True, help="A packaged recipe or a TOML file."
)
CORPORA = click.option(
    "--corpora",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder that holds the corpora, each in a folder of its own name.",
)
FEATURES = click.option(
    "--features",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("features"),
    show_default=True,
    help="The folder of the feature stores; what is missing is extracted first.",
)
WORK = click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="The folder of the run's artefacts; a run that was stopped goes on from them.",
)
JOBS = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes: members trained, or clips extracted, at a time.",
)
DEVICE = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="cpu, cuda or cuda:1; auto deals processes to the GPUs.",
)
CHECKPOINT = click.option(
    "--checkpoint-every",
    "checkpoint_every_s",
    type=click.FloatRange(min=0),
    default=CHECKPOINT_EVERY_S,
    show_default=True,
    help="Seconds between two checkpoints of a member.",
)
CHANGES = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change the recipe, in TOML: --set stage1.epochs=3 --set member_defaults.dropout=0.2; may be given again.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON.")


def extract_missing(
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
    """Extracts what the feature stores lack of some corpora; clips that cannot be used are named on stderr."""
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


def say(text: str) -> None:
    """Tells the user something that is no result."""
    click.echo(text, err=True)


@contextmanager
def ending_in_order(context: click.Context) -> Iterator[None]:
    """Ends the command where training was asked to stop, with the exit code of an interrupted program."""
    from models.console import EXIT_INTERRUPTED
    from trainer.errors import TrainingStoppedError

    try:
        yield
    except TrainingStoppedError as stopped:
        say(f"medusa: {stopped}")
        context.exit(EXIT_INTERRUPTED)


@contextmanager
def announcing_models() -> Iterator[Announce]:
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
