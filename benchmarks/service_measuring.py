"""Service times measured here: the recogniser on real speech, in every length bucket, in batches of several sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import BenchmarkError
from benchmarks.service_table import BUCKETS_S, BatchTime, ServiceTable
from models.windows import FINAL_WINDOWS, INTERIM_WINDOWS, SAMPLE_RATE_HZ
from streaming.config import BatcherSettings
from streaming.recognition.recognizer import Recognizer
from streaming.recognition.request import RecognitionRequest, RequestKind

ROUNDS: Final = 3
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_LANGUAGE: Final = "en"


def measured_times(
    recognizer: Recognizer,
    speech: Sequence[NDArray[np.float32]],
    settings: BatcherSettings,
    machine: str,
    *,
    clock: Callable[[], float] = time.perf_counter,
    done: Callable[[], None] = lambda: None,
) -> ServiceTable:
    """Times batches and draws a straight line through them, by least squares over the medians of `ROUNDS` rounds.

    Args:
        recognizer: what is timed.
        speech: utterances, each `[samples]` at 16 kHz; they are joined until a bucket is full.
        settings: batches are no larger than these allow.
        machine: for the table, in words.
        clock: seconds, never going back.
        done: told of every bucket that is done, with words and without: `2 * len(BUCKETS_S)` times.

    Raises:
        BenchmarkError: there is too little speech to fill the longest window.
    """
    voice = np.concatenate(list(speech)) if speech else np.zeros(0, np.float32)
    if len(voice) < BUCKETS_S[-1] * SAMPLE_RATE_HZ:
        raise BenchmarkError(
            f"{len(voice) / SAMPLE_RATE_HZ:.0f} s of speech do not fill a window of {BUCKETS_S[-1]:g} s"
        )
    recognizer.warm_up()
    times: dict[tuple[float, bool], BatchTime] = {}
    for window_s in BUCKETS_S:
        most = max(1, min(settings.max_batch, int(settings.max_padded_s / window_s)))
        sizes = sorted({most, *(size for size in _SIZES if size < most)})
        for words in (True, False):
            seconds = []
            for size in sizes:
                batch = [replace(_request(voice, window_s, place), transcribe=words) for place in range(size)]
                rounds = []
                for _ in range(ROUNDS):
                    started_s = clock()
                    recognizer.recognize(batch)
                    rounds.append(clock() - started_s)
                seconds.append(float(np.median(rounds)))
            times[window_s, words] = line(sizes, seconds)
            done()
    return ServiceTable(machine, "measured", times)


def line(sizes: Sequence[int], seconds: Sequence[float]) -> BatchTime:
    """Time over batch size, as a straight line that rises and begins above nothing.

    Args:
        sizes: of batches; at least one.
        seconds: what each took.
    """
    if len(sizes) == 1:
        return BatchTime(0.0, seconds[0] / sizes[0])
    each_s, once_s = np.polyfit(sizes, seconds, 1)
    if each_s < 0:
        return BatchTime(float(np.mean(seconds)), 0.0)
    if once_s < 0:
        return BatchTime(0.0, float(np.dot(sizes, seconds) / np.dot(sizes, sizes)))
    return BatchTime(float(once_s), float(each_s))


def _request(voice: NDArray[np.float32], window_s: float, place: int) -> RecognitionRequest:
    """A request that just fits a bucket; each of a batch begins elsewhere in the speech."""
    windows, kind = (
        (FINAL_WINDOWS, RequestKind.FINAL)
        if window_s in FINAL_WINDOWS.buckets_s
        else (INTERIM_WINDOWS, RequestKind.INTERIM)
    )
    length = round((window_s - windows.tail_s) * SAMPLE_RATE_HZ)
    samples = np.take(voice, range(place * SAMPLE_RATE_HZ, place * SAMPLE_RATE_HZ + length), mode="wrap")
    return RecognitionRequest(place, f"measured-{place}", 0, 1, kind, samples, 0.0, _LANGUAGE)
