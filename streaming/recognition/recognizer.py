"""From audio to words and emotion: one pass of the speech encoder, read by the transcriber and the ensemble alike."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.emotions import Attributes, EmotionScores
from models.modalities import Modality, PaddedBatch, TokenBatch, pad, pad_tokens
from models.speaker import UNHEARD, Moments, SpeakerMoments
from models.weights import weights_folder
from models.windows import SAMPLE_RATE_HZ
from streaming.errors import RecognitionError
from streaming.events import ModelInfo
from streaming.recognition.request import RecognitionRequest, RecognitionResult, RequestKind, Transcript

if TYPE_CHECKING:
    # Heavy libraries: loaded by `load_recognizer`, not by whoever only needs the protocol.
    from models.backbones.prosody import ProsodyExtractor
    from models.backbones.text import TextEncoder
    from models.backbones.tokens import Tokens
    from models.backbones.whisper import EncodedSpeech, WhisperEncoder
    from models.bundle import Bundle
    from models.engines.base import Engine
    from streaming.config import Settings
    from streaming.recognition.transcriber import Transcriber

_LOG: Final = logging.getLogger(__name__)
PROSODY: Final = "prosody"
_WARM_UP_SAID: Final = Transcript("well then", (), "en", 1.0, 0.0, 0.0)

Features = NDArray[np.float32]
Read_co = TypeVar("Read_co", covariant=True)


@runtime_checkable
class Recognizer(Protocol):
    """Answers batches of requests; used from one worker thread at a time."""

    @property
    def model(self) -> ModelInfo:
        """The ensemble that answers."""
        ...

    def window_s(self, request: RecognitionRequest) -> float:
        """Length bucket of a request in seconds: requests of one bucket can share a batch.

        Raises:
            FeatureError: the request's audio does not fit any bucket.
        """
        ...

    def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
        """Answers requests of one bucket, in their order.

        Every answer depends on its own request alone, never on what else is in the batch.

        Raises:
            Exception: any, if one of the requests cannot be answered; none of them is answered then.
        """
        ...

    def warm_up(self) -> None:
        """Does once, at start, what would make the first requests slow."""
        ...


class SpeechEmotionRecognizer:
    """The recogniser: Whisper encoder, transcriber, prosody, text encoders and the ensemble's engine."""

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        encoder: WhisperEncoder,
        layers: Mapping[str, int | None],
        transcriber: Transcriber,
        prosody: ProsodyExtractor,
        text_encoders: Mapping[str, TextEncoder],
        tokens: Mapping[str, Tokens],
        abstain: bool,
    ) -> None:
        """Puts the parts together.

        Args:
            bundle: says what the engine reads, in which windows, and when to abstain.
            engine: runs the bundle's ensemble.
            encoder: the speech encoder.
            layers: by name in the backbone registry, the hidden layer of that encoder which it stands for.
            transcriber: reads words from the encoder's output.
            prosody: the backbone of that name.
            text_encoders: by modality, where the engine reads their features.
            tokens: by modality, tokenisers of the text encoders that the engine has inside.
            abstain: whether scores under the bundle's threshold claim no label.

        Raises:
            RecognitionError: the bundle reads a backbone that is none of these.
            BundleError: its speaker priors are damaged.
        """
        spoken = text_encoders.keys() | tokens.keys()
        missing = {m.backbone for m in bundle.modalities if m.name not in spoken} - layers.keys() - {PROSODY}
        if missing:
            raise RecognitionError(
                f"bundle {bundle.manifest.name} reads {', '.join(sorted(missing))}, which is not computed live: "
                f"choose a bundle over {', '.join((*layers, PROSODY))} and a text encoder of the registry"
            )
        self.model: Final = ModelInfo(
            bundle=bundle.manifest.name,
            sha256=bundle.sha256,
            profile=bundle.manifest.profile,
            labels=bundle.labels.names,
        )
        self._labels = bundle.labels
        self._modalities = bundle.modalities
        self._speaker = bundle.speaker_standardisation()
        self._final_windows = bundle.final_windows
        self._interim_windows = bundle.interim_windows
        self._abstain_below = bundle.abstain_below if abstain else 0.0
        self._engine = engine
        self._encoder = encoder
        self._layers = layers
        self._transcriber = transcriber
        self._prosody = prosody
        self._text_encoders = text_encoders
        self._tokens = tokens

    def window_s(self, request: RecognitionRequest) -> float:
        """See `Recognizer.window_s`: finals and speculative finals in the windows members were trained under."""
        windows = self._interim_windows if request.kind is RequestKind.INTERIM else self._final_windows
        return windows.bucket_s(len(request.samples))

    def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
        """See `Recognizer.recognize`.

        Where nothing is heard, no text and no emotion is made up. Where something is heard but no words, or words in
        a language that the text encoder does not know, emotion is scored without them.

        Raises:
            RecognitionError: the requests are of more than one bucket.
            FeatureError: a request cannot be encoded, or names a language that Whisper does not know.
        """
        windows = {self.window_s(request) for request in batch}
        if len(windows) > 1:
            raise RecognitionError(f"a batch must be of one length bucket, got {sorted(windows)}")
        if not batch:
            return []
        encoded = self._encoder.encode([request.samples for request in batch], windows.pop())
        transcripts = self._transcriber.transcribe(batch, encoded)
        scored = [
            row
            for row, (request, said) in enumerate(zip(batch, transcripts, strict=True))
            if request.score_emotion and not self._transcriber.heard_nothing(said)
        ]
        emotions = dict(zip(scored, self._score(batch, transcripts, encoded, scored), strict=True))
        results = []
        for row, (request, said) in enumerate(zip(batch, transcripts, strict=True)):
            emotion, moments = emotions.get(row, (None, UNHEARD))
            results.append(RecognitionResult(request, said, emotion, moments=moments))
        return results

    def warm_up(self) -> None:
        """Runs the shortest length bucket once, as interim and as final: what is slow once is slow in any bucket."""
        started_s = time.perf_counter()
        noise = np.random.default_rng(0)
        for kind, windows in ((RequestKind.INTERIM, self._interim_windows), (RequestKind.FINAL, self._final_windows)):
            bucket_s = windows.buckets_s[0]
            length = round((bucket_s - min(windows.tail_s, bucket_s / 2)) * SAMPLE_RATE_HZ)
            samples = noise.normal(scale=0.01, size=length).astype(np.float32)
            request = RecognitionRequest(0, "warm-up", 0, 1, kind, samples, 0.0, _WARM_UP_SAID.language)
            encoded = self._encoder.encode([samples], bucket_s)
            self._transcriber.transcribe([request], encoded)
            self._score([request], [_WARM_UP_SAID], encoded, [0])
        _LOG.info("warmed up in %.1f s", time.perf_counter() - started_s)

    def _score(
        self,
        batch: Sequence[RecognitionRequest],
        transcripts: Sequence[Transcript],
        encoded: EncodedSpeech,
        rows: Sequence[int],
    ) -> list[tuple[EmotionScores, SpeakerMoments]]:
        """Scores some rows of a batch, and what they tell of their speakers."""
        if not rows:
            return []
        inputs: dict[str, PaddedBatch | TokenBatch] = {}
        moments: list[dict[str, Moments]] = [{} for _ in rows]
        for modality in self._modalities:
            if modality.name in self._tokens:
                inputs[modality.name] = pad_tokens(_represented(self._tokens[modality.name], transcripts, rows))
                continue
            sequences: list[Features | None] = []
            features = self._features(modality, batch, transcripts, encoded, rows)
            for place, (row, own) in enumerate(zip(rows, features, strict=True)):
                if own is None or not len(own):
                    sequences.append(None)
                    continue
                grouped = modality.group(own)
                told = self._speaker.moments(modality.name, grouped)
                if told is not None:
                    moments[place][modality.name] = told
                sequences.append(self._speaker.standardise(modality.name, grouped, batch[row].heard))
            inputs[modality.name] = pad(sequences, modality.dim)
        output = self._engine.run(inputs)
        return [
            (self._emotion(probabilities, attributes), told)
            for probabilities, attributes, told in zip(output.probabilities, output.attributes, moments, strict=True)
        ]

    def _features(
        self,
        modality: Modality,
        batch: Sequence[RecognitionRequest],
        transcripts: Sequence[Transcript],
        encoded: EncodedSpeech,
        rows: Sequence[int],
    ) -> list[Features | None]:
        """Of each row, at the backbone's own rate; None where the modality is missing."""
        if modality.backbone in self._layers:
            frames = encoded.frames[self._layers[modality.backbone]]
            return [frames[row] for row in rows]
        if modality.backbone == PROSODY:
            return [self._prosody.extract(batch[row].samples) for row in rows]
        return _represented(self._text_encoders[modality.name], transcripts, rows)

    def _emotion(self, probabilities: Features, attributes: Features) -> EmotionScores:
        arousal, valence, dominance = map(float, attributes)
        return EmotionScores(
            self._labels,
            probabilities,
            Attributes(arousal, valence, dominance),
            abstained=float(probabilities.max()) < self._abstain_below,
        )


class _TextReader(Protocol[Read_co]):
    """A text encoder, or its tokeniser."""

    languages: frozenset[str]

    def encode(self, texts: Sequence[str]) -> Sequence[Read_co]: ...


def _represented(
    reader: _TextReader[Read_co], transcripts: Sequence[Transcript], rows: Sequence[int]
) -> list[Read_co | None]:
    """What was said in each row; None where it is nothing, or in a language that is not represented well."""
    said = [transcripts[row].text if transcripts[row].language in reader.languages else "" for row in rows]
    encoded = iter(reader.encode([text for text in said if text]))
    return [next(encoded) if text else None for text in said]


def load_recognizer(settings: Settings) -> SpeechEmotionRecognizer:
    """Loads weights, bundle and engine as configured; takes its time.

    Args:
        settings: the sections `[asr]`, `[ensemble]` and `[weights]` are read.

    Raises:
        WeightsError: pretrained weights cannot be had.
        BundleError: the bundle is missing or damaged.
        EngineError: its engine cannot be built.
        RecognitionError: it reads a backbone that is not computed live, or was made with another version of one.
    """
    from models.backbones.prosody import ProsodyExtractor
    from models.backbones.registry import BACKBONES, backbone
    from models.backbones.text_source import text_sources
    from models.backbones.whisper import WhisperEncoder
    from models.bundle import find_bundle, load_bundle
    from models.opening import open_engine
    from streaming.recognition.transcriber import Transcriber

    asr = settings.asr
    bundle = load_bundle(find_bundle(settings.ensemble.bundle))
    for entry in bundle.manifest.backbones:
        if entry.source is not None:
            raise RecognitionError(
                f"bundle {bundle.manifest.name} reads {entry.name} from a checkpoint of its own ({entry.source}), "
                "which is not computed live: choose another bundle"
            )
        spec = backbone(entry.name)
        if spec.version != entry.version:
            raise RecognitionError(
                f"bundle {bundle.manifest.name} was trained on version {entry.version} of {entry.name}, this release "
                f"computes version {spec.version}: train it again"
            )
    sources = text_sources(bundle, settings.weights, progress=True)
    ensemble = settings.ensemble
    engine = open_engine(bundle, ensemble.engine, ensemble.precision, threads=asr.threads, text=sources)
    layers = {name: spec.hidden_layer for name, spec in BACKBONES.items() if spec.weights == asr.model}
    encoder = WhisperEncoder(
        weights_folder(asr.model, settings.weights, progress=True),
        layers={layers[m.backbone] for m in bundle.modalities if m.backbone in layers},
        compute_type=asr.compute_type,
        threads=asr.threads,
    )
    return SpeechEmotionRecognizer(
        bundle,
        engine,
        encoder=encoder,
        layers=layers,
        transcriber=Transcriber(encoder, asr),
        prosody=ProsodyExtractor(),
        text_encoders={n: source.encoder() for n, source in sources.items() if n not in engine.reads_tokens},
        tokens={n: source.tokens() for n, source in sources.items() if n in engine.reads_tokens},
        abstain=ensemble.abstain,
    )
