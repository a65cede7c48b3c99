"""A checkpoint in the hub's format, read for writing it into a graph: neither PyTorch nor transformers is needed."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open

from models.errors import WeightsError

CONFIG_FILE: Final = "config.json"
PREPROCESSOR_FILE: Final = "preprocessor_config.json"
WEIGHTS_FILE: Final = "model.safetensors"

_PICKLED_FILE: Final = "pytorch_model.bin"

Array = NDArray[np.floating[Any]]
Described = TypeVar("Described", bound=BaseModel)


def read_description(kind: type[Described], path: Path, written: str) -> Described:
    """What a checkpoint says of itself.

    Args:
        kind: what of it is looked at, and what it may say.
        path: of a JSON file.
        written: what is written into graphs, for whoever has another checkpoint.

    Raises:
        WeightsError: it cannot be read, or says what must not be.
    """
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        fault = error.errors()[0]
        said = ": ".join([*map(str, fault["loc"]), fault["msg"]])
        found = f", got {fault['input']!r}" if fault["loc"] and fault["type"] != "missing" else ""
        raise WeightsError(f"{path}: {said}{found}; {written}") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"no encoder in {path.parent}: {error}") from error


@dataclass(frozen=True, slots=True)
class Weights:
    """Tensors of a checkpoint, by name."""

    folder: Path
    tensors: Mapping[str, Array]

    @classmethod
    def read(cls, folder: Path, prefix: str, parts: Collection[str]) -> Weights:
        """Reads those parts of `model.safetensors` that are asked for, and nothing else of it.

        Args:
            folder: in the hub's format.
            prefix: what checkpoints of whole tasks write in front of the encoder's names; it is dropped.
            parts: beginnings of the names to read, without the prefix.

        Raises:
            WeightsError: there is no such file, or it cannot be read.
        """
        path = folder / WEIGHTS_FILE
        if not path.is_file() and (folder / _PICKLED_FILE).is_file():
            raise WeightsError(
                f"{folder} holds its weights as {_PICKLED_FILE}, which only PyTorch reads: load the model with "
                f"transformers and save it again with save_pretrained, which writes {WEIGHTS_FILE}"
            )
        wanted = tuple(parts)
        try:
            with safe_open(path, framework="numpy") as stored:
                own = {name.removeprefix(prefix): name for name in stored.keys()}  # noqa: SIM118
                tensors = {name: stored.get_tensor(full) for name, full in own.items() if name.startswith(wanted)}
        except (OSError, TypeError, AttributeError, ValueError, SafetensorError) as error:
            # A type that NumPy has not is one of the two behind the first.
            raise WeightsError(f"no usable {WEIGHTS_FILE} in {folder}: {error}") from error
        return cls(folder, tensors)

    def __getitem__(self, name: str) -> Array:
        """One tensor in single precision.

        Raises:
            WeightsError: the checkpoint lacks it.
        """
        try:
            return np.asarray(self.tensors[name], dtype=np.float32)
        except KeyError:
            raise WeightsError(f"{self.folder / WEIGHTS_FILE}: tensor {name} is missing") from None


def single_precision_bytes(folder: Path) -> int | None:
    """What a checkpoint's weights weigh in single precision, by their shapes; None where they cannot be read here.

    Args:
        folder: in the hub's format.
    """
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="numpy") as stored:
            numbers = [math.prod(stored.get_slice(name).get_shape()) for name in stored.keys()]  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    return int(np.dtype(np.float32).itemsize * sum(numbers))
