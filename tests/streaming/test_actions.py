from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.speaker import UNHEARD
from streaming.actions import Discard, Emit, Outbox, Promote, Submit
from streaming.events import SpeechStarted
from streaming.recognition.request import RecognitionRequest, RequestKind


@pytest.fixture
def outbox() -> Outbox:
    return Outbox("call-7")


def ask(outbox: Outbox, kind: RequestKind = RequestKind.SPECULATIVE) -> RecognitionRequest:
    samples = np.zeros(1600, dtype=np.float32)
    return outbox.submit(
        kind,
        samples,
        channel=1,
        segment=3,
        start_sample=8000,
        language="de",
        heard=UNHEARD,
        score_emotion=False,
    )


def test_events_are_numbered_from_one_on_the_audio_clock(outbox: Outbox) -> None:
    for clock_s in (0.5, 0.75):
        outbox.clock_s = clock_s
        outbox.emit(SpeechStarted, channel=0, role="customer", segment=1, start_s=0.25)
    emitted = [action.event for action in outbox.take() if isinstance(action, Emit)]
    assert [(event.session, event.seq, event.time_s) for event in emitted] == [("call-7", 1, 0.5), ("call-7", 2, 0.75)]


def test_a_request_carries_all_that_recognition_needs(outbox: Outbox) -> None:
    request = ask(outbox)
    assert (request.session, request.channel, request.segment, request.kind) == (
        "call-7",
        1,
        3,
        RequestKind.SPECULATIVE,
    )
    assert (request.start_s, request.duration_s, request.language, request.score_emotion) == (0.5, 0.1, "de", False)


def test_requests_have_numbers_of_their_own(outbox: Outbox) -> None:
    assert [ask(outbox).request_id, ask(outbox).request_id] == [1, 2]


def test_actions_are_taken_once_and_in_order(outbox: Outbox) -> None:
    first, second = ask(outbox), ask(outbox)
    assert outbox.take() == [Submit(first), Submit(second)]
    assert outbox.take() == []


def test_a_request_that_left_is_promoted_or_discarded_by_its_number(outbox: Outbox) -> None:
    first, second = ask(outbox), ask(outbox)
    outbox.take()
    outbox.promote(first)
    outbox.discard(second)
    assert outbox.take() == [Promote(first.request_id), Discard(second.request_id)]


def test_a_request_withdrawn_before_it_left_never_leaves(outbox: Outbox) -> None:
    first, second = ask(outbox), ask(outbox)
    outbox.discard(first)
    assert outbox.take() == [Submit(second)]


def test_a_request_promoted_before_it_left_leaves_as_a_final(outbox: Outbox) -> None:
    request = ask(outbox)
    outbox.promote(request)
    assert outbox.take() == [Submit(replace(request, kind=RequestKind.FINAL))]


def test_the_same_audio_is_asked_for_again_as_a_final_under_a_new_number(outbox: Outbox) -> None:
    request = ask(outbox)
    outbox.take()
    again = outbox.submit_again(request)
    assert again == replace(request, request_id=2, kind=RequestKind.FINAL)
    assert outbox.take() == [Submit(again)]
