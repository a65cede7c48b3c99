"""Checkpoints in the hub's format: what a folder holds, by its own account, and the frozen model in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from models.backbones.registry import KINDS, Architecture
from models.errors import FeatureError, WeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CONFIG_FILE: Final = "config.json"
WEIGHT_FILES: Final = ("model.safetensors", "pytorch_model.bin")
"""What weights may be called; the first that is there is read."""
READER_FILES: Final = {"acoustic": "preprocessor_config.json", "linguistic": "tokenizer.json"}
"""What says how a backbone's input is prepared."""

_NEVER_READ: Final = ("pooler.", "masked_spec_embed", "position_ids", "text_model.", "decoder.")
"""Parts of a model that features do not depend on, so that a checkpoint may lack them."""


@dataclass(frozen=True, slots=True)
class CheckpointShape:
    """What `config.json` says of a model."""

    architecture: Architecture
    """Its `model_type`."""
    dim: int
    """Features a frame or token of one hidden layer."""
    layers: int
    """Hidden layers that can be read, counted from the last."""


def checkpoint_shape(folder: Path) -> CheckpointShape:
    """Reads the shape of a checkpoint.

    Args:
        folder: in the hub's format.

    Raises:
        WeightsError: there is no such folder, or its `config.json` describes no model that features are taken from.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise WeightsError(f"no checkpoint in {folder}: it holds no {CONFIG_FILE}")
    return _shape(folder, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _shape(folder: Path, _modified_ns: int) -> CheckpointShape:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise WeightsError(f"{folder / CONFIG_FILE}: describes no model that transformers knows ({error})") from error
    kind: Architecture | None = next((name for name in KINDS if name == config.model_type), None)
    if kind is None:
        known = ", ".join(KINDS)
        raise WeightsError(f"{folder} holds a model of type {config.model_type!r}; features are taken from {known}")
    if kind == "clap":
        audio = config.audio_config
        return CheckpointShape(kind, int(audio.patch_embeds_hidden_size) * 2 ** (len(audio.depths) - 1), 1)
    if kind == "whisper":
        return CheckpointShape(kind, int(config.d_model), int(config.encoder_layers))
    return CheckpointShape(kind, int(config.hidden_size), int(config.num_hidden_layers))


def require(folder: Path, architecture: str | Sequence[str], layers: int) -> CheckpointShape:
    """The shape of a checkpoint, which must be of a certain architecture and deep enough.

    Raises:
        WeightsError: it is not.
    """
    wanted = (architecture,) if isinstance(architecture, str) else tuple(architecture)
    shape = checkpoint_shape(folder)
    if shape.architecture not in wanted:
        raise WeightsError(f"{folder} holds a model of type {shape.architecture!r}, expected {' or '.join(wanted)}")
    if not 1 <= layers <= shape.layers:
        raise WeightsError(f"{folder} holds {shape.layers} hidden layers that can be read, {layers} are asked for")
    return shape


def load_frozen(folder: Path, model_class: Any, device: torch.device, precision: torch.dtype) -> Any:
    """Loads a model for reading only, every weight that features depend on from the checkpoint.

    Args:
        folder: in the hub's format.
        model_class: of transformers.
        device: where it is to compute.
        precision: what it is to compute in.

    Raises:
        WeightsError: transformers cannot load it, or the checkpoint lacks weights.
    """
    from transformers.utils.logging import disable_progress_bar, get_verbosity, set_verbosity, set_verbosity_error

    disable_progress_bar()  # type: ignore[no-untyped-call]
    verbosity = get_verbosity()
    # It reports every part of a checkpoint that is not read, which is nobody's fault; what lacks is checked below.
    set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        model, said = model_class.from_pretrained(
            str(folder), local_files_only=True, output_loading_info=True, dtype=precision
        )
    except Exception as error:
        raise WeightsError(f"no usable model in {folder}: {error}") from error
    finally:
        set_verbosity(verbosity)
    missing = sorted(key for key in said["missing_keys"] if not any(part in key for part in _NEVER_READ))
    if missing:
        raise WeightsError(f"{folder}: the weights lack {missing[0]} ({len(missing)} in all): this is no whole model")
    return model.to(device).eval().requires_grad_(False)


def load_reader(folder: Path, rate_hz: int | None = None) -> Any:
    """What turns waveforms into a model's input, as the checkpoint's `preprocessor_config.json` says.

    Args:
        folder: in the hub's format.
        rate_hz: the sample rate it must want; None for any.

    Raises:
        WeightsError: transformers cannot load it, or it wants another sample rate.
    """
    from transformers import AutoFeatureExtractor

    try:
        reader: Any = AutoFeatureExtractor.from_pretrained(  # type: ignore[no-untyped-call]
            str(folder), local_files_only=True
        )
    except Exception as error:
        raise WeightsError(f"no usable {READER_FILES['acoustic']} in {folder}: {error}") from error
    if rate_hz is not None and reader.sampling_rate != rate_hz:
        raise WeightsError(f"{folder}: made for audio at {reader.sampling_rate} Hz, clips are at {rate_hz} Hz")
    return reader


def read_layers(hidden: Sequence[Tensor], layers: int, *, stacked: bool) -> Tensor:
    """The last hidden layers as features, in single precision.

    Args:
        hidden: one a layer, `[batch, time, dim]` each, the last layer last.
        layers: how many of them, from the last.
        stacked: whether they stand side by side, the earliest first; else they are summed.

    Returns:
        `[batch, time, dim]`, or `[batch, time, layers * dim]` where they are stacked.
    """
    import torch

    chosen = [layer.float() for layer in hidden[-layers:]]
    return torch.cat(chosen, dim=-1) if stacked else torch.stack(chosen).sum(dim=0)


def choose_device(device: str) -> torch.device:
    """`auto` takes a CUDA device where there is one.

    Raises:
        FeatureError: PyTorch knows no such device, or it is not there.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise FeatureError(f"no device {device!r}: use auto, cpu or cuda") from error
    if chosen.type not in {"cpu", "cuda"}:
        raise FeatureError(f"device {device!r} is not computed on: use auto, cpu or cuda")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise FeatureError(f"device {device!r} is not there: PyTorch finds no CUDA device; use auto or cpu")
    return chosen


def precision_on(device: torch.device) -> torch.dtype:
    """Bfloat16 on a GPU, single precision on a CPU."""
    import torch

    return torch.bfloat16 if device.type == "cuda" else torch.float32


def checkpoint_files(folder: Path, architecture: Architecture) -> tuple[str, ...]:
    """The files of a checkpoint that features depend on.

    Raises:
        WeightsError: one of them is missing.
    """
    if not folder.is_dir():
        raise WeightsError(f"no folder {folder}: name one that holds a checkpoint in the hub's format")
    weights = next((name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if weights is None:
        raise WeightsError(f"{folder} holds neither {' nor '.join(WEIGHT_FILES)}")
    needed = (CONFIG_FILE, READER_FILES[KINDS[architecture]], weights)
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise WeightsError(f"{folder} holds no {' and no '.join(missing)}")
    return needed
