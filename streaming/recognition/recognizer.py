"""From audio to words and emotion: one pass of the speech encoder, read by the transcriber and the ensemble alike."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.emotions import Attributes, EmotionScores
from models.speaker import UNHEARD, SpeakerMoments
from models.weights import weights_folder
from models.windows import SAMPLE_RATE_HZ
from streaming.errors import RecognitionError
from streaming.events import ModelInfo
from streaming.recognition.readers import Heard, Readers
from streaming.recognition.request import RecognitionRequest, RecognitionResult, RequestKind, Transcript

if TYPE_CHECKING:
    # Heavy libraries: loaded by `load_recognizer`, not by whoever only needs the protocol.
    from models.backbones.whisper import EncodedSpeech, WhisperEncoder
    from models.bundle import Bundle
    from models.engines.base import Engine
    from streaming.config import Settings
    from streaming.recognition.transcriber import Transcriber

_LOG: Final = logging.getLogger(__name__)
_MS_PER_S: Final = 1000.0
_NO_WORDS: Final = Transcript("", (), "", 0.0, 0.0, 0.0)
"""Of a request that does without: nothing is claimed to have been said, or not to have been."""
_WARM_UP_SAID: Final = Transcript("well then", (), "en", 1.0, 0.0, 0.0)

Features = NDArray[np.float32]


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
    """The recogniser: Whisper encoder, transcriber, whoever reads a modality, and the ensemble's engine."""

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        encoder: WhisperEncoder,
        transcriber: Transcriber,
        readers: Readers,
        abstain: bool,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Puts the parts together.

        Args:
            bundle: says what the engine reads, in which windows, and when to abstain.
            engine: runs the bundle's ensemble.
            encoder: the speech encoder that the transcriber reads.
            transcriber: reads words from the encoder's output.
            readers: of every modality; what the engine has inside is not computed by them.
            abstain: whether scores under the bundle's threshold claim no label.
            clock: seconds, never going back; times the stages.

        Raises:
            RecognitionError: the bundle reads a backbone that is none of these.
            BundleError: its speaker priors are damaged.
        """
        unread = readers.unread(bundle.modalities)
        if unread:
            raise RecognitionError(
                f"bundle {bundle.manifest.name} reads {', '.join(unread)}, which is not computed live: choose another"
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
        self._transcriber = transcriber
        self._readers = readers
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="prosody")
        self._clock = clock

    def window_s(self, request: RecognitionRequest) -> float:
        """See `Recognizer.window_s`: finals and speculative finals in the windows members were trained under."""
        windows = self._interim_windows if request.kind is RequestKind.INTERIM else self._final_windows
        return windows.bucket_s(len(request.samples))

    def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
        """See `Recognizer.recognize`.

        Where nothing is heard, no text and no emotion is made up. Where something is heard but no words, or words in
        a language that the text encoder does not know, emotion is scored without them. Each answer says how long the
        stages took for its whole batch.

        Raises:
            RecognitionError: the requests are of more than one bucket.
            FeatureError: a request cannot be encoded, or names a language that Whisper does not know.
        """
        windows = {self.window_s(request) for request in batch}
        if len(windows) > 1:
            raise RecognitionError(f"a batch must be of one length bucket, got {sorted(windows)}")
        if not batch:
            return []
        started_s = self._clock()
        encoded = self._encoder.encode([request.samples for request in batch], windows.pop())
        encoded_s = self._clock()
        # Decoding waits for one token after another, and leaves time for it.
        begun = self._readers.begin(self._modalities, batch, self._beside) if self._transcribes(batch) else []
        transcripts = self._transcripts(batch, encoded)
        decoded_s = self._clock()
        scored = [
            row
            for row, (request, said) in enumerate(zip(batch, transcripts, strict=True))
            if request.score_emotion and not self._transcriber.heard_nothing(said)
        ]
        emotions = dict(zip(scored, self._score(batch, transcripts, encoded, scored, begun), strict=True))
        scored_s = self._clock()
        results = []
        for row, (request, said) in enumerate(zip(batch, transcripts, strict=True)):
            emotion, moments = emotions.get(row, (None, UNHEARD))
            result = RecognitionResult(
                request,
                said,
                emotion,
                encode_ms=(encoded_s - started_s) * _MS_PER_S,
                decode_ms=(decoded_s - encoded_s) * _MS_PER_S,
                emotion_ms=(scored_s - decoded_s) * _MS_PER_S,
                moments=moments,
            )
            results.append(result)
        return results

    def _transcripts(self, batch: Sequence[RecognitionRequest], encoded: EncodedSpeech) -> list[Transcript]:
        """What was said, where words are wanted."""
        if not self._transcribes(batch):
            return [_NO_WORDS] * len(batch)
        said = self._transcriber.transcribe(batch, encoded)
        return [one if request.transcribe else _NO_WORDS for request, one in zip(batch, said, strict=True)]

    @staticmethod
    def _transcribes(batch: Sequence[RecognitionRequest]) -> bool:
        return any(request.transcribe for request in batch)

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
        begun: Sequence[Future[Features]] = (),
    ) -> list[tuple[EmotionScores, SpeakerMoments]]:
        """Scores some rows of a batch, and what they tell of their speakers."""
        if not rows:
            return []
        heard = Heard(
            [batch[row] for row in rows],
            [transcripts[row] for row in rows],
            encoded,
            rows,
            [begun[row] for row in rows] if begun else (),
        )
        inputs, moments = self._readers.inputs(self._modalities, self._speaker, heard)
        output = self._engine.run(inputs)
        return [
            (self._emotion(probabilities, attributes), told)
            for probabilities, attributes, told in zip(output.probabilities, output.attributes, moments, strict=True)
        ]

    def _emotion(self, probabilities: Features, attributes: Features) -> EmotionScores:
        arousal, valence, dominance = map(float, attributes)
        return EmotionScores(
            self._labels,
            probabilities,
            Attributes(arousal, valence, dominance),
            abstained=float(probabilities.max()) < self._abstain_below,
        )


def load_recognizer(settings: Settings) -> SpeechEmotionRecognizer:
    """Loads weights, bundle and engine as configured; takes its time.

    An encoder that the engine cannot have inside is computed in PyTorch.

    Args:
        settings: the sections `[asr]`, `[ensemble]` and `[weights]` are read.

    Raises:
        WeightsError: pretrained weights cannot be had, or a checkpoint that the bundle's recipe named is not at hand.
        BundleError: the bundle is missing or damaged.
        EngineError: its engine cannot be built.
        RecognitionError: it was made with another version of a backbone.
    """
    from models.backbones.bundle_backbones import stated_backbone
    from models.backbones.prosody import ProsodyExtractor
    from models.backbones.speech_source import speech_sources
    from models.backbones.text_source import text_sources
    from models.backbones.whisper import WhisperEncoder
    from models.bundle import find_bundle, load_bundle
    from models.opening import open_engine
    from streaming.recognition.transcriber import Transcriber

    asr = settings.asr
    bundle = load_bundle(find_bundle(settings.ensemble.bundle))
    layers: dict[str, int | None] = {}
    for entry in bundle.manifest.backbones:
        spec = stated_backbone(entry)
        if spec.version != entry.version:
            raise RecognitionError(
                f"bundle {bundle.manifest.name} was trained on version {entry.version} of {entry.name}, this release "
                f"computes version {spec.version}: train it again"
            )
        if spec.weights == asr.model:
            layers[spec.name] = spec.hidden_layer
    text = text_sources(bundle, settings.weights, progress=True)
    speech = speech_sources(bundle, settings.weights, progress=True, required=True)
    ensemble = settings.ensemble
    whisper = weights_folder(asr.model, settings.weights, progress=True)
    with ThreadPoolExecutor(1) as beside:  # neither needs the other, and both take their time
        opening = beside.submit(
            open_engine, bundle, ensemble.engine, ensemble.precision, threads=asr.threads, text=text, speech=speech
        )
        encoder = WhisperEncoder(
            whisper,
            layers={layers[m.backbone] for m in bundle.modalities if m.backbone in layers},
            compute_type=asr.compute_type,
            threads=asr.threads,
            decoder_threads=asr.decoder_threads,
        )
        transcriber = Transcriber(encoder, asr)
        engine = opening.result()
    hears = engine.reads_audio | engine.reads_mel.keys()
    windows = bundle.final_windows
    readers = Readers(
        layers=layers,
        prosody=ProsodyExtractor(),
        text_encoders={n: source.encoder() for n, source in text.items() if n not in engine.reads_tokens},
        tokens={n: source.tokens() for n, source in text.items() if n in engine.reads_tokens},
        speech_encoders={
            n: source.encoder(windows, beside=engine, precision=ensemble.precision)
            for n, source in speech.items()
            if n not in hears
        },
        ears={n: source.ear(windows) for n, source in speech.items() if n in hears},
    )
    return SpeechEmotionRecognizer(
        bundle,
        engine,
        encoder=encoder,
        transcriber=transcriber,
        readers=readers,
        abstain=ensemble.abstain,
    )
