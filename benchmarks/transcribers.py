"""Ways of transcribing: the runtime's transcriber alone, all of `medusa analyze`, and plain faster-whisper."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from faster_whisper import WhisperModel

from benchmarks.spoken_clips import Clip
from models.backbones.whisper import WhisperEncoder
from models.weights import weights_folder
from models.windows import FINAL_WINDOWS, WindowPolicy
from streaming.analyze import analyze
from streaming.config import AsrSettings, Settings
from streaming.errors import StreamingError
from streaming.recognition.recognizer import Recognizer
from streaming.recognition.request import RecognitionRequest, RequestKind
from streaming.recognition.transcriber import Transcriber

Transcribe = Callable[[Sequence[Clip]], list[str]]
"""Texts in the order of the clips."""


def transcriber_alone(
    encoder: WhisperEncoder, settings: AsrSettings, windows: WindowPolicy = FINAL_WINDOWS, *, batch: int = 1
) -> Transcribe:
    """The runtime's transcriber: each clip as the final of one segment.

    Args:
        encoder: encodes and decodes.
        settings: the `[asr]` section.
        windows: how clips are padded.
        batch: how many clips of one length bucket are transcribed together, as the batcher does under load.
    """
    transcriber = Transcriber(encoder, settings)

    def transcribe(clips: Sequence[Clip]) -> list[str]:
        texts: dict[int, str] = {}
        buckets: dict[float, list[RecognitionRequest]] = {}
        for number, clip in enumerate(clips):
            request = RecognitionRequest(
                number, "benchmark", 0, 1 + number, RequestKind.FINAL, clip.samples, 0.0, settings.language or None
            )
            buckets.setdefault(windows.bucket_s(len(clip.samples)), []).append(request)
        for window_s, requests in buckets.items():
            for start in range(0, len(requests), batch):
                together = requests[start : start + batch]
                encoded = encoder.encode([request.samples for request in together], window_s)
                for request, transcript in zip(together, transcriber.transcribe(together, encoded), strict=True):
                    texts[request.request_id] = transcript.text
        return [texts[number] for number in range(len(clips))]

    return transcribe


def whole_analysis(recognizer: Recognizer, settings: Settings, *, jobs: int | None = None) -> Transcribe:
    """All that `medusa analyze` does: decoding, segments, words, prosody, text encoder and ensemble.

    Args:
        recognizer: loaded before, as the other ways' models are.
        settings: of the runtime; `[asr] language` is the clips'.
        jobs: files at a time; none for as many as `medusa analyze` takes.
    """

    def transcribe(clips: Sequence[Clip]) -> list[str]:
        paths = [clip.path for clip in clips]
        language = settings.asr.language or None
        results = asyncio.run(analyze(paths, settings, lambda: recognizer, jobs=jobs, language=language))
        for result in results:
            if result.failed:
                raise StreamingError(f"{result.path}: {result.error}")
        return [" ".join(row["text"] for row in result.rows) for result in results]

    return transcribe


def plain_whisper(settings: AsrSettings) -> Transcribe:
    """The usual way: `faster_whisper.WhisperModel.transcribe` of a file, greedy, as shipped."""
    folder = weights_folder(settings.model, progress=True)
    model = WhisperModel(str(folder), device="cpu", compute_type=settings.compute_type, cpu_threads=settings.threads)

    def transcribe(clips: Sequence[Clip]) -> list[str]:
        texts = []
        for clip in clips:
            segments, _ = model.transcribe(str(clip.path), beam_size=1, language=settings.language or None)
            texts.append(" ".join(segment.text for segment in segments))
        return texts

    return transcribe
