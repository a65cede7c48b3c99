"""One shard of a feature store: frames one after another in one file, and an index of them in another.

A line of the index is written after its frames are, so a process may be killed at any point: what has no complete line
is not there, and whoever writes to the shard next cuts it off. A lock lets one process at a time write to a shard.
"""

from __future__ import annotations

import logging
import re
import zlib
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from trainer.errors import FeatureStoreError
from trainer.mapped_files import map_halves
from trainer.shard_index import DamagedLineError, ShardIndex

SHARD_BYTES: Final = 1 << 30
"""Most bytes of frames in a shard; an utterance that is larger has one of its own."""
UNNUMBERED: Final = -1
"""The files of a store from before there were shards: read as the first, no longer written to."""

_UNNUMBERED_FILES: Final = ("frames.f16", "index.jsonl")
_INDEX_NAME: Final = re.compile(r"shard-(\d{5,})\.jsonl")

log = logging.getLogger(__name__)

Frames = NDArray[np.float16]


class Shard:
    """What a reader sees of a shard: it grows, and what is there does not change."""

    def __init__(self, folder: Path, number: int, dim: int) -> None:
        """Reads nothing yet.

        Args:
            folder: of the store.
            number: of the shard, or `UNNUMBERED`.
            dim: features a frame.
        """
        name = f"shard-{number:05}"
        frames, index = _UNNUMBERED_FILES if number == UNNUMBERED else (f"{name}.f16", f"{name}.jsonl")
        self.number = number
        self.frames_path = folder / frames
        self.index_path = folder / index
        self.lock_path = folder / f".{name}.lock"
        self.frame_bytes = dim * np.dtype(np.float16).itemsize
        self.index = ShardIndex()
        self.index_bytes = 0
        """Of the index, as far as it was read."""
        self._dim = dim
        self._mapped: Frames | None = None

    @property
    def frames_bytes(self) -> int:
        """Of all the frames that count."""
        return self.index.end * self.frame_bytes

    def read_more(self) -> list[str]:
        """Takes in what was added since it was last called.

        Returns:
            The ids of that.

        Raises:
            FeatureStoreError: the index is damaged before its last line.
        """
        known = len(self.index)
        try:
            with self.index_path.open("rb") as file:
                file.seek(self.index_bytes)
                lines = file.read().split(b"\n")[:-1]
            # Asked after the index was read: frames are written before their line.
            frames_there = self.frames_path.stat().st_size // self.frame_bytes
        except FileNotFoundError:
            return []
        try:
            taken = self.index.extend(lines, frames_there)
        except DamagedLineError as error:
            raise FeatureStoreError(
                f"{self.index_path}:{known + error.position + 1}: damaged; delete it and {self.frames_path.name} "
                "to extract what they hold again"
            ) from error
        self.index_bytes += sum(map(len, lines[:taken])) + taken
        if taken < len(lines):
            lost = len(lines) - taken
            log.warning("%s: the frames of its last %d lines are lost; extract them again", self.index_path, lost)
        return self.index.ids[known:]

    def view(self, position: int) -> Frames:
        """The frames of the utterance at a position of the index, `[frames, dim]`, a read-only view of the file.

        Raises:
            FeatureStoreError: the file is gone or cannot be opened.
        """
        start = self.index.offsets[position]
        end = start + self.index.frames[position]
        if self._mapped is None or self._mapped.shape[0] < end:
            try:
                self._mapped = map_halves(self.frames_path, self._dim)
            except (OSError, ValueError) as error:
                raise FeatureStoreError(f"{self.frames_path}: cannot be read ({error})") from error
        return self._mapped[start:end]

    def intact(self, position: int) -> bool:
        """Whether the frames of the utterance at a position have the checksum they had when they were stored."""
        return zlib.crc32(self.view(position).data) == self.index.crc32[position]


class ShardWriter:
    """The one process that adds to a shard, for as long as it is open."""

    def __init__(self, shard: Shard, lock: FileLock, limit_bytes: int) -> None:
        """Cuts off what does not count; `claim_shard` is the way in.

        Args:
            shard: read to its end.
            lock: held.
            limit_bytes: most frames.
        """
        self.shard = shard
        self._lock = lock
        self._limit_bytes = limit_bytes
        self._frames = _open_at(shard.frames_path, shard.frames_bytes)
        self._lines = _open_at(shard.index_path, shard.index_bytes)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes may be added."""
        return self.shard.frames_bytes == 0 or self.shard.frames_bytes + size <= self._limit_bytes

    def write(self, utterance: str, halves: Frames) -> None:
        """Adds an utterance: its frames first, then the line that makes them count.

        Args:
            utterance: its id.
            halves: `[frames, dim]`, contiguous.

        Raises:
            OSError: the disk does not take it; what got there counts for nothing, and nothing more may be written.
        """
        data = halves.data.cast("B")
        _write_all(self._frames, data)
        entry = (utterance, halves.shape[0], zlib.crc32(data))
        line = self.shard.index.line(*entry)
        _write_all(self._lines, memoryview(line))
        self.shard.index.append(*entry)
        self.shard.index_bytes += len(line)

    def close(self) -> None:
        """Lets other processes write to the shard."""
        self._frames.close()
        self._lines.close()
        self._lock.release()


def shard_numbers(folder: Path) -> list[int]:
    """Every shard of a store, in their order."""
    numbers = [int(found[1]) for path in folder.glob("shard-*") if (found := _INDEX_NAME.fullmatch(path.name))]
    return sorted(numbers) if not (folder / _UNNUMBERED_FILES[1]).exists() else [UNNUMBERED, *sorted(numbers)]


def claim_shard(folder: Path, dim: int, size: int, limit_bytes: int) -> ShardWriter:
    """Opens the first shard for writing that has room and that no other process writes to.

    Args:
        folder: of the store.
        dim: features a frame.
        size: bytes that are to be added first.
        limit_bytes: most frames of a shard.

    Raises:
        FeatureStoreError: a shard is damaged.
        OSError: the folder cannot be written to.
    """
    for number in count():
        shard = Shard(folder, number, dim)
        if _is_full(shard, size, limit_bytes):
            continue
        lock = FileLock(shard.lock_path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            shard.read_more()
            writer = ShardWriter(shard, lock, limit_bytes)
        except BaseException:
            lock.release()
            raise
        if writer.has_room(size):
            return writer
        writer.close()
    raise AssertionError  # count() does not end


def _is_full(shard: Shard, size: int, limit_bytes: int) -> bool:
    try:
        there = shard.frames_path.stat().st_size
    except FileNotFoundError:
        return False
    return there > 0 and there + size > limit_bytes


def _open_at(path: Path, size: int) -> BinaryIO:
    path.touch()
    stream: BinaryIO = path.open("r+b", buffering=0)
    stream.truncate(size)
    stream.seek(size)
    return stream


def _write_all(stream: BinaryIO, data: memoryview) -> None:
    while data:
        data = data[stream.write(data) :]
