"""Any talk there may be: stretches of loudness, cut into messages anyhow, answered in any order, with any outcome."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from streaming.config import AsrSettings, Settings, VadSettings
from streaming.events import Event
from streaming.recognition.request import RecognitionFailure, RecognitionRequest, RecognitionShed, RequestKind
from tests.fakes.shell import FakeShell, speech

BRISK = Settings(
    asr=AsrSettings(interim_s=0.2),
    vad=VadSettings(
        pause_ms=100,
        endpoint_min_ms=180,
        endpoint_ms=240,
        endpoint_max_ms=400,
        pre_roll_ms=60,
        post_roll_ms=60,
        max_segment_s=2.0,
    ),
)
"""Short silences and segments, so that little audio makes much happen."""

PATTERNS = st.lists(st.tuples(st.sampled_from([0.0, 0.3, 0.6]), st.integers(1, 60)), min_size=1, max_size=12)
"""Stretches of loudness, each so many frames of 20 ms long."""
CHUNKS = st.lists(st.integers(1, 40_000), max_size=8).map(lambda sizes: [*sizes, 5_001])
"""Message sizes in bytes, used round and round; one is odd, so samples are split, and not tiny, so it takes no ages."""

SEEDS = st.integers(0, 2**16)


def audio(pattern: list[tuple[float, int]]) -> NDArray[np.float32]:
    return np.concatenate([speech(0.02 * frames, level) for level, frames in pattern])


def messages(data: bytes, sizes: list[int]) -> list[bytes]:
    cut, start = [], 0
    while start < len(data):
        size = sizes[len(cut) % len(sizes)]
        cut.append(data[start : start + size])
        start += size
    return cut


def answer(talk: FakeShell, request: RecognitionRequest, random: Random) -> None:
    """Gives a pending request any outcome the recogniser may give it."""
    sheddable = request.kind is not RequestKind.FINAL and request.request_id not in talk.promoted
    fate = random.random()
    if fate < 0.15:
        talk.deliver(RecognitionFailure(request, "out of memory"))
    elif sheddable and (fate < 0.3 or request.request_id in talk.discarded):
        talk.deliver(RecognitionShed(request, "discarded" if request.request_id in talk.discarded else "overload"))
    else:
        label = random.choice(["angry", "happy", "neutral", None])
        talk.answer(request, random.choice(["", "well", "well then"]), label)


def converse(talk: FakeShell, data: list[bytes], random: Random) -> list[Event]:
    """Hears all messages, answering whatever is pending at any moment and in any order."""
    for message in data:
        talk.hear(message, took_s=random.random())
        while talk.pending and random.random() < 0.5:
            talk.now_s += random.random()
            answer(talk, random.choice(list(talk.pending.values())), random)
    talk.close()
    while talk.pending:
        talk.now_s += random.random()
        answer(talk, random.choice(list(talk.pending.values())), random)
    return talk.events
