"""A bundle whose speech and text encoders are tiny checkpoints with random weights, and what it is given to hear."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.audio_batches import AudioBatch
from models.backbones.speech_source import SpeechSource
from models.backbones.text_source import TextSource
from models.bundle import Bundle
from models.check_clips import CheckClips
from models.compile import Order
from models.modalities import EngineBatch, EngineInputs, pad_tokens
from tests.fakes.bundles import HEARING_MEMBERS, hearing_bundle
from tests.fakes.checkpoints import DIM, LAYERS, stirred, tiny_checkpoint

SAMPLES: Final = (27_001, 400, None, 9_123, 38_000)
"""Of clips in one batch: the second gives one frame, the third is missing."""
WORDS: Final = ("well then", None, "no", "yes", None)
STACKED: Final = {"wavlm": 1, "hubert": 3, "whisper": 2, "text": 1}
READ: Final = {"wavlm": 4, "hubert": 3, "whisper": 2, "text": 4}
VOCABULARY: Final = 20_001
"""Tokens that engines are checked with."""

_DEPTH: Final = "num_hidden_layers"
_DEPTHS: Final = {"whisper": "encoder_layers"}
"""What a configuration calls the number of its layers, where it is another word."""

Clip = NDArray[np.float32]


@dataclass(frozen=True)
class Hearing:
    """A bundle, and where its encoders are."""

    bundle: Bundle
    speech: dict[str, SpeechSource]
    text: dict[str, TextSource]

    def order(self, target: str = "onnx", precision: str = "fp32", **more: Any) -> Order:
        return Order(self.bundle, target, precision, text=self.text, speech=self.speech, **more)

    def given(self, inputs: EngineInputs) -> dict[str, EngineBatch]:
        """As an engine is given them."""
        ears = {name: source.ear(self.bundle.final_windows) for name, source in self.speech.items()}
        return {n: ears[n](batch) if isinstance(batch, AudioBatch) else batch for n, batch in inputs.items()}


def tiny_hearing(
    root: Path, layers: int = LAYERS, members: Collection[str] = tuple(HEARING_MEMBERS), check: CheckClips | None = None
) -> Hearing:
    """Every weight has a say; some layers are summed, others stand side by side and are weighed by members.

    Args:
        root: where to write it.
        layers: of each encoder; no more are read than there are.
        members: see `tests.fakes.bundles.hearing_bundle`.
        check: likewise.
    """
    read = {name: min(count, layers) for name, count in READ.items()}
    stacked = {name: min(count, layers) for name, count in STACKED.items()}
    folders = {
        name: stirred(tiny_checkpoint(kind, root / kind, **{_DEPTHS.get(kind, _DEPTH): layers}, **changes))
        for name, kind, changes in (
            ("wavlm", "wavlm", {}),
            ("hubert", "hubert", {}),
            ("whisper", "whisper", {}),
            ("text", "roberta", {"vocab_size": VOCABULARY}),
        )
    }
    speech = {
        name: SpeechSource(folders[name], name, read[name], stacked[name] > 1, {"weights": name})
        for name in ("wavlm", "hubert", "whisper")
    }
    text = {"text": TextSource(folders["text"], frozenset({"en"}), "roberta", read["text"], False, {})}
    bundle = hearing_bundle(root / "bundle", dim=DIM, stacked=stacked, members=members, check=check)
    return Hearing(bundle, speech, text)


def clips(lengths: Sequence[int | None] = SAMPLES) -> list[Clip | None]:
    """Noise, the same every time."""
    chance = np.random.default_rng(0)
    return [None if n is None else chance.normal(0.05, 0.1, size=n).astype(np.float32) for n in lengths]


def heard(audio: AudioBatch, words: Sequence[str | None] = WORDS) -> dict[str, EngineBatch]:
    """Inputs of every modality, audio as it is."""
    said = [None if text is None else np.array([0, *map(ord, text), 2], dtype=np.int64) for text in words]
    return {"wavlm": audio, "hubert": audio, "whisper": audio, "text": pad_tokens(said)}
