"""What is to be compiled: a bundle, the library it is for, its precision, and what stands inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from models.backbones.speech_source import SpeechSource
from models.backbones.text_source import TextSource
from models.bundle import Bundle
from models.engines.tensorrt_library import plain_capability
from models.errors import EngineError

if TYPE_CHECKING:
    from models.calibration_audio import CalibrationAudio

ONNX: Final = "onnx"
TENSORRT: Final = ("tensorrt", "tensorrt_rtx")
"""Whichever of the two libraries is there, and TensorRT for RTX."""
INT8: Final = "int8"
FP8: Final = "fp8"
EIGHT_BITS: Final = (INT8, FP8)
PRECISIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {ONNX: ("fp32", INT8), **dict.fromkeys(TENSORRT, ("fp32", "fp16", "bf16", *EIGHT_BITS))}
)
"""By target. 16 bits keep their weights in a CPU's memory and gain nothing there; its integers are for encoders that
stand inside, since members are too small to gain."""
LEAST_CAPABILITY: Final[Mapping[str, str]] = MappingProxyType({"bf16": "8.0", FP8: "8.9"})
"""By precision, from which generation on cards compute in it: Ampere, Ada."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be compiled."""

    bundle: Bundle
    target: str = ONNX
    """One of `PRECISIONS`."""
    precision: str = "fp32"
    text: Mapping[str, TextSource] = field(default_factory=dict)
    """By modality, text encoders to put inside where they can be written."""
    speech: Mapping[str, SpeechSource] = field(default_factory=dict)
    """By modality, speech encoders to put inside where they can stand there."""
    capabilities: Sequence[str] = ()
    """Compute capabilities to build for, such as `8.9`; by default those of `models.engines.tensorrt` that compute in
    the precision."""
    keep_fp32: Sequence[str] = ()
    """Layer groups that stay in single precision all the same, see `models.graphs.ensemble.ALL_GROUPS`."""
    refittable: bool = False
    """Whether an engine of TensorRT takes the weights of a bundle that differs in nothing else; a GPU builds it."""
    audio: CalibrationAudio | None = None
    """What speech encoders inside are calibrated with, and checked on, in a reduced precision."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS.get(self.target, ()):
            known = "; ".join(f"{target} in {', '.join(kinds)}" for target, kinds in PRECISIONS.items())
            raise EngineError(f"cannot compile to {self.target} in {self.precision}: this release compiles to {known}")
        if self.capabilities and self.target not in TENSORRT:
            raise EngineError(f"compute capabilities are those of NVIDIA cards, {self.target} runs on the CPU")
        if self.refittable and self.target not in TENSORRT:
            raise EngineError(f"engines of TensorRT take other weights, {self.target} is written anew in seconds")
        if self.refittable and self.quantised:
            raise EngineError(
                f"an engine in {self.precision} takes no other weights, since their ranges are built in: leave "
                "refittable out"
            )
        if self.keep_fp32 and (self.precision == "fp32" or self.target == ONNX):
            raise EngineError(
                f"members are in fp32 already in {self.precision} on {self.target}: layer groups are kept in it in "
                "reduced precisions of TensorRT"
            )
        self._refuse_older_cards()
        standardised = self.bundle.manifest.speaker_standardisation.keys()
        relative = sorted(name for name in self.speech.keys() & standardised if not self.speech[name].relative)
        if relative:
            raise EngineError(
                f"{', '.join(relative)} is brought relative to the speaker between encoder and members, which its "
                "source must say: take sources from models.backbones.speech_source.speech_sources"
            )

    @property
    def quantised(self) -> bool:
        """Whether products are computed in 8 bits whose ranges are measured beforehand."""
        return self.target in TENSORRT and self.precision in EIGHT_BITS

    @property
    def inside(self) -> dict[str, TextSource]:
        """The text encoders that will stand inside: those that can be written."""
        return {name: source for name, source in self.text.items() if source.bytes_inside() is not None}

    @property
    def hearing(self) -> dict[str, SpeechSource]:
        """The speech encoders that will stand inside: likewise."""
        return {name: source for name, source in self.speech.items() if source.fault() is None}

    @property
    def built_for(self) -> tuple[str, ...]:
        """Compute capabilities that an engine of TensorRT is built for."""
        from models.engines.tensorrt import DEFAULT_CAPABILITIES

        return tuple(self.capabilities) or tuple(name for name in DEFAULT_CAPABILITIES if not self._too_old(name))

    def _refuse_older_cards(self) -> None:
        older = [plain_capability(name) for name in self.capabilities if self._too_old(name)]
        if older:
            raise EngineError(
                f"cards of compute capability {', '.join(older)} do not compute in {self.precision}, those from "
                f"{LEAST_CAPABILITY[self.precision]} on do: leave {'them' if len(older) > 1 else 'it'} out, or take "
                f"{'int8 or fp16' if self.precision == FP8 else 'fp16'}"
            )

    def _too_old(self, capability: str) -> bool:
        least = LEAST_CAPABILITY.get(self.precision)
        return least is not None and float(plain_capability(capability)) < float(least)
