"""Files checked against the sizes and SHA-256 sums that their publisher states."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainer.corpora.tables import read_text
from trainer.errors import CorpusError
from trainer.progress import Advance

_READERS: Final = 4
_FIELDS: Final = 3
_SHA256: Final = 64
_POINTER: Final = b"version https://git-lfs"
"""How a file begins that Git LFS has not fetched yet."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a file must be."""

    sha256: str
    size_bytes: int


def read_published(path: Path) -> dict[str, Published]:
    """Reads a list of files: path, SHA-256 and size in bytes, with tabs between them.

    Raises:
        CorpusError: there is no such file, or one of its lines is something else; it is named.
    """
    published: dict[str, Published] = {}
    for line, written in enumerate(read_text(path).splitlines(), start=1):
        fields = written.split("\t")
        if len(fields) != _FIELDS or len(fields[1]) != _SHA256 or not fields[2].isdecimal():
            raise CorpusError(f"{path}:{line}: not a path, its SHA-256 and its size in bytes, with tabs between them")
        published[fields[0]] = Published(fields[1].lower(), int(fields[2]))
    return published


def damages(files: Sequence[tuple[Path, Published]], advance: Advance) -> Iterator[tuple[Path, str]]:
    """Compares files with what they must be, several at a time.

    Args:
        files: which, and what they must be.
        advance: told of each file done.

    Yields:
        A file that is something else, and what is wrong with it.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        for (path, _), wrong in zip(files, pool.map(_damage, files), strict=True):
            advance(1, 0.0)
            if wrong is not None:
                yield path, wrong


def _damage(file: tuple[Path, Published]) -> str | None:
    path, wanted = file
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if len(content) == wanted.size_bytes and hashlib.sha256(content).hexdigest() == wanted.sha256:
        return None
    if content.startswith(_POINTER):
        return "Git LFS has not fetched it; run git lfs pull"
    if len(content) != wanted.size_bytes:
        return f"damaged: {len(content)} bytes, {wanted.size_bytes} were published"
    return "damaged: its SHA-256 is not the published one"
