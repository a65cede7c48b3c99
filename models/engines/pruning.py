"""Room in the cache: of every family of engines the last used stay, what nobody has opened for longest goes."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

_LOG: Final = logging.getLogger(__name__)

KEPT_OF_A_FAMILY: Final = 3
"""As many releases, or bundles of one name, may be changed between without building anew."""


def prune(folder: Path, stamp: str, lock: str, kept: int = KEPT_OF_A_FAMILY) -> list[Path]:
    """Takes away the engines of a family that were not used for longest, and what is left of builds that died.

    A family is what differs in the last part of its name alone, the hash: one bundle's name, engine and precision. An
    engine that is being built is left alone; one that is in use may go, since whoever uses it has read it.

    Args:
        folder: of the engine that has just been kept; it stays.
        stamp: name of the file whose time of change says when an engine was used.
        lock: name of the file that is locked where one is being built.
        kept: how many stay, this one included.

    Returns:
        The folders that went.
    """
    used = relatives(folder, stamp)
    staying = set([other for other in used if used[other]][: kept - 1])
    return [other for other in used if other not in staying and _taken_away(other, stamp, lock)]


def relatives(folder: Path, stamp: str) -> dict[Path, float]:
    """The other folders of an engine's family, the last used first, each with the time when it was; 0 for never.

    Args:
        folder: of the engine.
        stamp: as for `prune`.
    """
    family = folder.name.rpartition("-")[0]
    used: dict[Path, float] = {}
    for other in folder.parent.iterdir():
        if other == folder or not family or other.name.rpartition("-")[0] != family:
            continue
        try:
            used[other] = (other / stamp).stat().st_mtime
        except OSError:
            used[other] = 0.0
    return dict(sorted(used.items(), key=lambda entry: entry[1], reverse=True))


def _taken_away(folder: Path, stamp: str, lock: str) -> bool:
    held = FileLock(folder / lock)
    try:
        held.acquire(timeout=0)
    except (Timeout, OSError):
        return False
    try:
        # Without its stamp it is found no more, whatever of the rest is still there.
        (folder / stamp).unlink(missing_ok=True)
        shutil.rmtree(folder)
    except OSError as error:
        _LOG.info("%s cannot be taken out of the cache: %s", folder.name, error)
        return False
    finally:
        held.release()
    _LOG.info("%s was not used for longest and went out of the cache", folder.name)
    return True
