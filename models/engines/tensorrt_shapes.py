"""The shapes a TensorRT engine is made for: ranges to build for, steps to pad to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from models.audio_batches import LEAST_MEL_FRAMES
from models.backbones.registry import BACKBONES
from models.backbones.tokens import MAX_TOKENS
from models.engines.graph_inputs import WAVEFORM_INPUT, feature_input, length_input, mel_input, token_input
from models.errors import EngineError
from models.modalities import SPECIAL_TOKENS, Modality
from models.windows import FRAME_SAMPLES, MEL_HOP_SAMPLES, SAMPLE_RATE_HZ, WindowPolicy

DEFAULT_SECONDS: Final = (3.0, 10.0, 30.0)
"""Lengths of speech that inputs are padded to; the first is what kernels are tuned for."""
DEFAULT_BATCHES: Final = (1, 8, 32, 128)
HEARING_BATCHES: Final = (1, 8, 32)
"""Where speech encoders stand inside: what their convolutions hold of more half minutes no card has room for."""

_ENCODER_HZ: Final = 50.0
"""Frames a second of a speech encoder that a recipe names itself."""
_TOKENS_PER_S: Final = 6.0
"""Of fast speech."""
_OF_A_MODALITY: Final = (feature_input(""), token_input(""), length_input(""))
"""What names of inputs end with that belong to one modality."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that an axis is padded to."""

    steps: tuple[int, ...]
    """Ascending; the first is the least, the last the most the engine takes."""
    typical: int
    """What kernels are tuned for, from least to most."""
    exact: bool = False
    """Whether what is behind the end would be heard: nothing is padded then, all sizes from least to most are taken."""

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
        """What a size is padded to, the smallest step with room for it; None where there is none."""
        if self.exact:
            return size if self.steps[0] <= size <= self.steps[-1] else None
        return next((step for step in self.steps if step >= size), None)


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape of all inputs."""

    batch: int
    times: tuple[tuple[str, int], ...]
    """Frames, tokens or samples, see `sized_by`."""

    def of(self, name: str, dims: Sequence[int]) -> tuple[int, ...]:
        """An input's shape.

        Args:
            name: of the input.
            dims: as the graph declares them, -1 where only the shape tells: the batch first, then time.
        """
        own = dict(self.times).get(sized_by(name), 0)
        return tuple(dim if dim >= 0 else own if axis else self.batch for axis, dim in enumerate(dims))


@dataclass(frozen=True, slots=True)
class ShapeBucket:
    """One optimisation profile: ranges that kernels are compiled for, and the shapes within them to pad to."""

    batch: Sizes
    times: Mapping[str, Sizes]
    """Frames, tokens or samples, see `sized_by`."""

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


def sized_by(name: str) -> str:
    """What the time axis of an input of the graph goes by in a shape.

    That of features and tokens goes by their modality; the waveform and spectrograms have sizes of their own.
    """
    for kind in _OF_A_MODALITY:
        if name.endswith(kind):
            return name.removesuffix(kind)
    return name


@dataclass(frozen=True, slots=True)
class Hearing:
    """What speech encoders inside an engine are given."""

    waveform: frozenset[str]
    """Modalities that hear the waveform."""
    mel: Mapping[str, float]
    """Modalities whose Whisper reads a spectrogram, each with the seconds of the longest window it knows places for."""
    windows: Sequence[WindowPolicy]
    """What segments are padded to before they are heard; what is tuned for is a segment in the first."""

    @property
    def windows_s(self) -> list[float]:
        """All there are, ascending."""
        return sorted({bucket_s for policy in self.windows for bucket_s in policy.buckets_s})

    def times(self, seconds: Sequence[float], tuned_s: float) -> dict[str, Sizes]:
        """Sizes of the waveform and of the spectrograms.

        The waveform is padded: to a length of speech or, where it is longer, to a window. A spectrogram comes in its
        window, and is none where nobody spoke.

        Args:
            seconds: of speech, ascending; windows are taken as far as speech of the last may need them.
            tuned_s: what of them kernels are tuned for.

        Raises:
            EngineError: a Whisper has no places for the shortest window.
        """
        most_s = max(_window_s(policy, seconds[-1]) for policy in self.windows)
        windows_s = [window_s for window_s in self.windows_s if window_s <= most_s]
        times: dict[str, Sizes] = {}
        if self.waveform:
            lengths_s = {*windows_s, *(s for s in seconds if s <= most_s)}
            samples = sorted({FRAME_SAMPLES, *(math.ceil(s * SAMPLE_RATE_HZ) for s in lengths_s)})
            times[WAVEFORM_INPUT] = Sizes(tuple(samples), min(math.ceil(tuned_s * SAMPLE_RATE_HZ), samples[-1]))
        for name, longest_s in self.mel.items():
            frames = [_mel_frames(window_s) for window_s in windows_s if window_s <= longest_s]
            if not frames:
                raise EngineError(
                    f"{name} has places for {longest_s:g} s, the bundle's shortest window has {windows_s[0]:g} s: it "
                    "cannot stand inside the engine"
                )
            typical = min(_mel_frames(_window_s(self.windows[0], tuned_s)), frames[-1])
            times[mel_input(name)] = Sizes((LEAST_MEL_FRAMES, *frames), typical, exact=True)
        return times


def default_buckets(
    modalities: Sequence[Modality],
    *,
    hearing: Hearing | None = None,
    seconds: Sequence[float] = DEFAULT_SECONDS,
    batches: Sequence[int] | None = None,
    apart: bool = False,
) -> tuple[ShapeBucket, ...]:
    """Shapes for speech of some lengths in batches of some sizes.

    Args:
        modalities: what the engine reads.
        hearing: of the speech encoders inside, where there are any.
        seconds: of speech, ascending.
        batches: ascending; by default `DEFAULT_BATCHES`, with speech encoders inside `HEARING_BATCHES`.
        apart: a profile for each length, each tuned for it. Kernels that are specialised at run time, as those of
            TensorRT for RTX, need no second profile: it only makes a build longer and a file larger.

    Raises:
        EngineError: as `Hearing.times`.
    """
    inside = frozenset[str]() if hearing is None else hearing.waveform | hearing.mel.keys()
    outside = [m for m in modalities if m.name not in inside]
    # Where a text encoder is inside, nothing to read is a token between the two that open and close it.
    least = {m.name: SPECIAL_TOKENS + 1 if m.kind == "linguistic" else 1 for m in outside}
    steps = {m.name: sorted({least[m.name], *(_frames(m, s) for s in seconds)}) for m in outside}
    if batches is None:
        batches = HEARING_BATCHES if inside else DEFAULT_BATCHES
    batch = Sizes(tuple(batches), batches[min(1, len(batches) - 1)])
    lengths = [seconds[: count + 1] for count in range(len(seconds))] if apart else [seconds]
    buckets = []
    for own in lengths:
        tuned_s = own[-1] if apart else own[0]
        times = {} if hearing is None else hearing.times(own, tuned_s)
        for m in outside:
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


def _window_s(policy: WindowPolicy, seconds: float) -> float:
    """Of some seconds of speech; the longest where they do not fit."""
    return policy.bucket_s(math.ceil(min(seconds, policy.longest_s) * SAMPLE_RATE_HZ))


def _mel_frames(seconds: float) -> int:
    """As `models.backbones.log_mel` makes them."""
    return round(seconds * SAMPLE_RATE_HZ) // MEL_HOP_SAMPLES // 2 * 2
