"""Pins taken on first use: what a release does not pin, the first fetch does, and every later load is held to it.

For some files nobody publishes a SHA-256 that could be written into the registry. When such a file is fetched for the
first time, its SHA-256 and the commit it came from go into `NAME.pin.json` beside the weights; from then on it is
pinned like any other. Only whoever deletes that file can take other weights of the same name.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from models.errors import WeightsError
from models.weights_registry import WeightFile, WeightSpec

PinnedBy = Literal["release", "first use", "nobody"]


@dataclass(frozen=True, slots=True)
class Pins:
    """What was taken on first use."""

    revision: str | None
    """Commit on the hub; None where the files came from a folder."""
    files: dict[str, tuple[int, str]]
    """Size in bytes and SHA-256, by file."""


def pin_path(spec: WeightSpec, cache: Path) -> Path:
    """The file that holds the pins of some weights."""
    return cache / f"{spec.name}.pin.json"


def read_pins(spec: WeightSpec, cache: Path) -> Pins | None:
    """The pins of some weights; None before their first use.

    Raises:
        WeightsError: the file is damaged.
    """
    path = pin_path(spec, cache)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        files = {str(name): (int(pin["size_bytes"]), str(pin["sha256"])) for name, pin in values["files"].items()}
        pins = Pins(values["revision"], files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path}: these pins cannot be read ({error}); delete it only if you trust the next download of {spec.name}"
        ) from error
    return pins


def write_pins(spec: WeightSpec, cache: Path) -> None:
    """Writes the pins of weights that have been fetched, in one step.

    Args:
        spec: with the size and SHA-256 of every file, and the commit where it is known.
        cache: the folder of all weights.
    """
    values: dict[str, Any] = {
        "repository": None if spec.hub is None else spec.hub.repository,
        "revision": None if spec.hub is None else spec.hub.revision,
        "files": {file.name: {"size_bytes": file.size_bytes, "sha256": file.sha256} for file in spec.files},
    }
    path = pin_path(spec, cache)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)


def with_pins(spec: WeightSpec, cache: Path) -> WeightSpec:
    """The weights with every pin there is; what the release pins stays as it is.

    Raises:
        WeightsError: the file of pins is damaged.
    """
    if spec.is_pinned:
        return spec
    pins = read_pins(spec, cache)
    if pins is None:
        return spec
    files = tuple(_pinned(file, pins) for file in spec.files)
    hub = spec.hub
    if hub is not None and hub.revision is None:
        hub = replace(hub, revision=pins.revision)
    return replace(spec, files=files, hub=hub)


def pinned_by(spec: WeightSpec, cache: Path) -> dict[str, PinnedBy]:
    """Who pins each file.

    Raises:
        WeightsError: the file of pins is damaged.
    """
    now = {file.name: file for file in with_pins(spec, cache).files}
    return {
        file.name: "release" if file.sha256 is not None else "first use" if now[file.name].sha256 else "nobody"
        for file in spec.files
    }


def _pinned(file: WeightFile, pins: Pins) -> WeightFile:
    if file.sha256 is not None or file.name not in pins.files:
        return file
    size_bytes, sha256 = pins.files[file.name]
    return replace(file, size_bytes=size_bytes, sha256=sha256)
