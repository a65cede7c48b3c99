"""A fit in the middle of its work, on disk: what goes on from there ends with the same weights, bit for bit on CPU."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from trainer.errors import RecipeError

FORMAT_VERSION: Final = 1
_MODEL, _BEST, _OPTIMISER, _CHANCE = "model.", "best.", "optimiser.", "chance."


@dataclass(slots=True)
class Checkpoint:
    """Everything a fit needs to go on."""

    model: dict[str, Tensor]
    best: dict[str, Tensor]
    """The weights that would be kept if it ended here."""
    optimiser: dict[int, dict[str, Tensor]]
    """What the optimiser remembers, by the parameter's number."""
    chance: dict[str, Tensor]
    """States of PyTorch's generators, by name."""
    progress: dict[str, Any]
    """Where it stands, as plain values."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint in one step: whenever the process is killed, the file holds this one or the one before.

    Args:
        path: where to; safetensors, with the progress as JSON in its header.
        checkpoint: what to keep; tensors on any device.
    """
    tensors = {f"{_MODEL}{name}": tensor for name, tensor in checkpoint.model.items()}
    tensors |= {f"{_BEST}{name}": tensor for name, tensor in checkpoint.best.items()}
    tensors |= {f"{_CHANCE}{name}": tensor for name, tensor in checkpoint.chance.items()}
    for number, remembered in checkpoint.optimiser.items():
        tensors |= {f"{_OPTIMISER}{number}.{name}": tensor for name, tensor in remembered.items()}
    # Safetensors refuses tensors that share memory, which best and model may.
    whole = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    header = {"format_version": str(FORMAT_VERSION), "progress": json.dumps(checkpoint.progress)}
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(save_tensors(whole, metadata=header))
    fresh.replace(path)


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Reads a checkpoint; None where there is none.

    Raises:
        RecipeError: the file is not one of this format.
    """
    if not path.is_file():
        return None
    checkpoint = Checkpoint({}, {}, {}, {}, {})
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format_version") != str(FORMAT_VERSION):
                raise RecipeError(f"{path}: not a checkpoint of this release; delete it to begin this stage again")
            checkpoint.progress = json.loads(header["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RecipeError(f"{path}: damaged ({error}); delete it to begin this stage again") from error
    for name, tensor in tensors.items():
        for prefix, part in ((_MODEL, checkpoint.model), (_BEST, checkpoint.best), (_CHANCE, checkpoint.chance)):
            if name.startswith(prefix):
                part[name.removeprefix(prefix)] = tensor
        if name.startswith(_OPTIMISER):
            number, _, remembered = name.removeprefix(_OPTIMISER).partition(".")
            checkpoint.optimiser.setdefault(int(number), {})[remembered] = tensor
    return checkpoint


def optimiser_memory(optimiser: torch.optim.Optimizer) -> dict[int, dict[str, Tensor]]:
    """What an optimiser remembers of every parameter, as tensors."""
    return {
        number: {name: torch.as_tensor(value) for name, value in remembered.items()}
        for number, remembered in optimiser.state_dict()["state"].items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, memory: dict[int, dict[str, Tensor]]) -> None:
    """Gives an optimiser back what it remembered; its settings stay."""
    optimiser.load_state_dict({"state": memory, "param_groups": optimiser.state_dict()["param_groups"]})
