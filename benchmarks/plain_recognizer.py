"""What one would put together today: `WhisperModel.transcribe` of each segment, then the members one by one in PyTorch.

The weights, the arithmetic, the features and the bundle are the same as the runtime's, and so are the scores where the
words are; only the way to them is the plain one. Whisper pads each segment to 30 s, and its hidden layer is computed
once more for the members, since `transcribe` does not hand it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from faster_whisper import WhisperModel
from numpy.typing import NDArray

from models.backbones.bundle_backbones import stated_backbone
from models.backbones.prosody import ProsodyExtractor
from models.backbones.speech_source import speech_sources
from models.backbones.text_source import text_sources
from models.backbones.whisper import WhisperEncoder
from models.bundle import Bundle, find_bundle, load_bundle
from models.emotions import Attributes, EmotionScores
from models.engines.torch import TorchEngine
from models.speaker import UNHEARD, SpeakerMoments
from models.weights import weights_folder
from streaming.config import Settings
from streaming.events import ModelInfo
from streaming.recognition.readers import Heard, Readers
from streaming.recognition.request import RecognitionRequest, RequestKind, Transcript

_WARM_UP_SAMPLES: Final = 32_000


@dataclass(frozen=True, slots=True)
class PlainAnswer:
    """What one segment amounted to."""

    text: str
    language: str
    language_probability: float
    emotion: EmotionScores | None
    """None where Whisper took all of it for no speech."""
    moments: SpeakerMoments
    """What it tells of the speaker."""


class PlainRecognizer:
    """Answers one segment at a time, on the thread that asks."""

    def __init__(self, settings: Settings, bundle: Bundle, whisper: WhisperModel, readers: Readers) -> None:
        """Puts the parts together; `load` makes them."""
        self._settings = settings
        self._bundle = bundle
        self._whisper = whisper
        self._readers = readers
        self._engine = TorchEngine(bundle)
        self._speaker = bundle.speaker_standardisation()
        self._windows = bundle.final_windows
        self._abstain_below = bundle.abstain_below if settings.ensemble.abstain else 0.0
        self._encoder = WhisperEncoder(
            weights_folder(settings.asr.model, settings.weights),
            layers=set(readers.layers.values()),
            decodes=False,
            compute_type=settings.asr.compute_type,
            threads=settings.asr.threads,
        )
        self.model: Final = ModelInfo(
            bundle=bundle.manifest.name,
            sha256=bundle.sha256,
            profile=bundle.manifest.profile,
            labels=bundle.labels.names,
        )

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Loads what `load_recognizer` of the runtime loads: the same weights, bundle, arithmetic and threads.

        Args:
            settings: the sections `[asr]`, `[ensemble]` and `[weights]` are read, less `engine` and `precision`.

        Raises:
            WeightsError: pretrained weights cannot be had.
            BundleError: the bundle is missing or damaged.
        """
        asr = settings.asr
        if asr.threads:
            torch.set_num_threads(asr.threads)
        bundle = load_bundle(find_bundle(settings.ensemble.bundle))
        backbones = [stated_backbone(entry) for entry in bundle.manifest.backbones]
        speech = speech_sources(bundle, settings.weights, required=True)
        text = text_sources(bundle, settings.weights)
        readers = Readers(
            layers={spec.name: spec.hidden_layer for spec in backbones if spec.weights == asr.model},
            prosody=ProsodyExtractor(),
            text_encoders={name: source.encoder() for name, source in text.items()},
            tokens={},
            speech_encoders={name: source.encoder(bundle.final_windows) for name, source in speech.items()},
            ears={},
        )
        whisper = WhisperModel(
            str(weights_folder(asr.model, settings.weights)),
            device="cpu",
            compute_type=asr.compute_type,
            cpu_threads=asr.threads,
        )
        return cls(settings, bundle, whisper, readers)

    def recognize(
        self, samples: NDArray[np.float32], *, language: str | None = None, heard: SpeakerMoments = UNHEARD
    ) -> PlainAnswer:
        """Words and emotion of one segment.

        Args:
            samples: `[samples]`, 16 kHz.
            language: of the speech; None to detect it.
            heard: how the speaker has sounded so far.

        Raises:
            FeatureError: the segment does not fit the bundle's windows.
        """
        asr = self._settings.asr
        pieces, info = self._whisper.transcribe(
            samples,
            language=language,
            beam_size=1,
            best_of=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
            no_speech_threshold=asr.no_speech_threshold,
            log_prob_threshold=asr.log_probability_threshold,
        )
        found = list(pieces)
        text = "".join(piece.text for piece in found).strip()
        emotion, moments = (None, UNHEARD) if not found else self.score(samples, text, info.language, heard)
        return PlainAnswer(text, info.language, float(info.language_probability), emotion, moments)

    def score(
        self, samples: NDArray[np.float32], text: str, language: str, heard: SpeakerMoments = UNHEARD
    ) -> tuple[EmotionScores, SpeakerMoments]:
        """The emotion of a segment whose words are known, and what it tells of its speaker."""
        request = RecognitionRequest(0, "plain", 0, 1, RequestKind.FINAL, samples, 0.0, language, heard=heard)
        said = Transcript(text, (), language, 1.0, 0.0, 0.0)
        encoded = self._encoder.encode([samples], self._windows.bucket_s(len(samples)))
        inputs, (told,) = self._readers.inputs(
            self._bundle.modalities, self._speaker, Heard([request], [said], encoded, [0])
        )
        output = self._engine.run(inputs)
        probabilities = output.probabilities[0]
        scores = EmotionScores(
            self._bundle.labels,
            probabilities,
            Attributes(*map(float, output.attributes[0])),
            abstained=float(probabilities.max()) < self._abstain_below,
        )
        return scores, told

    def warm_up(self) -> None:
        """Does once what would make the first answer slow."""
        noise = np.random.default_rng(0).normal(scale=0.01, size=_WARM_UP_SAMPLES).astype(np.float32)
        self.recognize(noise, language="en")
        self.score(noise, "well then", "en")
