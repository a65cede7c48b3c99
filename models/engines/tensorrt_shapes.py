"""The shapes a TensorRT engine is made for: ranges to build for, steps to pad to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from models.backbones.registry import BACKBONES
from models.backbones.tokens import MAX_TOKENS
from models.errors import EngineError
from models.modalities import SPECIAL_TOKENS, Modality

DEFAULT_SECONDS: Final = (3.0, 10.0, 30.0)
"""Lengths of speech that inputs are padded to; the first is what kernels are tuned for."""
DEFAULT_BATCHES: Final = (1, 8, 32, 128)

_ENCODER_HZ: Final = 50.0
"""Frames a second of a speech encoder that a recipe names itself."""
_TOKENS_PER_S: Final = 6.0
"""Of fast speech."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that an axis is padded to."""

    steps: tuple[int, ...]
    """Ascending; the first is the least, the last the most the engine takes."""
    typical: int
    """What kernels are tuned for, from least to most."""

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or not ascending or self.steps[0] < 1:
            raise EngineError(f"sizes of an axis must ascend from 1 at least, got {self.steps}")
        if not self.steps[0] <= self.typical <= self.steps[-1]:
            raise EngineError(f"the typical size {self.typical} is not within {self.steps[0]} to {self.steps[-1]}")

    @property
    def extremes(self) -> tuple[int, int, int]:
        """Least, typical and most, as an optimisation profile wants them."""
        return self.steps[0], self.typical, self.steps[-1]

    def fit(self, size: int) -> int | None:
        """The smallest step with room for a size; None where there is none."""
        return next((step for step in self.steps if step >= size), None)


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape of all inputs."""

    batch: int
    times: tuple[tuple[str, int], ...]
    """Frames or tokens by modality."""

    def of(self, name: str, dims: Sequence[int]) -> tuple[int, ...]:
        """An input's shape.

        Args:
            name: of the input, `{modality}_{what}`.
            dims: as the graph declares them, -1 where only the shape tells.
        """
        own = dict(self.times)[modality_of(name)]
        dynamic = (self.batch, own)
        return tuple(dynamic[axis] if axis < len(dynamic) and dim < 0 else dim for axis, dim in enumerate(dims))


@dataclass(frozen=True, slots=True)
class ShapeBucket:
    """One optimisation profile: ranges that kernels are compiled for, and the shapes within them to pad to."""

    batch: Sizes
    times: Mapping[str, Sizes]
    """Frames or tokens by modality."""

    def fit(self, batch: int, times: Mapping[str, int]) -> Shape | None:
        """The smallest shape with room for these inputs; None where there is none."""
        room = self.batch.fit(batch)
        own = {name: sizes.fit(times[name]) for name, sizes in self.times.items()}
        if room is None or None in own.values():
            return None
        return Shape(room, tuple((name, size) for name, size in own.items() if size is not None))

    def shapes(self, name: str, dims: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """An input's least, typical and most shape."""
        extremes = zip(self.batch.extremes, *(sizes.extremes for sizes in self.times.values()), strict=True)
        return tuple(Shape(b, tuple(zip(self.times, own, strict=True))).of(name, dims) for b, *own in extremes)


def modality_of(name: str) -> str:
    """What an input of the graph belongs to: `acoustic` for `acoustic_features` and `acoustic_lengths`."""
    return name.rpartition("_")[0]


def default_buckets(
    modalities: Sequence[Modality],
    *,
    seconds: Sequence[float] = DEFAULT_SECONDS,
    batches: Sequence[int] = DEFAULT_BATCHES,
    apart: bool = False,
) -> tuple[ShapeBucket, ...]:
    """Shapes for speech of some lengths in batches of some sizes.

    Args:
        modalities: what the engine reads.
        seconds: of speech, ascending.
        batches: ascending.
        apart: a profile for each length, each tuned for it. Kernels that are specialised at run time, as those of
            TensorRT for RTX, need no second profile: it only makes a build longer and a file larger.
    """
    # Where a text encoder is inside, nothing to read is a token between the two that open and close it.
    least = {m.name: SPECIAL_TOKENS + 1 if m.kind == "linguistic" else 1 for m in modalities}
    steps = {m.name: sorted({least[m.name], *(_frames(m, s) for s in seconds)}) for m in modalities}
    batch = Sizes(tuple(batches), batches[min(1, len(batches) - 1)])
    lengths = [seconds[: count + 1] for count in range(len(seconds))] if apart else [seconds]
    buckets = []
    for own in lengths:
        tuned_s = own[-1] if apart else own[0]
        times = {}
        for m in modalities:
            most = _frames(m, own[-1])
            times[m.name] = Sizes(tuple(step for step in steps[m.name] if step <= most), _frames(m, tuned_s))
        buckets.append(ShapeBucket(batch, times))
    return tuple(buckets)


def fitting(buckets: Sequence[ShapeBucket], batch: int, times: Mapping[str, int]) -> tuple[int, Shape] | None:
    """The first profile with room for these inputs, and the shape to pad them to; None where there is none."""
    for position, bucket in enumerate(buckets):
        shape = bucket.fit(batch, times)
        if shape is not None:
            return position, shape
    return None


def _frames(modality: Modality, seconds: float) -> int:
    """Of some seconds of speech, as members read them; speech encoders differ by a frame at the end."""
    if modality.kind == "linguistic":
        return min(math.ceil(seconds * _TOKENS_PER_S) + SPECIAL_TOKENS, MAX_TOKENS)
    known = BACKBONES.get(modality.backbone)
    rate_hz = known.rate_hz if known is not None and known.rate_hz is not None else _ENCODER_HZ
    return math.ceil((seconds * rate_hz + 1) / modality.stride)
