"""Messages of Hume's Expression Measurement, one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.errors import AuthorisationError, CapacityError, ProtocolError, StreamingError, TooFastError
from streaming.events import Event
from streaming.protocols.dialect import Audio, Begin, Close, Handshake, Reply, Step
from streaming.protocols.hume import HumeDialect
from streaming.protocols.hume_scores import EXPRESSIONS
from tests.fakes.hume import check_order, parsed
from tests.fakes.shell import FakeShell, make_shell, pcm, silence, speech
from tests.fakes.talks import BRISK, CHUNKS, PATTERNS, SEEDS, audio, converse, messages

NAMES = st.sampled_from(["type", "audio", "measurement_timer_ms", "encoding", "s16le", "", "session.close"])
FRAME = b"\x00\x01" * 1600
DEFAULTS = {
    "audio": {"type": "audio/pcm", "encoding": "s16le", "sample_rate": 16_000, "channels": 1},
    "measurement_timer_ms": 3000,
}


def a_dialect(**headers: str) -> HumeDialect:
    return HumeDialect(Handshake("/v1/expression/audio/realtime", headers))


def replies(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return parsed(str(step.message) for step in steps if isinstance(step, Reply))


def told(dialect: HumeDialect, events: Iterable[Event]) -> list[dict[str, Any]]:
    return parsed(message for event in events for message in dialect.tell(event))


def update(**fields: Any) -> str:
    return json.dumps({"type": "session.update", **fields})


def kinds(told: Sequence[dict[str, Any]]) -> list[str]:
    return [one["type"] for one in told]


class TestGreeting:
    def test_the_session_begins_at_once(self) -> None:
        begin, greeting = a_dialect(**{"x-hume-api-key": "secret"}).greet("call-7")

        assert isinstance(begin, Begin)
        assert begin.request.audio == AudioFormat(Encoding.PCM16, 16_000, 1)
        assert (begin.request.roles, begin.request.language, begin.request.interim) == (("customer",), None, True)
        assert (begin.token, begin.name) == ("secret", None)
        assert replies([greeting]) == [{"type": "session.created", "session_id": "call-7", **DEFAULTS}]

    @pytest.mark.parametrize(("headers", "token"), [({"x-hume-api-key": "secret"}, "secret"), ({}, None)])
    def test_the_token_is_the_api_key(self, headers: dict[str, str], token: str | None) -> None:
        dialect = a_dialect(**headers)
        assert (dialect.token, dialect.subprotocol) == (token, None)


class TestUpdate:
    def test_one_that_changes_nothing_is_answered(self) -> None:
        assert replies(a_dialect().read(update())) == [{"type": "session.updated", **DEFAULTS}]

    def test_the_timer_may_be_set(self) -> None:
        (answer,) = replies(a_dialect().read(update(measurement_timer_ms=5000, audio=DEFAULTS["audio"])))
        assert answer == {"type": "session.updated", **DEFAULTS, "measurement_timer_ms": 5000}

    def test_what_is_left_out_or_null_is_as_by_default(self) -> None:
        dialect = a_dialect()
        dialect.read(update(measurement_timer_ms=5000))
        (answer,) = replies(dialect.read(update(audio={"channels": None}, measurement_timer_ms=None)))
        assert answer["measurement_timer_ms"] == 3000

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"measurement_timer_ms": 2999}, "from 3000 to 10000"),
            ({"measurement_timer_ms": 10_001}, "from 3000 to 10000"),
            ({"measurement_timer_ms": 4000.0}, "from 3000 to 10000"),
            ({"measurement_timer_ms": True}, "from 3000 to 10000"),
            ({"measurement_timer_ms": "4000"}, "from 3000 to 10000"),
            ({"audio": []}, "audio must be an object"),
            ({"audio": {"encoding": "mulaw"}}, "audio.encoding must be s16le"),
            ({"audio": {"sample_rate": 8000}}, "audio.sample_rate must be 16000"),
            ({"audio": {"channels": True}}, "audio.channels must be 1"),
            ({"audio": {"rate": 16_000}}, "none of type, encoding, sample_rate, channels"),
            ({"timer_ms": 3000}, "none of audio, measurement_timer_ms"),
        ],
    )
    def test_one_that_cannot_be_ends_the_session_and_says_why(self, fields: dict[str, Any], said: str) -> None:
        with pytest.raises(ProtocolError, match=said):
            a_dialect().read(update(**fields))

    def test_none_is_taken_after_audio(self) -> None:
        dialect = a_dialect()
        dialect.read(FRAME)
        with pytest.raises(ProtocolError, match="before the first frame"):
            dialect.read(update())

    def test_a_rejected_frame_is_no_audio(self) -> None:
        dialect = a_dialect()
        dialect.read(b"\x00")
        assert kinds(replies(dialect.read(update()))) == ["session.updated"]


class TestFrames:
    def test_one_is_heard_and_not_acknowledged(self) -> None:
        assert a_dialect().read(FRAME) == (Audio(FRAME),)

    def test_one_of_ten_seconds_is_the_longest(self) -> None:
        longest = bytes(320_000)
        assert a_dialect().read(longest) == (Audio(longest),)

    @pytest.mark.parametrize("frame", [b"", b"\x00", bytes(3201), bytes(320_002)])
    def test_one_that_is_wrong_is_rejected_and_the_session_goes_on(self, frame: bytes) -> None:
        (error,) = replies(a_dialect().read(frame))
        assert (error["type"], error["code"], error["retryable"]) == ("error", "invalid_audio_frame", True)


class TestControls:
    def test_close_closes(self) -> None:
        assert a_dialect().read('{"type": "session.close"}') == (Close(),)

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "7", "null", "{}", '{"type": "other"}', '{"type": []}', "[" * 4000, " " * 5000]
    )
    def test_what_is_no_message_is_rejected_and_the_session_goes_on(self, text: str) -> None:
        (error,) = replies(a_dialect().read(text))
        assert (error["code"], error["retryable"]) == ("message_invalid", True)

    @settings(max_examples=50, deadline=None)
    @given(
        st.dictionaries(
            NAMES,
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | NAMES,
                lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
            ),
        )
    )
    def test_nothing_raises_anything_but_our_own_errors(self, message: dict[str, Any]) -> None:
        for body in (message, {**message, "type": "session.update"}):
            try:
                a_dialect().read(json.dumps(body))
            except StreamingError as error:
                assert len(str(error)) < 300


class TestMeasurements:
    def live(self, *parts: Any, label: str | None = "happy") -> list[Event]:
        """All events of a session that is answered at once."""
        shell = make_shell()
        for part in parts:
            for start in range(0, len(part), 320):
                shell.live(part[start : start + 320])
                for request in list(shell.pending.values()):
                    shell.answer(request, label=label)
        shell.close("client_close")
        for request in list(shell.pending.values()):
            shell.answer(request, label=label)
        return shell.events

    def test_an_utterance_is_bracketed_and_measured_as_speech_ends(self) -> None:
        dialect = a_dialect()
        for _ in range(27):
            dialect.read(FRAME)
        start, measured, end, closed = told(dialect, self.live(silence(0.5), speech(1.2), silence(1.0)))

        assert start == {"type": "utterance.start", "utterance_id": 0, "audio_start_ms": 200}
        assert (measured["trigger"], measured["measurement_id"], measured["utterance_id"]) == ("speech_ended", 0, 0)
        assert (measured["audio_start_ms"], measured["audio_end_ms"]) == (200, 1860)
        assert end == {"type": "utterance.end", "utterance_id": 0, "audio_start_ms": 200, "audio_end_ms": 1860}
        assert closed == {
            "type": "session.closed",
            "session_id": "call-7",
            "reason": "client_request",
            "received": {"audio_duration_ms": 2700, "frames": 27},
            "produced": {"utterances": 1, "measurements": 1},
        }

    @pytest.mark.parametrize(("timer_ms", "intervals"), [(3000, 3), (5000, 2), (10_000, 1)])
    def test_speech_is_measured_every_so_often_while_it_goes_on(self, timer_ms: int, intervals: int) -> None:
        dialect = a_dialect()
        dialect.read(update(measurement_timer_ms=timer_ms))
        measured = [one for one in told(dialect, self.live(speech(12.0))) if one["type"] == "measurement.result"]

        assert [one["trigger"] for one in measured] == ["interval"] * intervals + ["speech_ended"]
        ends = [0, *(one["audio_end_ms"] for one in measured[:-1])]
        assert all(later - sooner >= timer_ms for sooner, later in pairwise(ends))

    def test_expressions_are_the_classes_that_are_more_probable_than_by_chance(self) -> None:
        measured = told(a_dialect(), self.live(speech(1.2), silence(1.0)))[1]
        assert measured["expressions"] == [{"name": "joy", "probability": 0.65}]

    def test_no_expression_is_named_where_the_ensemble_abstains(self) -> None:
        measured = told(a_dialect(), self.live(speech(1.2), silence(1.0), label=None))[1]
        assert measured["expressions"] == []

    def test_voice_attributes_are_arousal_valence_and_dominance_from_0_to_1(self) -> None:
        measured = told(a_dialect(), self.live(speech(1.2), silence(1.0)))[1]
        assert measured["voice_attributes"] == [
            {"name": "arousal", "probability": 0.6667},
            {"name": "dominance", "probability": 0.5},
            {"name": "valence", "probability": 0.25},
        ]

    def test_every_class_has_a_name_of_its_own(self) -> None:
        labels = make_shell().events[0].model_dump()["model"]["labels"]
        assert set(EXPRESSIONS) == set(labels)
        assert len(set(EXPRESSIONS.values())) == len(labels)

    def test_an_utterance_waits_for_the_end_of_the_one_before(self) -> None:
        dialect, shell = a_dialect(), make_shell()
        shell.live(speech(1.2), silence(1.0), speech(1.2), silence(1.0))
        assert kinds(told(dialect, shell.events)) == ["utterance.start"]
        so_far = len(shell.events)
        shell.answer_all()
        later = told(dialect, shell.events[so_far:])
        assert kinds(later) == [
            "measurement.result",
            "utterance.end",
            "utterance.start",
            "measurement.result",
            "utterance.end",
        ]

    def test_an_utterance_that_cannot_be_measured_ends_with_an_error_and_the_session_goes_on(self) -> None:
        shell = make_shell()
        shell.live(speech(1.2), silence(1.0))
        while shell.pending:
            shell.fail(next(iter(shell.pending.values())))
        start, error, end = told(a_dialect(), shell.events)
        assert (error["type"], error["code"], error["retryable"]) == ("error", "internal_error", True)
        assert (start["utterance_id"], end["utterance_id"]) == (0, 0)

    @settings(max_examples=20, deadline=None)
    @given(PATTERNS, CHUNKS, SEEDS)
    def test_whatever_is_said_and_answered_is_told_in_order(
        self, pattern: list[tuple[float, int]], chunks: list[int], seed: int
    ) -> None:
        shell = make_shell(settings=BRISK)
        events = converse(shell, messages(pcm(audio(pattern)), chunks), Random(seed))
        said = told(a_dialect(), events)
        check_order(said)
        assert said[-1]["type"] == "session.closed"
        assert kinds(said).count("utterance.end") == [event.type for event in events].count("speech.ended")


class TestEndings:
    @pytest.mark.parametrize(
        ("reason", "said"),
        [
            ("client_close", "client_request"),
            ("shutdown", "server_shutdown"),
            ("idle_timeout", "idle_timeout"),
            ("protocol_error", "error"),
            ("internal_error", "error"),
        ],
    )
    def test_the_last_message_says_why(self, reason: str, said: str) -> None:
        shell = make_shell()
        shell.close(reason)
        (closed,) = told(a_dialect(), shell.events)
        assert (closed["type"], closed["reason"]) == ("session.closed", said)

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (ProtocolError("session.update comes late"), "config_invalid"),
            (TooFastError("slower"), "rate_limited"),
            (StreamingError("broken"), "internal_error"),
        ],
    )
    def test_an_error_that_ends_the_session_is_told_in_their_words(self, error: StreamingError, code: str) -> None:
        shell: FakeShell = make_shell()
        shell.perform(shell.session.report(error))
        (said,) = told(a_dialect(), shell.events)
        assert said == {"type": "error", "code": code, "message": str(error), "retryable": False}

    @pytest.mark.parametrize("error", [CapacityError("all sessions are taken"), AuthorisationError("expired")])
    def test_whoever_is_not_let_in_is_told_why(self, error: StreamingError) -> None:
        (said,) = parsed(a_dialect().refuse(error))
        assert said == {"type": "error", "code": error.code, "message": str(error), "retryable": False}
