"""The feature store: every clip's features extracted once, kept in half precision, memory-mapped, read by id.

A store holds one backbone's features of one waveform view, made under one policy. On disk it is a folder:
`policy.json`; `frames.f16`, the frames of all utterances one after another; `index.jsonl`, a line per utterance that
says where its frames lie. A line is written after its frames are, so a process may be killed at any point: what has no
complete line is not there, and the next writer overwrites it.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from trainer.errors import FeatureStoreError
from trainer.feature_policy import FORMAT_VERSION, POLICY_FILE, StoreSpec, read_policy, write_policy

FRAMES_FILE: Final = "frames.f16"
INDEX_FILE: Final = "index.jsonl"

_LOCK_FILE: Final = ".lock"

log = logging.getLogger(__name__)

Frames = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an utterance's frames lie."""

    id: str
    offset: int
    """Frames that lie before it."""
    frames: int
    crc32: int

    @property
    def end(self) -> int:
        """The frame behind its last."""
        return self.offset + self.frames


class FeatureStore:
    """One store; see the module. Many may read at a time, one process may write."""

    def __init__(self, folder: Path, policy: dict[str, Any]) -> None:
        """Reads the index; `open` and `inspect` are the ways in."""
        self.folder = folder
        self.policy = policy
        self._dim = int(policy["dim"])
        self._entries: dict[str, Entry] = {}
        self._end = 0
        self._frames: Frames | None = None
        self._writer: _Writer | None = None
        self._read_index()

    @classmethod
    def open(cls, folder: Path, spec: StoreSpec) -> Self:
        """Opens a store; one that does not exist yet is empty and is made by the first `append`.

        Args:
            folder: the store's own folder.
            spec: the policy its features must have been made under.

        Raises:
            FeatureStoreError: it was made under another policy, or is damaged.
        """
        wanted = spec.as_mapping()
        found = read_policy(folder)
        # What a policy does not name does not apply: the same as None.
        differing = [] if found is None else sorted(k for k in wanted | found if found.get(k) != wanted.get(k))
        if found is not None and differing:
            changes = ", ".join(f"{key} {found.get(key)!r} then, {wanted.get(key)!r} now" for key in differing)
            raise FeatureStoreError(
                f"{folder}: its features were made under another policy ({changes}); "
                "delete the folder to extract them again, or use another features folder"
            )
        return cls(folder, wanted)

    @classmethod
    def inspect(cls, folder: Path) -> Self:
        """Opens a store under whatever policy it was made.

        Raises:
            FeatureStoreError: there is no store, or it is damaged.
        """
        found = read_policy(folder)
        if found is None:
            raise FeatureStoreError(f"{folder}: no feature store (no {POLICY_FILE} in it)")
        if found.get("format_version") != FORMAT_VERSION or not isinstance(found.get("dim"), int):
            raise FeatureStoreError(f"{folder / POLICY_FILE}: not a store of format {FORMAT_VERSION}")
        return cls(folder, found)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def has(self, utterance: str) -> bool:
        """Whether the features of an utterance are stored."""
        return utterance in self._entries

    def frames_of(self, utterance: str) -> int:
        """How many frames are stored of an utterance; 0 where there are none."""
        entry = self._entries.get(utterance)
        return 0 if entry is None else entry.frames

    @property
    def frames(self) -> int:
        """Frames in all."""
        return self._end

    @property
    def size_bytes(self) -> int:
        """Bytes of all frames."""
        return self.frames * self._frame_bytes

    def get(self, utterance: str) -> Frames:
        """The features of an utterance.

        Args:
            utterance: its id.

        Returns:
            `[frames, dim]`, a read-only view of the file.

        Raises:
            FeatureStoreError: they are not stored.
        """
        entry = self._entries.get(utterance)
        if entry is None:
            raise FeatureStoreError(f"{self.folder}: no features of {utterance}; run medusa features extract")
        if self._frames is None or self._frames.shape[0] < entry.end:
            path = self.folder / FRAMES_FILE
            whole = path.stat().st_size // self._frame_bytes
            self._frames = np.memmap(path, dtype=np.float16, mode="r", shape=(whole, self._dim))
        return self._frames[entry.offset : entry.end]

    def append(self, utterance: str, features: NDArray[np.floating]) -> None:
        """Stores the features of an utterance; when this returns, a killed process does not lose them.

        Args:
            utterance: its id, not stored yet.
            features: `[frames, dim]`, at least one frame.

        Raises:
            FeatureStoreError: another shape, values that half precision cannot hold, an id that is stored already, or
                another process that writes.
        """
        if features.ndim != 2 or features.shape[1] != self._dim or features.shape[0] == 0:
            raise FeatureStoreError(f"{utterance}: features of shape {features.shape}, expected [frames, {self._dim}]")
        with np.errstate(over="ignore"):
            halves = np.ascontiguousarray(features, dtype=np.float16)
        if not np.isfinite(halves).all():
            raise FeatureStoreError(f"{utterance}: features that are not finite in half precision")
        if self._writer is None:
            self._writer = self._open_writer()
        if utterance in self._entries:
            raise FeatureStoreError(f"{self.folder}: {utterance} is stored already")
        data = halves.tobytes()
        entry = Entry(utterance, self._end, halves.shape[0], zlib.crc32(data))
        try:
            self._writer.write(data, entry)
        except OSError as error:
            # What got onto the disk is behind what counts: the next writer overwrites it.
            self.close()
            raise FeatureStoreError(f"{self.folder}: {utterance} cannot be stored ({error})") from error
        self._entries[utterance] = entry
        self._end = entry.end

    def verify(self) -> tuple[str, ...]:
        """Reads every frame and compares checksums.

        Returns:
            Ids whose frames are damaged.
        """
        return tuple(e.id for e in self._entries.values() if zlib.crc32(self.get(e.id).tobytes()) != e.crc32)

    def close(self) -> None:
        """Lets other processes write; the store can still be read."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _frame_bytes(self) -> int:
        return self._dim * np.dtype(np.float16).itemsize

    def _read_index(self) -> int:
        """Takes in every complete line whose frames are there; returns the bytes of index that they fill."""
        self._entries.clear()
        self._end = 0
        path = self.folder / INDEX_FILE
        try:
            lines = path.read_bytes().split(b"\n")
            whole = (self.folder / FRAMES_FILE).stat().st_size // self._frame_bytes
        except FileNotFoundError:
            return 0
        complete, used = lines[:-1], 0
        for number, line in enumerate(complete, start=1):
            entry = _parse(line)
            if entry is None and number == len(complete):
                break
            if entry is None or entry.offset != self._end or entry.id in self._entries:
                raise FeatureStoreError(f"{path}:{number}: damaged; delete {self.folder} to extract again")
            if entry.end > whole:
                log.warning("%s: the frames from %s on are lost and will be extracted again", self.folder, entry.id)
                break
            self._entries[entry.id] = entry
            self._end = entry.end
            used += len(line) + 1
        return used

    def _open_writer(self) -> _Writer:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / _LOCK_FILE)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise FeatureStoreError(f"{self.folder}: another process writes to it; wait until it is done") from None
        try:
            if read_policy(self.folder) is None:
                write_policy(self.folder, self.policy)
            # Another process may have written since this one opened the store.
            index_bytes = self._read_index()
            return _Writer(self.folder, lock, self._end * self._frame_bytes, index_bytes)
        except BaseException:
            lock.release()
            raise


class _Writer:
    """Both files, open for appending behind what counts, and the lock that keeps others away."""

    def __init__(self, folder: Path, lock: FileLock, frames_bytes: int, index_bytes: int) -> None:
        self._lock = lock
        self._frames = _open_at(folder / FRAMES_FILE, frames_bytes)
        self._index = _open_at(folder / INDEX_FILE, index_bytes)

    def write(self, data: bytes, entry: Entry) -> None:
        """The frames first, then the line that makes them count."""
        _write_all(self._frames, data)
        _write_all(self._index, json.dumps(asdict(entry)).encode() + b"\n")

    def close(self) -> None:
        self._frames.close()
        self._index.close()
        self._lock.release()


def _open_at(path: Path, size: int) -> BinaryIO:
    path.touch()
    stream: BinaryIO = path.open("r+b", buffering=0)
    stream.truncate(size)
    stream.seek(size)
    return stream


def _write_all(stream: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def _parse(line: bytes) -> Entry | None:
    try:
        entry = Entry(**json.loads(line))
    except (ValueError, TypeError):
        return None
    numbers = (entry.offset, entry.frames, entry.crc32)
    return entry if isinstance(entry.id, str) and all(isinstance(n, int) and n >= 0 for n in numbers) else None
