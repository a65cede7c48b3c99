"""The conversation's latencies, summed up from its events."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import conversation
from benchmarks.conversation import ConversationRow, main
from streaming.conversation import Clip, Conversation, load_conversation
from streaming.demo_result import DemoResult
from streaming.events import Event
from tests.fakes.events import EventSource

CLIPS = 3
CLIP = Clip(0, 1.0, 3.0, "well then", None, "someone", "somewhere")
CONVERSATION = Conversation(np.zeros((2, 16), dtype=np.float32), 16_000, ("customer", "agent"), (CLIP,))


def row(events: list[Event]) -> ConversationRow:
    return ConversationRow.of(DemoResult.of(CONVERSATION, events, events))


def test_finals_are_timed_from_the_decision_and_interims_from_their_last_sample() -> None:
    make = EventSource()
    finals = [make.emotion(final=True, total_ms=total) for total in (700, 800, 900)]
    interims = [make.emotion(final=False, total_ms=total) for total in (100, 200)]
    endpoint_ms = finals[0].latency.endpoint_ms

    measured = row([*interims, *finals])

    assert (measured.finals, measured.interims) == (3, 2)
    assert measured.endpoint_ms == endpoint_ms > 0
    assert measured.final_p50_ms == 800 - endpoint_ms
    assert measured.final_p95_ms == 890 - endpoint_ms
    assert (measured.interim_p50_ms, measured.interim_p95_ms) == (150, 195)


def test_nothing_heard_has_no_latency_and_all_words_wrong() -> None:
    measured = row([])
    assert (measured.finals, measured.interims, measured.word_error_rate) == (0, 0, 1.0)
    assert all(math.isnan(value) for value in (measured.final_p50_ms, measured.interim_p95_ms, measured.endpoint_ms))


def the_beginning() -> Conversation:
    """The first words of the demo's conversation: it is played at the pace of speech, and all of it is elsewhere."""
    whole = load_conversation()
    *clips, following = whole.clips[: CLIPS + 1]
    return replace(whole, samples=whole.samples[:, : round(following.start_s * whole.rate_hz)], clips=tuple(clips))


@pytest.mark.weights
def test_it_measures_the_real_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "load_conversation", the_beginning)
    result = CliRunner().invoke(main, ["--json"])

    report = json.loads(result.stdout)
    (measured,) = report["results"]
    assert report["benchmark"] == "conversation"
    assert measured["finals"] >= measured["clips"] == CLIPS
    assert measured["gaps"] == 0
    assert measured["interims"] > 0
    assert measured["endpoint_ms"] == pytest.approx(600, abs=50)
