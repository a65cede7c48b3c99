"""What a run leaves on disk, so that it can be stopped and taken up again: weights and reports, stage by stage."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from trainer.assembly import RunSpec
from trainer.errors import RecipeError

FORMAT_VERSION = 1


class Artefacts:
    """The folder of a run.

    A stage's artefact is there only when it is whole: weights first, then the report that says so.
    """

    def __init__(self, spec: RunSpec) -> None:
        """Opens or makes the folder.

        Raises:
            RecipeError: it holds a run of another recipe, or one that others were kept out of.
        """
        self.folder = spec.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        excluded = [asdict(entry) for entry in spec.excluded]
        described = {"format_version": FORMAT_VERSION, "recipe": spec.recipe.model_dump(mode="json")}
        wanted = json.loads(json.dumps({**described, "excluded": excluded}))
        path = self.folder / "run.json"
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found != wanted:
                raise RecipeError(
                    f"{self.folder} holds a run of another recipe, or one without other speakers: "
                    "give another --work folder, or delete it"
                )
        else:
            _write(path, (json.dumps(wanted, indent=2) + "\n").encode())

    def claim(self, data: str) -> None:
        """Ties the folder to the examples of its run, so that it is never taken up again on others.

        Args:
            data: their fingerprint.

        Raises:
            RecipeError: it holds a run on other examples.
        """
        path = self.folder / "data.json"
        if not path.is_file():
            _write(path, (json.dumps({"sha256": data}) + "\n").encode())
        elif json.loads(path.read_text(encoding="utf-8")) != {"sha256": data}:
            raise RecipeError(
                f"{self.folder} holds a run on other data, since corpora or features have changed: "
                "give another --work folder, or delete it"
            )

    def has(self, stage: str, name: str) -> bool:
        """Whether a stage has finished a model."""
        return (self.folder / stage / f"{name}.json").is_file()

    def save(self, stage: str, name: str, weights: Mapping[str, Tensor], report: Mapping[str, Any]) -> None:
        """Keeps a model and how it came about."""
        folder = self.folder / stage
        folder.mkdir(exist_ok=True)
        _write(folder / f"{name}.safetensors", save_tensors({k: v.contiguous() for k, v in weights.items()}))
        _write(folder / f"{name}.json", (json.dumps(dict(report), indent=2) + "\n").encode())

    def adopt(self, other: Artefacts, stage: str, name: str) -> None:
        """Takes over a model that another run has finished, where this one has not."""
        if self.has(stage, name):
            return
        self.save(stage, name, other.weights(stage, name), other.report(stage, name))

    def checkpoint(self, stage: str, name: str) -> Path:
        """Where a model that is being trained leaves what it needs to go on."""
        return self.folder / stage / f"{name}.checkpoint.safetensors"

    def curves(self, stage: str, name: str) -> Path:
        """The folder of a model's curves; `tensorboard --logdir RUN/curves` shows them side by side."""
        return self.folder / "curves" / name / stage

    def weights(self, stage: str, name: str) -> dict[str, Tensor]:
        """A model's weights.

        Raises:
            RecipeError: the stage has not finished it.
        """
        path = self.folder / stage / f"{name}.safetensors"
        try:
            tensors: dict[str, torch.Tensor] = load_tensors(path.read_bytes())
        except FileNotFoundError:
            raise RecipeError(f"{path} is missing: run the stages before it first") from None
        return tensors

    def report(self, stage: str, name: str) -> dict[str, Any]:
        """How a model came about."""
        found: dict[str, Any] = json.loads((self.folder / stage / f"{name}.json").read_text(encoding="utf-8"))
        return found


def _write(path: Path, content: bytes) -> None:
    # Ranks of one run write the same file at the same time.
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    fresh.write_bytes(content)
    fresh.replace(path)
