"""When each word was said: from an alignment, or as an estimate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streaming.recognition.request import Word


def spread(texts: Sequence[str], *, start_s: float, duration_s: float, probability: float) -> tuple[Word, ...]:
    """Words laid evenly over the audio: an estimate, good enough for what changes within a second.

    Args:
        texts: the words.
        start_s: audio-clock time of the audio's first sample.
        duration_s: its length.
        probability: of each word.
    """
    edges = start_s + np.linspace(0.0, duration_s, len(texts) + 1)
    return tuple(
        Word(text, float(start), float(end), probability)
        for text, start, end in zip(texts, edges[:-1], edges[1:], strict=True)
    )


def aligned(
    texts: Sequence[str],
    tokens_a_word: Sequence[int],
    path: Sequence[tuple[int, int]],
    token_probabilities: Sequence[float],
    *,
    start_s: float,
    duration_s: float,
    frame_s: float,
) -> tuple[Word, ...]:
    """Words where the decoder's attention found them.

    A word begins when the path reaches its first token and ends when it reaches the next word's. Times never go back
    and stay within the audio.

    Args:
        texts: the words.
        tokens_a_word: how many tokens each is made of.
        path: pairs of token and frame, as `ctranslate2.models.Whisper.align` gives them.
        token_probabilities: one per token.
        start_s: audio-clock time of the audio's first sample.
        duration_s: its length.
        frame_s: duration of one frame of the path.
    """
    firsts = np.concatenate([[0], np.cumsum(tokens_a_word)]).astype(int)
    reached = _reached(path, int(firsts[-1])) * frame_s
    edges = start_s + np.maximum.accumulate(np.clip(reached, 0.0, duration_s))
    return tuple(
        Word(text, float(edges[first]), float(edges[after]), _mean(token_probabilities[first:after]))
        for text, first, after in zip(texts, firsts[:-1], firsts[1:], strict=True)
    )


def _reached(path: Sequence[tuple[int, int]], tokens: int) -> NDArray[np.float64]:
    """Frame at which the path reaches each token, and the end of text behind them, `[tokens + 1]`."""
    frames = np.full(tokens + 1, np.inf)
    for token, frame in path:
        if token <= tokens:
            frames[token] = min(frames[token], frame)
    last = max((frame for _, frame in path), default=0)
    return np.where(np.isinf(frames), last, frames)


def _mean(probabilities: Sequence[float]) -> float:
    return float(np.clip(np.mean(probabilities), 0.0, 1.0)) if len(probabilities) else 0.0
