"""`medusa weights`: pretrained weights, shown, fetched and verified."""

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
