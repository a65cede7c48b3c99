"""What was said, read from the encoder output that the emotion ensemble reads as well.

Greedy decoding with CTranslate2. Three guards keep a decoder that works on less than Whisper's 30 s from inventing
words: a limit of tokens by duration, a cut where the transcript repeats itself, and no text where Whisper itself takes
the audio for no speech. A final that trips a guard is looked at once more, in a longer window.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import ctranslate2
import numpy as np
import tokenizers
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens, merge_punctuations
from numpy.typing import NDArray

from models.backbones.whisper import EncodedSpeech, WhisperEncoder
from models.errors import FeatureError
from models.windows import ENCODER_HOP_SAMPLES, LONGEST_WINDOW_S, MEL_HOP_SAMPLES, SAMPLE_RATE_HZ, WindowPolicy
from streaming.config import AsrSettings
from streaming.recognition.repetition import words_before_repeat
from streaming.recognition.request import RecognitionRequest, RequestKind, Transcript, Word
from streaming.recognition.word_times import aligned, spread
from streaming.recognition.wording import normalise

SECOND_LOOK_WINDOWS: Final = WindowPolicy(buckets_s=(16.0, 20.0, 24.0, LONGEST_WINDOW_S), tail_s=6.0)
"""Windows of a second look. Found by trial: 16 s mends what 10 s broke, and more often than 30 s does."""
SECOND_LOOK_TOKENS: Final = 224
"""Limit of a second look: half of Whisper's context, its own limit for 30 s. Scripts other than Latin need it."""
_FRAME_S: Final = ENCODER_HOP_SAMPLES / SAMPLE_RATE_HZ
_DEFAULT_SUPPRESSED: Final = -1
_OPENING_MARKS: Final = "\"'“¿([{-"
_CLOSING_MARKS: Final = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - full-width marks are meant


@dataclass(frozen=True, slots=True)
class _Language:
    code: str
    probability: float


@dataclass(frozen=True, slots=True)
class _Reading:
    """One decoded request."""

    texts: tuple[str, ...]
    """Words as written, punctuation attached, without spaces around them."""
    tokens: tuple[tuple[int, ...], ...]
    """Tokens of each word."""
    average_log_probability: float
    no_speech_probability: float
    ran_out: bool = False
    """Whether the limit of tokens ended it."""
    repeats: bool = False
    """Whether something was cut because it was said before."""

    @property
    def flat_tokens(self) -> list[int]:
        """Tokens of all words."""
        return [token for word in self.tokens for token in word]


class Transcriber:
    """Transcribes encoded requests; thread-safe as far as CTranslate2 is, which queues calls."""

    def __init__(self, encoder: WhisperEncoder, settings: AsrSettings) -> None:
        """Prepares the tokenizer.

        Args:
            encoder: its model decodes too.
            settings: the `[asr]` section.
        """
        self._encoder = encoder
        self._settings = settings
        self._vocabulary = tokenizers.Tokenizer.from_file(str(encoder.folder / "tokenizer.json"))
        self._tokenizers: dict[str, Tokenizer] = {}
        suppressed = get_suppressed_tokens(self._tokenizer("en"), [_DEFAULT_SUPPRESSED])
        self._suppressed: Final = list(suppressed or ())

    def transcribe(self, requests: Sequence[RecognitionRequest], encoded: EncodedSpeech) -> list[Transcript]:
        """What was said in each request; no answer depends on what else is in the batch.

        Args:
            requests: of one batch, in the order they were encoded in.
            encoded: their audio after the encoder.

        Returns:
            Transcripts in the same order. Words of finals are aligned with the audio, those of interims spread over
            it.

        Raises:
            FeatureError: the two do not belong together, or a request names a language that Whisper does not know.
        """
        if encoded.samples != tuple(len(request.samples) for request in requests):
            raise FeatureError(f"{len(requests)} requests and {len(encoded)} encoded segments do not belong together")
        languages = self._languages(requests, encoded)
        readings = self._read(encoded, languages)
        sources = [(encoded, row) for row in range(len(requests))]
        for row, request in enumerate(requests):
            window_s = SECOND_LOOK_WINDOWS.bucket_s(len(request.samples))
            if not self._is_doubtful(request, readings[row]) or window_s <= encoded.window_s:
                continue
            second = self._encoder.encode([request.samples], window_s)
            (reading,) = self._read(second, [languages[row]], second_look=True)
            if _is_better(reading, readings[row]):
                readings[row], sources[row] = reading, (second, 0)
        readings = [self._believed(reading) for reading in readings]
        words = self._timed(requests, languages, readings, sources)
        return [
            Transcript(
                text=self._tokenizer(language.code).decode(reading.flat_tokens).strip(),
                words=own,
                language=language.code,
                language_probability=language.probability,
                average_log_probability=reading.average_log_probability,
                no_speech_probability=reading.no_speech_probability,
            )
            for language, reading, own in zip(languages, readings, words, strict=True)
        ]

    def heard_nothing(self, transcript: Transcript) -> bool:
        """Whether Whisper itself takes the audio for no speech, so that no words are to be believed."""
        return self._is_nothing(transcript.no_speech_probability, transcript.average_log_probability)

    def token_limit(self, samples: int) -> int:
        """Tokens that so much audio can hold."""
        seconds = samples / SAMPLE_RATE_HZ
        return min(SECOND_LOOK_TOKENS, self._settings.tokens_floor + math.ceil(self._settings.tokens_per_s * seconds))

    def _languages(self, requests: Sequence[RecognitionRequest], encoded: EncodedSpeech) -> list[_Language]:
        given = [_Language(request.language or "", 1.0) for request in requests]
        unknown = [row for row, request in enumerate(requests) if request.language is None]
        if not self._encoder.model.is_multilingual:
            return [_Language("en", 1.0)] * len(requests)
        if unknown:
            detected = self._encoder.model.detect_language(_view(encoded.states[unknown]))
            for row, candidates in zip(unknown, detected, strict=True):
                token, probability = candidates[0]
                given[row] = _Language(token.strip("<|>"), float(probability))
        return given

    def _read(
        self, encoded: EncodedSpeech, languages: Sequence[_Language], *, second_look: bool = False
    ) -> list[_Reading]:
        chosen = [self._tokenizer(language.code) for language in languages]
        prompts = [[*tokenizer.sot_sequence, tokenizer.no_timestamps] for tokenizer in chosen]
        # One limit for the whole window: each request's own is applied below, so that company makes no difference.
        longest = SECOND_LOOK_TOKENS if second_look else self.token_limit(round(encoded.window_s * SAMPLE_RATE_HZ))
        results = self._encoder.model.generate(
            _view(encoded.states),
            prompts,
            beam_size=1,
            max_length=max(map(len, prompts)) + longest,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=self._suppressed,
        )
        limits = [longest if second_look else self.token_limit(samples) for samples in encoded.samples]
        return [
            self._reading(result, tokenizer, limit, strict=not second_look)
            for result, tokenizer, limit in zip(results, chosen, limits, strict=True)
        ]

    def _reading(
        self, result: ctranslate2.models.WhisperGenerationResult, tokenizer: Tokenizer, limit: int, *, strict: bool
    ) -> _Reading:
        decoded = result.sequences_ids[0]
        # CTranslate2 divides by the tokens without the one that ends them; its probability is in the sum.
        average = result.scores[0] * len(decoded) / (len(decoded) + 1)
        kept = [token for token in decoded[:limit] if token < tokenizer.eot]
        texts, tokens = _words(tokenizer, kept)
        count = words_before_repeat([normalise(text) for text in texts], strict=strict)
        return _Reading(
            tuple(texts[:count]),
            tuple(tokens[:count]),
            average_log_probability=float(average),
            no_speech_probability=float(result.no_speech_prob),
            ran_out=len(decoded) >= limit,
            repeats=count < len(texts),
        )

    def _is_nothing(self, no_speech_probability: float, average_log_probability: float) -> bool:
        # A decoder can be sure of words it made up for silence; half-way to 1 it is not asked any more.
        threshold = self._settings.no_speech_threshold
        if no_speech_probability > (1 + threshold) / 2:
            return True
        return no_speech_probability > threshold and average_log_probability < self._settings.log_probability_threshold

    def _is_doubtful(self, request: RecognitionRequest, reading: _Reading) -> bool:
        nothing = self._is_nothing(reading.no_speech_probability, reading.average_log_probability)
        if request.kind is RequestKind.INTERIM or nothing:
            return False
        unsure = reading.average_log_probability < self._settings.log_probability_threshold
        return reading.ran_out or reading.repeats or unsure

    def _believed(self, reading: _Reading) -> _Reading:
        if self._is_nothing(reading.no_speech_probability, reading.average_log_probability):
            return replace(reading, texts=(), tokens=())
        return reading

    def _timed(
        self,
        requests: Sequence[RecognitionRequest],
        languages: Sequence[_Language],
        readings: Sequence[_Reading],
        sources: Sequence[tuple[EncodedSpeech, int]],
    ) -> list[tuple[Word, ...]]:
        """Words of each request; those of finals that can be aligned in one call are.

        Only texts of one length can: CTranslate2 pads the shorter ones, and what it says of them differs.
        """
        words: list[tuple[Word, ...]] = [()] * len(requests)
        together: dict[tuple[int, str, int], list[int]] = {}
        for row, (request, reading) in enumerate(zip(requests, readings, strict=True)):
            if request.kind is RequestKind.INTERIM:
                probability = min(1.0, math.exp(reading.average_log_probability))
                duration_s = request.duration_s
                words[row] = spread(
                    reading.texts, start_s=request.start_s, duration_s=duration_s, probability=probability
                )
            elif reading.texts:
                key = (id(sources[row][0]), languages[row].code, len(reading.flat_tokens))
                together.setdefault(key, []).append(row)
        for (_, language, _), rows in together.items():
            found = self._encoder.model.align(
                _view(sources[rows[0]][0].states[[sources[row][1] for row in rows]]),
                self._tokenizer(language).sot_sequence,
                [readings[row].flat_tokens for row in rows],
                [max(1, len(requests[row].samples) // MEL_HOP_SAMPLES) for row in rows],
            )
            for row, alignment in zip(rows, found, strict=True):
                words[row] = aligned(
                    readings[row].texts,
                    [len(word) for word in readings[row].tokens],
                    alignment.alignments,
                    alignment.text_token_probs,
                    start_s=requests[row].start_s,
                    duration_s=requests[row].duration_s,
                    frame_s=_FRAME_S,
                )
        return words

    def _tokenizer(self, language: str) -> Tokenizer:
        if language not in self._tokenizers:
            try:
                self._tokenizers[language] = Tokenizer(
                    self._vocabulary, self._encoder.model.is_multilingual, task="transcribe", language=language
                )
            except ValueError:
                raise FeatureError(f"Whisper knows no language {language!r}: leave it out to detect it") from None
        return self._tokenizers[language]


def _is_better(second: _Reading, first: _Reading) -> bool:
    faults = [one.ran_out + one.repeats for one in (second, first)]
    if faults[0] != faults[1]:
        return faults[0] < faults[1]
    return second.average_log_probability > first.average_log_probability


def _view(states: NDArray[np.float32]) -> ctranslate2.StorageView:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(states))


def _words(tokenizer: Tokenizer, tokens: Iterable[int]) -> tuple[list[str], list[tuple[int, ...]]]:
    """Tokens as words with their punctuation, and the tokens of each."""
    split = zip(*tokenizer.split_to_word_tokens(list(tokens)), strict=True)
    words = [{"word": word, "tokens": list(parts)} for word, parts in split]
    merge_punctuations(words, _OPENING_MARKS, _CLOSING_MARKS)
    full = [word for word in words if word["word"].strip()]
    return [word["word"].strip() for word in full], [tuple(word["tokens"]) for word in full]
