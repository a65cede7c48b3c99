"""`medusa train`: from audio folders to a bundle, and what each part of the way is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from trainer.ablation_cli import ablate
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
)


class _TrainCommands(click.Group):
    """Trains, where no other of its commands is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads the arguments, the name of a command put before them where there is none."""
        return super().parse_args(ctx, self.named(args))

    def named(self, args: list[str]) -> list[str]:
        """The arguments, with the command that trains where they name none."""
        return args if args and args[0] in self.commands else ["bundle", *args]


@click.group(cls=_TrainCommands)
def train() -> None:
    """Train a bundle, or find out what each part of its training is worth."""


train.add_command(ablate)


@train.command("bundle", epilog="Example: medusa train --config base --corpora ~/corpora --out bundles/mine --jobs 2")
@RECIPE
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Where the bundle goes.")
@click.option("--name", default=None, help="Name of the bundle; the folder's by default.")
@click.option("--licence", default="CC-BY-NC-SA-4.0", show_default=True, help="Of the weights.")
@click.option(
    "--metrics",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="figures.json from the report of a `medusa evaluate`, for the model card; may be given again.",
)
@click.option(
    "--check-clips",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Held-out utterances that travel with the bundle, as features and tokens, for engines to be checked on; 0 "
    "where the corpora may not be passed on.",
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
def train_bundle(
    context: click.Context,
    source: str,
    out: Path,
    name: str | None,
    licence: str,
    metrics: tuple[Path, ...],
    check_clips: int,
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
    `medusa train ablate` tells what each part of the recipe is worth.
    """
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
    with ending_in_order(context), join_ranks() as ranks:
        part = Part(ranks.rank, ranks.world)
        here = choose_compute(device, worker=ranks.local_rank).device
        extract_missing(recipe, corpora, features, recipe.corpora, recipe.views, jobs=jobs, device=here, part=part)
        ranks.barrier()
        execution = Execution(jobs, device, checkpoint_every_s, ranks)
        with announcing_models() as announce:
            trained = run_stages(spec, execution, announce=announce)
    if not ranks.leads:
        return
    name = name or out.resolve().name
    bundle = export_bundle(trained, spec, out, name=name, licence=licence, metrics=reports, check_clips=check_clips)
    if as_json:
        click.echo(json.dumps({"bundle": str(out), "sha256": bundle.sha256, "temperature": trained.temperature}))
    else:
        click.echo(f"{out}: bundle {bundle.manifest.name}, {len(bundle.manifest.members)} members, {bundle.sha256}")


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
