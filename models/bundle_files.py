"""The files of a bundle: what they weigh and hash to, the tensors in them, and how a folder appears whole."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from models.bundle_manifest import MANIFEST_FILE, FileEntry
from models.errors import BundleError

if TYPE_CHECKING:
    from torch import nn

Tensors = Mapping[str, NDArray[np.floating]]


def file_entry(path: Path) -> FileEntry:
    """Size and SHA-256 of a file."""
    content = path.read_bytes()
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def verify_files(folder: Path, expected: Mapping[str, FileEntry]) -> None:
    """Checks that a bundle holds the files its manifest lists, unchanged, and no others.

    Hidden files, which desktops and version control leave behind, are not looked at.

    Raises:
        BundleError: a file is missing, damaged, or not listed.
    """
    for name, entry in expected.items():
        path = folder / name
        try:
            found = file_entry(path)
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror or error})") from error
        if found.bytes != entry.bytes:
            raise BundleError(f"{path}: holds {found.bytes} bytes, the manifest says {entry.bytes}; fetch it again")
        if found.sha256 != entry.sha256:
            raise BundleError(f"{path}: SHA-256 {found.sha256}, the manifest says {entry.sha256}; fetch it again")
    present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    foreign = sorted(present - expected.keys() - {MANIFEST_FILE})
    if foreign:
        raise BundleError(f"{folder / foreign[0]}: not listed in the manifest, so nothing vouches for it; move it away")


def read_tensors(path: Path, *, integers: bool = False) -> dict[str, NDArray[Any]]:
    """All tensors of a safetensors file.

    Args:
        path: where it lies.
        integers: whether it may hold whole numbers too, as weights never are.

    Raises:
        BundleError: it is no such file, holds a type NumPy does not know, or values that are not finite.
    """
    try:
        tensors: dict[str, NDArray[Any]] = load_safetensors(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise BundleError(f"{path}: not a safetensors file ({error})") from error
    except KeyError as error:
        raise BundleError(f"{path}: tensors of type {error} are not read; store float16 or float32") from error
    for name, array in tensors.items():
        if not np.issubdtype(array.dtype, np.floating) and not (integers and np.issubdtype(array.dtype, np.integer)):
            raise BundleError(f"{path}: tensor {name} holds {array.dtype}, expected float16 or float32")
        if not np.isfinite(array).all():
            raise BundleError(f"{path}: tensor {name} holds values that are not finite")
    return tensors


def write_tensors(path: Path, tensors: Tensors, *, half_matrices: bool = False) -> None:
    """Writes a safetensors file.

    Args:
        path: where.
        tensors: by name.
        half_matrices: store matrices in half precision. Vectors (biases, norms, standardisation) stay single: they
            weigh nothing, and a scale may lie outside the range of half precision.
    """
    stored = {
        name: np.ascontiguousarray(array, dtype=np.float16 if half_matrices and array.ndim > 1 else np.float32)
        for name, array in tensors.items()
    }
    path.write_bytes(save_safetensors(stored))


def fill(module: nn.Module, path: Path) -> None:
    """Gives a module the weights of a file, in single precision.

    Raises:
        BundleError: the file lacks a tensor, has one too many, or one of another shape.
    """
    import torch

    tensors = read_tensors(path)
    wanted = module.state_dict()
    missing, foreign = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing:
        raise BundleError(f"{path}: tensor {missing[0]} is missing ({len(missing)} in all)")
    if foreign:
        raise BundleError(f"{path}: tensor {foreign[0]} has no place in its model ({len(foreign)} such)")
    for name, own in wanted.items():
        if tuple(own.shape) != tensors[name].shape:
            raise BundleError(f"{path}: tensor {name} has shape {tensors[name].shape}, expected {tuple(own.shape)}")
    module.load_state_dict({name: torch.from_numpy(array.astype(np.float32)) for name, array in tensors.items()})


def publish_folder(scratch: Path, folder: Path) -> None:
    """Puts a finished folder where another may be: the old one stays until the new one can take its place."""
    old = scratch.with_name(f"{scratch.name}.old")
    if folder.exists():
        folder.rename(old)
    try:
        scratch.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
