"""`medusa train ablate`: the recipe with one thing changed at a time."""

from __future__ import annotations

import json
from pathlib import Path

import click

from trainer.command_line import (
    CHANGES,
    CHECKPOINT,
    CORPORA,
    DEVICE,
    FEATURES,
    JOBS,
    JSON,
    RECIPE,
    WORK,
    announcing_models,
    ending_in_order,
    extract_missing,
    say,
)

RESULT = "ablation"


@click.command(
    epilog="Example: medusa train ablate --corpora ~/corpora --within ravdess --left-out emodb --out results --jobs 2"
)
@RECIPE
@click.option("--within", required=True, help="A corpus some of whose speakers are left out and scored.")
@click.option("--left-out", required=True, help="A corpus that is left out whole, and scored.")
@click.option("--trials", type=click.IntRange(min=1), default=3, show_default=True, help="Seeds, each without others.")
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Parts of the speakers.")
@click.option("--only", multiple=True, help="Only this variant beside the whole recipe; may be given again.")
@click.option("--list", "listed", is_flag=True, help="Name the variants and end.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=None, help="Where JSON and picture go."
)
@CORPORA
@FEATURES
@WORK
@JOBS
@DEVICE
@CHECKPOINT
@CHANGES
@JSON
@click.pass_context
def ablate(
    context: click.Context,
    source: str,
    within: str,
    left_out: str,
    trials: int,
    folds: int,
    only: tuple[str, ...],
    listed: bool,
    out: Path | None,
    corpora: Path,
    features: Path,
    work: Path,
    jobs: int,
    device: str,
    checkpoint_every_s: float,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Change one thing of a recipe at a time, train it anew, and compare it with the whole on the same clips and seeds.

    Every trial is trained without some speakers of one corpus and without the whole of another, and scores both. May be
    stopped at any time, and goes on from where it was.
    """
    from models.machine import written
    from trainer.ablation import Ablation
    from trainer.ablation_report import ablation_picture, ablation_table
    from trainer.assembly import RunSpec
    from trainer.canvas import LIGHT
    from trainer.errors import RecipeError
    from trainer.recipe import load_recipe
    from trainer.running import Execution
    from trainer.variants import VARIANTS

    if listed:
        for variant in VARIANTS:
            click.echo(f"{variant.question:<18} {variant.name}")
        return
    unknown = set(only) - {variant.name for variant in VARIANTS}
    if unknown:
        raise RecipeError(f"no variant {sorted(unknown)}: --list names them")
    recipe = load_recipe(source, changes)
    if {within, left_out} - set(recipe.corpora) or within == left_out:
        raise click.UsageError(f"--within and --left-out are two of the recipe's corpora: {', '.join(recipe.corpora)}")
    chosen = tuple(variant for variant in VARIANTS if not only or variant.name in only)
    extract_missing(recipe, corpora, features, recipe.corpora, recipe.views, jobs=jobs, device=device)
    ablation = Ablation(
        RunSpec(recipe, corpora, features, work / f"ablate-{recipe.name}"),
        within,
        left_out,
        trials=trials,
        folds=folds,
        variants=chosen,
        execution=Execution(jobs, device, checkpoint_every_s),
    )
    with ending_in_order(context), announcing_models() as announce:
        rows = ablation.run(say, announce)
    settings = {"recipe": recipe.name, "within": within, "left_out": left_out, "trials": trials, "folds": folds}
    result = written(RESULT, {**settings, "changes": list(changes)}, [row.as_mapping() for row in rows])
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{RESULT}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (out / f"{RESULT}.png").write_bytes(ablation_picture(rows, LIGHT))
    click.echo(json.dumps(result) if as_json else ablation_table(rows).markdown())
