"""The commands of this package: `medusa weights` and `medusa compile`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.weights import WeightStatus

_CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The TOML file whose [weights] section holds; ./config.toml if there is one.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON, one object a line.")


@click.group(epilog="Example: medusa weights fetch")
def weights() -> None:
    """Pretrained weights: which there are, where they come from, whether they are intact."""


@weights.command("list", epilog="Example: medusa weights list --json")
@_CONFIG
@_JSON
def list_command(config: Path | None, as_json: bool) -> None:
    """Show the registry and what the cache holds of it."""
    from models.weights import list_weights
    from models.weights_settings import load_weights_settings

    _show(list_weights(load_weights_settings(config)), as_json=as_json)


@weights.command("fetch", epilog="Example: medusa weights fetch whisper-base")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--profile",
    type=click.Choice(["base", "large"]),
    default="base",
    show_default=True,
    help="Whose weights, if none is named.",
)
@_CONFIG
@_JSON
def fetch_command(names: tuple[str, ...], profile: str, config: Path | None, as_json: bool) -> None:
    """Fetch weights into the cache; all of a profile if none is named.

    What this release does not pin is pinned now: later loads are held to it.
    """
    from models.weights import weights_folder
    from models.weights_registry import WEIGHTS, weight_spec
    from models.weights_settings import load_weights_settings

    settings = load_weights_settings(config)
    specs = [weight_spec(name) for name in names] or [spec for spec in WEIGHTS.values() if spec.profile == profile]
    for spec in specs:
        folder = weights_folder(spec.name, settings, progress=not as_json)
        click.echo(
            json.dumps({"name": spec.name, "folder": str(folder)}) if as_json else f"{spec.name}: ready in {folder}"
        )


@weights.command("verify", epilog="Example: medusa weights verify minilm-l6")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_CONFIG
@_JSON
@click.pass_context
def verify_command(context: click.Context, names: tuple[str, ...], config: Path | None, as_json: bool) -> None:
    """Read the cached files again and compare their SHA-256.

    Exit code 1 if a file is damaged, or if weights named here are absent.
    """
    from models.weights import verify_weights
    from models.weights_settings import load_weights_settings

    statuses = verify_weights(names, load_weights_settings(config))
    _show(statuses, as_json=as_json)
    if any(status.state == "damaged" or (names and status.state == "absent") for status in statuses):
        click.echo("medusa: error: weights are damaged or absent; run medusa weights fetch", err=True)
        context.exit(1)


def _show(statuses: Sequence[WeightStatus], *, as_json: bool) -> None:
    for status in statuses:
        if as_json:
            fields = {
                "name": status.name,
                "state": status.state,
                "folder": str(status.folder),
                "size_bytes": status.size_bytes,
                "licence": status.licence,
                "description": status.description,
                "pinned_by": dict(status.pinned_by),
                "problems": list(status.problems),
            }
            click.echo(json.dumps(fields))
            continue
        size = f"{status.size_bytes / 1e6:6.0f} MB" if status.size_bytes else f"{'? MB':>9}"
        click.echo(f"{status.name:<16} {status.state:<8} {size}  {status.description}")
        click.echo(f"{'':<16} {'':<8} {'':>9}  {status.licence}; {status.folder}")
        click.echo(f"{'':<16} {'':<8} {'':>9}  {_pins(status)}")
        for problem in status.problems:
            click.echo(f"{'':<16} {problem}")


def _pins(status: WeightStatus) -> str:
    """Who pins what, in words."""
    words = {
        "release": "pinned by this release",
        "first use": "pinned on first use",
        "nobody": "to be pinned on first use",
    }
    told = []
    for who, said in words.items():
        files = [name for name, by in status.pinned_by.items() if by == who]
        if len(files) == len(status.pinned_by):
            return said
        if files:
            told.append(f"{', '.join(files)} {said}")
    return "; ".join(told)


def _names(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in value.split(","))
    if not all(names):
        raise click.BadParameter(f"{value!r} has an empty name between its commas.")
    return names


@click.command("compile", epilog="Example: medusa compile --bundle runs/mine/bundle --target onnx")
@click.option(
    "--bundle", "source", default="base", show_default=True, help="A bundle's folder, or a shipped one's name."
)
@click.option("--target", "targets", callback=_names, default="onnx", show_default=True, help="Engines, by comma.")
@click.option(
    "--precision", "precisions", callback=_names, default="fp32", show_default=True, help="Precisions, by comma."
)
@click.option("--force", is_flag=True, help="Compile even what the cache already holds.")
@_CONFIG
@_JSON
def compile_bundle(
    source: str, targets: tuple[str, ...], precisions: tuple[str, ...], force: bool, config: Path | None, as_json: bool
) -> None:
    """Make a bundle executable, compare its answers with PyTorch's, and keep the engine in the cache."""
    import dataclasses

    from models import compile as compiler
    from models.backbones.text_source import text_sources
    from models.bundle import find_bundle, load_bundle
    from models.weights_settings import load_weights_settings

    bundle = load_bundle(find_bundle(source))
    text = text_sources(bundle, load_weights_settings(config), progress=not as_json)
    for target in targets:
        for precision in precisions:
            report = compiler.compile_bundle(bundle, target, precision, text=text, force=force)
            if as_json:
                click.echo(json.dumps(dataclasses.asdict(report)))
                continue
            origin = "from the cache" if report.cached else f"compiled in {report.seconds:.1f} s"
            click.echo(
                f"{report.engine} {report.precision}: {origin}; largest difference from PyTorch "
                f"{report.largest_difference:.1e}, labels agree in {report.label_agreement:.0%} of {report.rows} rows\n"
                f"  {report.path}"
            )
