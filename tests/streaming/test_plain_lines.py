"""Events where there is no terminal to draw on."""

from __future__ import annotations

import pytest

from streaming.events import Degraded, ErrorEvent
from streaming.plain_lines import plain_line
from tests.fakes.events import EventSource


def line_of(event: object) -> str:
    line = plain_line(event)  # type: ignore[arg-type]
    assert line is not None
    return line


def test_a_final_emotion_says_when_who_what_how_and_how_late() -> None:
    line = line_of(EventSource().emotion(final=True))
    assert " ".join(line.split()) == "0.10 to 0.20 s 0 customer angry 70% 900 ms (600 pause) well then"


def test_an_abstention_says_so() -> None:
    emotion = EventSource().emotion(final=True).model_copy(update={"label": None, "abstained": True})
    assert "not sure" in line_of(emotion)


def test_a_final_without_words_says_so() -> None:
    emotion = EventSource().emotion(final=True).model_copy(update={"text": ""})
    assert line_of(emotion).endswith("(no words)")


def test_a_final_transcript_has_its_words() -> None:
    assert line_of(EventSource().final()).endswith("0 customer   well then")


@pytest.mark.parametrize("kind", ["started", "speech_started", "speech_ended", "interim", "ended"])
def test_what_is_not_final_is_no_line(kind: str) -> None:
    assert plain_line(getattr(EventSource(), kind)()) is None


def test_an_interim_emotion_is_no_line() -> None:
    assert plain_line(EventSource().emotion(final=False)) is None


def test_what_went_wrong_is_a_line_that_no_server_can_use_to_control_the_terminal() -> None:
    common = {"session": "s1", "channel": None, "role": None, "seq": 1, "time_s": 0.0}
    error = ErrorEvent(**common, code="recognition", message="out of\x1b[2J memory", retryable=True)
    degraded = Degraded(**common, reason="overload", dropped_interims=3, lag_ms=120.0)
    assert plain_line(error) == "error (recognition): out of\ufffd[2J memory"
    assert plain_line(degraded) == "degraded (overload): 3 interims dropped, results 120 ms late"
