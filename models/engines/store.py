"""Compiled engines on disk: found again only as they were written, and written whole or not at all.

An engine is a file named by its content, beside some a second one of weights, and a stamp that names them. The stamp is
put in place last, in one step: a process that is killed, a full disk and another process at the same work leave either
the engine that was there or the new one, never half of either.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from platformdirs import user_cache_dir

from models.engines.pruning import prune, relatives
from models.errors import EngineError

_LOG: Final = logging.getLogger(__name__)
_STAMP_FILE: Final = "engine.json"
_LOCK_FILE: Final = ".lock"
_SCRATCH: Final = ".incoming-"
_DIGEST_CHARACTERS: Final = 16
_READABLE: Final = 0o644
KERNELS: Final = "kernels-"
"""In front of an engine's file, what cards have compiled for it."""
_KEPT: Final = ("engine-", "weights-", KERNELS)
"""What names of files begin with that an engine consists of."""


@dataclass(frozen=True, slots=True)
class StoredEngine:
    """An engine as it was kept."""

    path: Path
    content: bytes
    """What was verified: to be loaded in place of the file, which may change behind our back."""
    facts: Mapping[str, Any]
    """What was kept along with it."""
    weights: Path | None = None
    """The file of its weights where they are none of the content; verified as well."""


def engine_cache() -> Path:
    """Where compiled engines are kept: `MEDUSA_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("MEDUSA_CACHE") or user_cache_dir("medusa-live", appauthor=False)) / "engines"


class EngineStore:
    """One engine's place in the cache."""

    def __init__(self, key: str, root: Path | None = None) -> None:
        """Names the place; nothing is read or written yet.

        Args:
            key: all that the engine depends on, as a plain name.
            root: the folder of all engines; `engine_cache()` by default.
        """
        self.folder = (root or engine_cache()) / key

    def find(self) -> StoredEngine | None:
        """The engine; None where there is none, or it is not what was written."""
        try:
            stamp = json.loads((self.folder / _STAMP_FILE).read_text(encoding="utf-8"))
            # The name alone: an engine lies beside its stamp.
            path = self.folder / Path(str(stamp["file"])).name
            sha256, facts = stamp["sha256"], dict(stamp["facts"])
            content = path.read_bytes()
            weights = self._weights(stamp.get("weights"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _LOG.warning("the cached engine in %s cannot be read (%s); it is built again", self.folder, error)
            return None
        if hashlib.sha256(content).hexdigest() != sha256 or (weights is not None and not weights.intact):
            _LOG.warning("the cached engine in %s is damaged; it is built again", self.folder)
            return None
        with suppress(OSError):
            # A cache that cannot be written is not made room in either.
            os.utime(self.folder / _STAMP_FILE)
        return StoredEngine(path, content, facts, None if weights is None else weights.path)

    def keep(self, content: bytes, suffix: str, facts: Mapping[str, Any], weights: Path | None = None) -> Path:
        """Puts an engine in its place; what was there before goes, and so do those of its kind unused for longest.

        Args:
            content: the engine.
            suffix: of its file, such as `.onnx`.
            facts: what can be written as JSON.
            weights: the file of its weights, where they are none of the content, from a `workplace` of this store or
                as `find` has found it; it is moved into place under the name it has.

        Returns:
            Its file.

        Raises:
            EngineError: it cannot be written; what was there before still is.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.folder / f"engine-{sha256[:_DIGEST_CHARACTERS]}{suffix}"
        stamp: dict[str, Any] = {"file": path.name, "sha256": sha256, "facts": dict(facts)}
        current = {path.name, KERNELS + path.stem}
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            if weights is not None:
                stamp["weights"] = {"file": weights.name, "sha256": _sha256(weights)}
                current.add(weights.name)
                _move(weights, self.folder / weights.name)
            publish(path, content)
            publish(self.folder / _STAMP_FILE, (json.dumps(stamp, indent=2) + "\n").encode())
        self._clean(current)
        with suppress(OSError):
            prune(self.folder, _STAMP_FILE, _LOCK_FILE)
        return path

    def family(self) -> list[EngineStore]:
        """Other engines of this bundle's name, engine and precision, the last used first."""
        try:
            return [EngineStore(other.name, other.parent) for other in relatives(self.folder, _STAMP_FILE)]
        except OSError:
            return []

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """A folder on the engine's disk, for what is too large to be handed over in memory; it goes with all in it.

        Raises:
            EngineError: it cannot be written.
        """
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=self.folder))
        try:
            with self._writing():
                yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    @contextmanager
    def building(self) -> Iterator[None]:
        """Holds the place, so that of two processes only one builds and the other waits; not where none can write."""
        lock = FileLock(self.folder / _LOCK_FILE)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            _LOG.info("waiting for another process that builds %s", self.folder.name)
            lock.acquire()
        except OSError:
            # Whoever builds here keeps it in memory: `keep` says what is wrong with the folder.
            yield
            return
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Says what is to be done where something cannot be written."""
        try:
            yield
        except OSError as error:
            raise EngineError(
                f"the engine cannot be kept in {self.folder} ({error.strerror or error}): make room, or point "
                "MEDUSA_CACHE to a folder that can be written"
            ) from error

    def _weights(self, entry: Mapping[str, str] | None) -> _WeightsFile | None:
        """As the stamp says, read whole; None where it speaks of none."""
        if entry is None:
            return None
        path = self.folder / Path(entry["file"]).name
        return _WeightsFile(path, _sha256(path) == entry["sha256"])

    def _clean(self, current: Collection[str]) -> None:
        """Takes away what earlier engines and processes that were killed have left."""
        for path in self.folder.iterdir():
            if path.name in current or not path.name.startswith((_SCRATCH, *_KEPT)):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _WeightsFile:
    path: Path
    intact: bool
    """Whether it is what was written."""


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _move(path: Path, to: Path) -> None:
    """Into place whole or not at all, from the same disk."""
    if path == to:
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.chmod(_READABLE)
    path.replace(to)


def publish(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, in the place of what was there; others may read it.

    Raises:
        OSError: it cannot be written.
    """
    handle, scratch = tempfile.mkstemp(prefix=_SCRATCH, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A scratch file is its maker's alone; a cache made by one user may be served from by another.
        Path(scratch).chmod(_READABLE)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
