"""What an engine is given of each request: features, or what encoders make them of that stand inside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.audio_batches import AudioBatch, pad_audio
from models.modalities import EngineBatch, Modality, pad, pad_tokens
from models.speaker import Moments, SpeakerMoments, SpeakerStandardisation
from streaming.recognition.request import RecognitionRequest, Transcript

if TYPE_CHECKING:
    # Heavy libraries: loaded by whoever makes the parts.
    from models.backbones.prosody import ProsodyExtractor
    from models.backbones.speech import SpeechEncoder
    from models.backbones.speech_source import Ear
    from models.backbones.text import TextEncoder
    from models.backbones.tokens import Tokens
    from models.backbones.whisper import EncodedSpeech

PROSODY: Final = "prosody"

Features = NDArray[np.float32]
"""`[frames, features]`."""
Read_co = TypeVar("Read_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Heard:
    """Requests of a batch that are to be scored."""

    requests: Sequence[RecognitionRequest]
    transcripts: Sequence[Transcript]
    """Of these, in their order."""
    encoded: EncodedSpeech
    """The whole batch after the speech encoder that transcribes."""
    rows: Sequence[int]
    """Where the requests stand in that batch."""
    prosody: Sequence[Future[Features]] = ()
    """Of these requests, begun before; none where it is yet to be computed."""

    def audio(self) -> AudioBatch:
        """The clips side by side."""
        return pad_audio([request.samples for request in self.requests])


@dataclass(frozen=True, slots=True)
class Readers:
    """Of each modality, who reads it."""

    layers: Mapping[str, int | None]
    """By backbone, the hidden layer that it stands for of the encoder that transcribes."""
    prosody: ProsodyExtractor
    """The backbone of that name."""
    text_encoders: Mapping[str, TextEncoder]
    """By modality, where the engine reads their features."""
    tokens: Mapping[str, Tokens]
    """By modality, tokenisers of the text encoders that the engine has inside."""
    speech_encoders: Mapping[str, SpeechEncoder]
    """By modality, speech encoders of checkpoints where the engine reads their features."""
    ears: Mapping[str, Ear]
    """By modality, what speech encoders are given that the engine has inside."""

    def unread(self, modalities: Sequence[Modality]) -> list[str]:
        """Backbones that nobody here reads."""
        read = self.text_encoders.keys() | self.tokens.keys() | self.speech_encoders.keys() | self.ears.keys()
        return sorted({m.backbone for m in modalities if m.name not in read} - self.layers.keys() - {PROSODY})

    def inputs(
        self, modalities: Sequence[Modality], speaker: SpeakerStandardisation, heard: Heard
    ) -> tuple[dict[str, EngineBatch], list[SpeakerMoments]]:
        """What the engine is given of some requests, and what each of them tells of its speaker.

        Args:
            modalities: that the engine reads.
            speaker: how features are brought relative to the speaker.
            heard: one request a row.

        Raises:
            FeatureError: a request cannot be encoded.
        """
        inputs: dict[str, EngineBatch] = {}
        moments: list[dict[str, Moments]] = [{} for _ in heard.requests]
        # All encoders inside are given the same clips.
        audio = heard.audio() if self.ears else None
        for modality in modalities:
            name = modality.name
            if audio is not None and name in self.ears:
                inputs[name] = self.ears[name](audio, heard.encoded.window_s)
                continue
            if name in self.tokens:
                inputs[name] = pad_tokens(_represented(self.tokens[name], heard.transcripts))
                continue
            sequences: list[Features | None] = []
            for place, own in enumerate(self._features(modality, heard)):
                if own is None or not len(own):
                    sequences.append(None)
                    continue
                grouped = modality.group(own)
                told = speaker.moments(name, grouped)
                if told is not None:
                    moments[place][name] = told
                sequences.append(speaker.standardise(name, grouped, heard.requests[place].heard))
            inputs[name] = pad(sequences, modality.dim)
        return inputs, list(moments)

    def _features(self, modality: Modality, heard: Heard) -> list[Features | None]:
        """Of each row, at the backbone's own rate; None where the modality is missing."""
        if modality.name in self.speech_encoders:
            return _encoded(self.speech_encoders[modality.name], heard)
        if modality.name in self.text_encoders:
            return _represented(self.text_encoders[modality.name], heard.transcripts)
        if modality.backbone in self.layers:
            frames = heard.encoded.frames[self.layers[modality.backbone]]
            return [frames[row] for row in heard.rows]
        if heard.prosody:
            return [begun.result() for begun in heard.prosody]
        return [self.prosody.extract(request.samples) for request in heard.requests]

    def begin(
        self, modalities: Sequence[Modality], requests: Sequence[RecognitionRequest], executor: Executor
    ) -> list[Future[Features]]:
        """Begins what needs no words, so that it is there once they are.

        Args:
            modalities: that the engine reads.
            requests: that may be scored.
            executor: computes.

        Returns:
            Prosody of each; none where no modality is read from it.
        """
        if all(modality.backbone != PROSODY for modality in modalities):
            return []
        return [executor.submit(self.prosody.extract, request.samples) for request in requests]


def _encoded(encoder: SpeechEncoder, heard: Heard) -> list[Features | None]:
    """Frames of each clip; None where it is too short for one, which encoders inside an engine leave out as well."""
    clips = [request.samples for request in heard.requests]
    least = encoder.least_samples
    frames = iter(encoder.encode([clip for clip in clips if clip.size >= least], heard.encoded.window_s))
    return [next(frames) if clip.size >= least else None for clip in clips]


class _TextReader(Protocol[Read_co]):
    """A text encoder, or its tokeniser."""

    languages: frozenset[str] | None

    def encode(self, texts: Sequence[str]) -> Sequence[Read_co]: ...


def _represented(reader: _TextReader[Read_co], transcripts: Sequence[Transcript]) -> list[Read_co | None]:
    """What was said in each row; None where it is nothing, or in a language that is not represented well."""
    known = reader.languages
    said = [one.text if known is None or one.language in known else "" for one in transcripts]
    encoded = iter(reader.encode([text for text in said if text]))
    return [next(encoded) if text else None for text in said]
