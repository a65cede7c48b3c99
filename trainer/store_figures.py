"""What `medusa features info` says of a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from models.backbones.registry import BACKBONES
from trainer.errors import FeatureStoreError
from trainer.feature_policy import POLICY_FILE
from trainer.features import FeatureStore

_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """One store in figures."""

    store: str
    """Name of its folder."""
    utterances: int
    hours: float | None
    """Of the audio whose features are stored, its silence cut off; None for text, which has no duration."""
    frames: int
    shards: int
    size_bytes: int
    corpora: Mapping[str, int]
    """Utterances by corpus."""
    policy: Mapping[str, Any]
    duplicates: tuple[str, ...]
    """Ids that two processes stored; the first counts."""
    damaged: Mapping[str, str] | None
    """The file that holds the frames, by the id of every utterance whose frames are damaged; None if nobody looked."""

    @classmethod
    def of(
        cls,
        store: FeatureStore,
        *,
        verify: bool = False,
        jobs: int = 1,
        advance: Callable[[int], object] | None = None,
    ) -> Self:
        """Counts, and reads every frame if asked to.

        Args:
            store: any.
            verify: compare checksums.
            jobs: utterances that are read at the same time.
            advance: told how many utterances were read since it was last called.
        """
        damaged = None
        if verify:
            damaged = {name: store.shard_of(name) for name in store.verify(jobs=jobs, advance=advance)}
        return cls(
            store=store.folder.name,
            utterances=len(store),
            hours=_hours(store),
            frames=store.frames,
            shards=store.shards,
            size_bytes=store.size_bytes,
            corpora=dict(Counter(utterance.partition("/")[0] for utterance in store)),
            policy=store.policy,
            duplicates=tuple(sorted(store.duplicates)),
            damaged=damaged,
        )

    def lines(self) -> list[str]:
        """For people."""
        hours = "" if self.hours is None else f" {self.hours:>8.2f} h"
        size = f"{self.size_bytes / 1e6:>9.1f} MB in {self.shards} shard{'' if self.shards == 1 else 's'}"
        made = ", ".join(f"{key} {self.policy[key]}" for key in ("backbone", "view", "stride") if key in self.policy)
        return [
            f"{self.store:<32} {self.utterances:>8} utterances{hours} {self.frames:>10} frames {size}",
            f"  {', '.join(f'{name} {count}' for name, count in self.corpora.items()) or 'empty'}",
            f"  {made}",
            *(f"  stored twice: {name}" for name in self.duplicates),
            *(f"  damaged: {name} in {file}" for name, file in (self.damaged or {}).items()),
        ]


def stores_in(folder: Path) -> list[FeatureStore]:
    """Every store of a folder, by name.

    Raises:
        FeatureStoreError: there is none, or one is damaged.
    """
    found = sorted(path.parent for path in folder.glob(f"*/{POLICY_FILE}"))
    if not found:
        raise FeatureStoreError(f"no feature store under {folder}; run medusa features extract")
    return [FeatureStore.inspect(path) for path in found]


def _hours(store: FeatureStore) -> float | None:
    spec = BACKBONES.get(str(store.policy.get("backbone")))
    if spec is None or spec.rate_hz is None:
        return None
    frames = sum(store.frames_of(utterance) for utterance in store)
    return round(frames * int(store.policy.get("stride", 1)) / spec.rate_hz / _HOUR_S, 6)
