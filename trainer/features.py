"""The feature store: every clip's features extracted once, kept in half precision, memory-mapped, read by id.

A store holds one backbone's features of one waveform view, made under one policy. On disk it is a folder: `policy.json`
and shards of a bounded size (`trainer/shards.py`). Any number of processes may read and write at a time: every writer
has a shard of its own, and a reader sees them all. An id that two writers stored counts once: where it stands first, by
the order of the shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from trainer.errors import FeatureStoreError
from trainer.feature_policy import (
    FORMAT_VERSION,
    POLICY_FILE,
    READABLE_VERSIONS,
    StoreSpec,
    claim_policy,
    read_policy,
    refuse_other_policy,
)
from trainer.shards import SHARD_BYTES, Frames, Shard, ShardWriter, claim_shard, shard_numbers

_POSITION_BITS: Final = 32
_VERIFIED_AT_ONCE: Final = 64


class FeatureStore:
    """One store; see the module."""

    def __init__(self, folder: Path, policy: dict[str, Any], shard_bytes: int = SHARD_BYTES) -> None:
        """Reads the index; `open` and `inspect` are the ways in."""
        self.folder = folder
        self.policy = policy
        self._dim = int(policy["dim"])
        self._shard_bytes = shard_bytes
        self._shards: dict[int, Shard] = {}
        # A shard's number and the position in it as one integer, which keeps a million of them small and quick to make.
        self._places: dict[str, int] = {}
        self._repeated: Counter[str] = Counter()
        self._writer: ShardWriter | None = None
        self.refresh()

    @classmethod
    def open(cls, folder: Path, spec: StoreSpec, *, shard_bytes: int = SHARD_BYTES) -> Self:
        """Opens a store; one that does not exist yet is empty and is made by the first `append`.

        Args:
            folder: the store's own folder.
            spec: the policy its features must have been made under.
            shard_bytes: most bytes of frames in a shard.

        Raises:
            FeatureStoreError: it was made under another policy, or is damaged.
        """
        wanted = spec.as_mapping()
        found = read_policy(folder)
        if found is not None:
            refuse_other_policy(folder, found, wanted)
        return cls(folder, wanted, shard_bytes)

    @classmethod
    def inspect(cls, folder: Path) -> Self:
        """Opens a store under whatever policy it was made.

        Raises:
            FeatureStoreError: there is no store, or it is damaged.
        """
        found = read_policy(folder)
        if found is None:
            raise FeatureStoreError(f"{folder}: no feature store (no {POLICY_FILE} in it)")
        if found.get("format_version") not in READABLE_VERSIONS or not isinstance(found.get("dim"), int):
            raise FeatureStoreError(f"{folder / POLICY_FILE}: not a store of format {FORMAT_VERSION}")
        return cls(folder, found)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def has(self, utterance: str) -> bool:
        """Whether the features of an utterance are stored."""
        return utterance in self._places

    def frames_of(self, utterance: str) -> int:
        """How many frames are stored of an utterance; 0 where there are none."""
        place = self._places.get(utterance)
        if place is None:
            return 0
        shard, position = self._found(place)
        return shard.index.frames[position]

    def shard_of(self, utterance: str) -> str:
        """Name of the file that holds the frames of an utterance.

        Raises:
            FeatureStoreError: they are not stored.
        """
        return self._found(self._place(utterance))[0].frames_path.name

    @property
    def frames(self) -> int:
        """Frames in all, those that are stored twice as often."""
        return sum(shard.index.end for shard in self._shards.values())

    @property
    def size_bytes(self) -> int:
        """Bytes of all frames."""
        return sum(shard.frames_bytes for shard in self._shards.values())

    @property
    def shards(self) -> int:
        """How many there are."""
        return len(self._shards)

    @property
    def duplicates(self) -> Mapping[str, int]:
        """Ids that are stored more than once, with how often they are beyond the first time, which counts."""
        return dict(self._repeated)

    def get(self, utterance: str) -> Frames:
        """The features of an utterance.

        Args:
            utterance: its id.

        Returns:
            `[frames, dim]`, a read-only view of the file.

        Raises:
            FeatureStoreError: they are not stored, or their file cannot be opened.
        """
        shard, position = self._found(self._place(utterance))
        return shard.view(position)

    def append(self, utterance: str, features: NDArray[np.floating]) -> None:
        """Stores the features of an utterance; when this returns, a killed process does not lose them.

        Args:
            utterance: its id, not stored yet.
            features: `[frames, dim]`, at least one frame.

        Raises:
            FeatureStoreError: another shape, values that half precision cannot hold, an id that is stored already, or
                a folder that cannot be written to.
        """
        if features.ndim != 2 or features.shape[1] != self._dim or features.shape[0] == 0:
            raise FeatureStoreError(f"{utterance}: features of shape {features.shape}, expected [frames, {self._dim}]")
        with np.errstate(over="ignore"):
            halves = np.ascontiguousarray(features, dtype=np.float16)
        if not np.isfinite(halves).all():
            raise FeatureStoreError(f"{utterance}: features that are not finite in half precision")
        try:
            writer = self._writer_for(halves.nbytes)
            if utterance in self._places:
                raise FeatureStoreError(f"{self.folder}: {utterance} is stored already")
            writer.write(utterance, halves)
        except OSError as error:
            # What got onto the disk is behind what counts: the next writer cuts it off.
            self.close()
            raise FeatureStoreError(f"{self.folder}: {utterance} cannot be stored ({error})") from error
        self._places[utterance] = _place(writer.shard.number, len(writer.shard.index) - 1)

    def refresh(self) -> None:
        """Takes in what other processes stored since the store was opened.

        Raises:
            FeatureStoreError: a shard is damaged.
        """
        for number in shard_numbers(self.folder):
            shard = self._shards.setdefault(number, Shard(self.folder, number, self._dim))
            if self._writer is None or self._writer.shard is not shard:
                self._take_in(number, shard.read_more())

    def verify(self, *, jobs: int = 1, advance: Callable[[int], object] | None = None) -> tuple[str, ...]:
        """Reads every frame and compares checksums.

        Args:
            jobs: how many utterances are read at the same time.
            advance: told how many utterances were read since it was last called.

        Returns:
            Ids whose frames are damaged.
        """
        ids = list(self._places)
        parts = [ids[start : start + _VERIFIED_AT_ONCE] for start in range(0, len(ids), _VERIFIED_AT_ONCE)]
        damaged: list[str] = []
        # Checksums release the interpreter's lock, so threads are enough.
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            for part, broken in zip(parts, pool.map(self._broken, parts), strict=True):
                damaged.extend(broken)
                if advance is not None:
                    advance(len(part))
        return tuple(damaged)

    def close(self) -> None:
        """Lets other processes write to the shard that this one wrote to; the store can still be read."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _broken(self, utterances: list[str]) -> list[str]:
        found = ((name, *self._found(self._places[name])) for name in utterances)
        return [name for name, shard, position in found if not shard.intact(position)]

    def _place(self, utterance: str) -> int:
        place = self._places.get(utterance)
        if place is None:
            raise FeatureStoreError(f"{self.folder}: no features of {utterance}; run medusa features extract")
        return place

    def _found(self, place: int) -> tuple[Shard, int]:
        return self._shards[(place >> _POSITION_BITS) - 1], place & ((1 << _POSITION_BITS) - 1)

    def _take_in(self, number: int, ids: list[str]) -> None:
        """Adds the last so many utterances of a shard."""
        first = _place(number, len(self._shards[number].index) - len(ids))
        places = dict(zip(ids, range(first, first + len(ids)), strict=True))
        if len(places) == len(ids) and self._places.keys().isdisjoint(places):
            self._places.update(places)
            return
        for place, name in enumerate(ids, start=first):
            before = self._places.setdefault(name, place)
            if before != place:
                self._repeated[name] += 1
                self._places[name] = min(before, place)

    def _writer_for(self, size: int) -> ShardWriter:
        """The shard that this process writes to; another one where it is full."""
        if self._writer is not None and self._writer.has_room(size):
            return self._writer
        self.close()
        claim_policy(self.folder, self.policy)
        self._writer = claim_shard(self.folder, self._dim, size, self._shard_bytes)
        # Other processes may have written since the store was opened, to this shard too: everything is read anew.
        self._shards = {self._writer.shard.number: self._writer.shard}
        self._places = {}
        self._repeated.clear()
        self._take_in(self._writer.shard.number, self._writer.shard.index.ids)
        self.refresh()
        return self._writer


def _place(number: int, position: int) -> int:
    """Ordered as shards are, the unnumbered one first."""
    return (number + 1) << _POSITION_BITS | position
