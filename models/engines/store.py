"""Compiled engines on disk: found again only as they were written, and written whole or not at all.

An engine is a file named by its content and a stamp that names the file. The stamp is put in place last, in one step: a
process that is killed, a full disk and another process at the same work leave either the engine that was there or the
new one, never half of either.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from platformdirs import user_cache_dir

from models.errors import EngineError

_LOG: Final = logging.getLogger(__name__)
_STAMP_FILE: Final = "engine.json"
_LOCK_FILE: Final = ".lock"
_SCRATCH: Final = ".incoming-"
_DIGEST_CHARACTERS: Final = 16
_READABLE: Final = 0o644


@dataclass(frozen=True, slots=True)
class StoredEngine:
    """An engine as it was kept."""

    path: Path
    content: bytes
    """What was verified: to be loaded in place of the file, which may change behind our back."""
    facts: Mapping[str, Any]
    """What was kept along with it."""


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
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _LOG.warning("the cached engine in %s cannot be read (%s); it is built again", self.folder, error)
            return None
        if hashlib.sha256(content).hexdigest() != sha256:
            _LOG.warning("the cached engine in %s is damaged; it is built again", self.folder)
            return None
        return StoredEngine(path, content, facts)

    def keep(self, content: bytes, suffix: str, facts: Mapping[str, Any]) -> Path:
        """Puts an engine in its place; what was there before goes.

        Args:
            content: the engine.
            suffix: of its file, such as `.onnx`.
            facts: what can be written as JSON.

        Returns:
            Its file.

        Raises:
            EngineError: it cannot be written; what was there before still is.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.folder / f"engine-{sha256[:_DIGEST_CHARACTERS]}{suffix}"
        stamp = {"file": path.name, "sha256": sha256, "facts": dict(facts)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _publish(path, content)
            _publish(self.folder / _STAMP_FILE, (json.dumps(stamp, indent=2) + "\n").encode())
        except OSError as error:
            raise EngineError(
                f"the engine cannot be kept in {self.folder} ({error.strerror or error}): make room, or point "
                "MEDUSA_CACHE to a folder that can be written"
            ) from error
        self._clean(path)
        return path

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

    def _clean(self, current: Path) -> None:
        """Takes away what earlier engines and processes that were killed have left."""
        for path in self.folder.iterdir():
            if path.name.startswith(_SCRATCH) or (path.name.startswith("engine-") and path != current):
                path.unlink(missing_ok=True)


def _publish(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
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
