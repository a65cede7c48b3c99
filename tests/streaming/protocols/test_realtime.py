"""Messages of OpenAI's Realtime API, one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.config import Settings
from streaming.errors import CapacityError, StreamingError
from streaming.protocols.dialect import Audio, Begin, Flush, Handshake, Mark, Reply, Step
from streaming.protocols.realtime import RealtimeDialect
from tests.fakes.realtime import append, check_order, configured, kinds, parsed, say, shown
from tests.fakes.shell import make_shell, pcm, silence, speech
from tests.fakes.talks import BRISK, CHUNKS, PATTERNS, SEEDS, answer, audio, messages

SECOND = bytes(48_000)
COMMIT = say("input_audio_buffer.commit")
CLEAR = say("input_audio_buffer.clear")
MANUAL = configured(turn_detection=None)
NAMES = st.sampled_from(["type", "session", "audio", "input", "format", "turn_detection", "event_id", "language", ""])


def a_dialect(settings: Settings | None = None, **headers: str) -> RealtimeDialect:
    dialect = RealtimeDialect(settings or Settings(), Handshake("/v1/realtime", headers))
    dialect.greet("call-7")
    return dialect


def read(dialect: RealtimeDialect, *said: str | bytes) -> list[Step]:
    return [step for message in said for step in dialect.read(message)]


def replies(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return parsed(step.message for step in steps if isinstance(step, Reply))


class Wire:
    """A dialect and a session, with events that may be told late. Audio is what the session of the tests hears."""

    def __init__(self, *first: str, settings: Settings | None = None) -> None:
        self.dialect = a_dialect()
        self.shell = make_shell(settings=settings)
        self.sent: list[str | bytes] = []
        self._told = 0
        for message in first:
            self.say(message)

    def say(self, message: str) -> None:
        for step in self.dialect.read(message):
            match step:
                case Audio(data=data):
                    self.shell.hear(data)
                case Flush():
                    self.shell.perform(self.shell.session.flush(self.shell.now_s))
                case Mark(answer=answer_):
                    self.sent += answer_(self.shell.session.last_seq)
                case Reply(message=reply):
                    self.sent.append(reply)

    def hear(self, data: bytes) -> None:
        steps = self.dialect.read(append(data))
        assert [type(step) for step in steps if not isinstance(step, Begin)] == [Audio]
        for start in range(0, len(data), 640):
            self.shell.hear(data[start : start + 640], took_s=0.02)

    def tell(self, count: int | None = None) -> None:
        events = self.shell.events[self._told :][:count]
        self._told += len(events)
        for event in events:
            self.sent += self.dialect.tell(event)

    def answer_all(self) -> None:
        self.tell()
        self.shell.answer_all()
        self.tell()

    @property
    def told(self) -> list[dict[str, Any]]:
        return parsed(self.sent)


class TestGreeting:
    def test_it_says_what_is_in_effect(self) -> None:
        (created,) = replies(RealtimeDialect(Settings(), Handshake("/v1/realtime", {})).greet("call-7"))
        assert created == {
            "type": "session.created",
            "event_id": "event_1",
            "session": {
                "id": "call-7",
                "object": "realtime.transcription_session",
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24_000},
                        "noise_reduction": None,
                        "transcription": {"model": "whisper-base", "language": None},
                        "turn_detection": {
                            "type": "server_vad",
                            "threshold": 0.3,
                            "prefix_padding_ms": 300,
                            "silence_duration_ms": 600,
                        },
                    }
                },
            },
        }

    @pytest.mark.parametrize(
        "headers",
        [{"openai-beta": "realtime=v1"}, {"sec-websocket-protocol": "realtime, openai-beta.realtime-v1"}],
    )
    def test_a_client_of_the_beta_is_greeted_as_it_was_then(self, headers: dict[str, str]) -> None:
        (created,) = replies(RealtimeDialect(Settings(), Handshake("/v1/realtime", headers)).greet("call-7"))
        assert created["type"] == "transcription_session.created"
        assert created["session"]["input_audio_format"] == "pcm16"

    @pytest.mark.parametrize(
        ("offered", "subprotocol", "token"),
        [
            ("", None, None),
            ("other", None, None),
            ("realtime", "realtime", None),
            ("realtime, openai-insecure-api-key.medusa_a-B_9", "realtime", "medusa_a-B_9"),
        ],
    )
    def test_browsers_show_their_token_as_a_subprotocol(
        self, offered: str, subprotocol: str | None, token: str | None
    ) -> None:
        dialect = a_dialect(**{"sec-websocket-protocol": offered})
        assert (dialect.subprotocol, dialect.token) == (subprotocol, token)


class TestUpdate:
    @pytest.mark.parametrize(
        ("kind", "encoding", "rate_hz"),
        [
            ("audio/pcm", Encoding.PCM16, 24_000),
            ("audio/pcmu", Encoding.MULAW, 8000),
            ("audio/pcma", Encoding.ALAW, 8000),
        ],
    )
    def test_it_says_what_audio_will_come(self, kind: str, encoding: Encoding, rate_hz: int) -> None:
        dialect = a_dialect()
        (updated,) = replies(dialect.read(configured(format={"type": kind})))
        assert updated["type"] == "session.updated"
        assert updated["session"]["audio"]["input"]["format"]["type"] == kind
        begin = dialect.read(append(b"\xff\xff"))[0]
        assert isinstance(begin, Begin)
        assert begin.request.audio == AudioFormat(encoding, rate_hz, 1)
        assert (begin.request.roles, begin.request.interim, begin.name) == (("customer",), True, None)

    @pytest.mark.parametrize(
        ("given", "heard"), [("en", "en"), ("de-CH", "de"), ("PT", "pt"), (None, None), ("", None)]
    )
    def test_it_says_the_language(self, given: str | None, heard: str | None) -> None:
        dialect = a_dialect()
        dialect.read(configured(transcription={"model": "gpt-live-transcribe", "language": given}))
        begin = dialect.read(append(SECOND))[0]
        assert isinstance(begin, Begin)
        assert begin.request.language == heard

    def test_what_it_does_not_name_stays(self) -> None:
        dialect = a_dialect()
        read(dialect, configured(format={"type": "audio/pcmu"}), configured(transcription={"language": "en"}))
        (updated,) = replies(dialect.read(configured(turn_detection={"type": "semantic_vad", "eagerness": "low"})))
        heard = updated["session"]["audio"]["input"]
        assert heard["format"] == {"type": "audio/pcmu"}
        assert heard["transcription"]["language"] == "en"
        assert heard["turn_detection"]["type"] == "server_vad"

    def test_the_beta_form_is_answered_in_kind(self) -> None:
        wanted = {
            "input_audio_format": "g711_ulaw",
            "input_audio_transcription": {"model": "whisper-1", "language": "en"},
            "turn_detection": None,
        }
        dialect = a_dialect()
        (updated,) = replies(dialect.read(say("transcription_session.update", session=wanted)))
        assert updated["type"] == "transcription_session.updated"
        assert updated["session"] == {
            "id": "call-7",
            "object": "realtime.transcription_session",
            "input_audio_format": "g711_ulaw",
            "input_audio_noise_reduction": None,
            "input_audio_transcription": {"model": "whisper-base", "language": "en"},
            "turn_detection": None,
        }
        begin = dialect.read(append(SECOND))[0]
        assert isinstance(begin, Begin)
        assert begin.request.audio.encoding is Encoding.MULAW

    @pytest.mark.parametrize(
        ("message", "param"),
        [
            (say("session.update"), "session"),
            (say("session.update", session=[]), "session"),
            (say("session.update", session={"type": "realtime"}), "session.type"),
            (say("session.update", session={"audio": 7}), "session.audio"),
            (say("session.update", session={"audio": {"input": []}}), "session.audio.input"),
            (configured(format="audio/pcm"), "session.audio.input.format"),
            (configured(format={"type": "audio/opus"}), "session.audio.input.format.type"),
            (configured(format={"type": []}), "session.audio.input.format.type"),
            (configured(format={"type": "audio/pcm", "rate": 16_000}), "session.audio.input.format.rate"),
            (configured(transcription={"language": "German"}), "session.audio.input.transcription.language"),
            (configured(transcription={"language": 7}), "session.audio.input.transcription.language"),
            (configured(turn_detection={"type": "none"}), "session.audio.input.turn_detection.type"),
            (
                say("transcription_session.update", session={"input_audio_format": "opus"}),
                "session.input_audio_format",
            ),
        ],
    )
    def test_one_that_cannot_be_is_an_error_and_changes_nothing(self, message: str, param: str) -> None:
        dialect = a_dialect()
        (error,) = replies(dialect.read(message))
        assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
        assert error["error"]["param"] == param
        begin = dialect.read(append(SECOND))[0]
        assert isinstance(begin, Begin)
        assert begin.request.audio == AudioFormat(Encoding.PCM16, 24_000, 1)

    def test_what_was_heard_cannot_be_changed_and_the_rest_may_be_said_again(self) -> None:
        dialect = a_dialect()
        first = configured(transcription={"language": "en"})
        read(dialect, first, append(SECOND))
        same, other = replies(read(dialect, first, MANUAL))
        assert same["type"] == "session.updated"
        assert "once audio has come" in other["error"]["message"]


class TestAudio:
    def test_the_first_begins_the_session_and_is_heard(self) -> None:
        begin, heard = a_dialect().read(append(SECOND))
        assert isinstance(begin, Begin)
        assert heard == Audio(SECOND)

    def test_what_follows_is_heard(self) -> None:
        dialect = a_dialect()
        assert read(dialect, append(b"ab"), append(b"cd"))[-1] == Audio(b"cd")

    def test_none_is_no_beginning(self) -> None:
        assert a_dialect().read(append(b"")) == ()

    @pytest.mark.parametrize(
        "fields", [{}, {"audio": None}, {"audio": 7}, {"audio": "!"}, {"audio": "YQ"}, {"audio": "é"}]
    )
    def test_what_is_no_base64_is_an_error(self, fields: dict[str, Any]) -> None:
        (error,) = replies(a_dialect().read(say("input_audio_buffer.append", event_id="mine", **fields)))
        assert (error["error"]["param"], error["error"]["event_id"]) == ("audio", "mine")

    @pytest.mark.parametrize(
        "message", ["", "{", "[]", "7", "null", "{}", say("response.create"), '{"type": []}', "[" * 5000, b"\x00"]
    )
    def test_what_a_transcription_session_does_not_take_is_an_error(self, message: str | bytes) -> None:
        (error,) = replies(a_dialect().read(message))
        assert error["error"]["type"] == "invalid_request_error"

    @settings(max_examples=50, deadline=None)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | NAMES,
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4),
        )
    )
    def test_nothing_is_raised_whatever_comes(self, message: Any) -> None:
        for kind in ("session.update", "transcription_session.update", "input_audio_buffer.append"):
            body = {**message, "type": kind} if isinstance(message, dict) else {"type": kind, "session": message}
            dialect = a_dialect()
            dialect.read(json.dumps(body))
            dialect.read(json.dumps(message))


class TestTurnsOfTheServer:
    def test_each_stretch_of_speech_is_an_item(self) -> None:
        wire = Wire()
        wire.hear(pcm(silence(0.5), speech(1.2), silence(1.0)))
        wire.answer_all()
        wire.hear(pcm(speech(1.2), silence(1.0)))
        wire.answer_all()

        once = [
            "speech_started",
            "speech_stopped",
            "committed",
            "added",
            "done",
            "transcription.delta",
            "emotion.completed",
            "transcription.completed",
        ]
        assert [kind for kind in kinds(wire.told) if kind != "emotion.updated"] == once * 2
        check_order(wire.told)

    def test_an_item_has_its_words_and_how_they_were_said(self) -> None:
        wire = Wire()
        wire.hear(pcm(silence(0.5), speech(1.2), silence(1.0)))
        wire.answer_all()
        told = {one["type"]: one for one in wire.told}

        item = "item_call-7_1"
        assert told["input_audio_buffer.speech_started"]["audio_start_ms"] == 200
        assert told["input_audio_buffer.speech_stopped"]["audio_end_ms"] == 1860
        assert told["input_audio_buffer.committed"]["previous_item_id"] is None
        assert told["conversation.item.added"]["item"]["id"] == item
        completed = told["conversation.item.input_audio_transcription.completed"]
        assert (completed["item_id"], completed["content_index"]) == (item, 0)
        assert completed["transcript"] == "well then"
        assert completed["usage"] == {"type": "duration", "seconds": 1.66}
        emotion = told["conversation.item.input_audio_emotion.completed"]
        assert (emotion["item_id"], emotion["label"], emotion["abstained"]) == (item, "angry", False)
        assert (emotion["audio_start_ms"], emotion["audio_end_ms"]) == (200, 1860)
        assert emotion["attributes"] == {"arousal": 5.0, "valence": 2.5, "dominance": 4.0}
        assert emotion["scores"]["angry"] == emotion["confidence"] == 0.65

    def test_words_are_told_as_they_are_settled(self) -> None:
        wire = Wire()
        spoken = iter(["well", "well then", "well then good", "well then good bye"])
        for _ in range(4):
            wire.hear(pcm(speech(1.0)))
            for request in list(wire.shell.pending.values()):
                wire.shell.answer(request, next(spoken))
            wire.tell()
        assert [one["delta"] for one in wire.told if "delta" in one] == ["well", " then", " good"]
        wire.hear(pcm(silence(1.0)))
        while wire.shell.pending:
            wire.shell.answer(next(iter(wire.shell.pending.values())), "well then good night")
        wire.tell()
        assert shown(wire.told, "item_call-7_1") == wire.told[-1]["transcript"] == "well then good night"

    def test_a_commit_ends_the_turn_at_once(self) -> None:
        wire = Wire()
        wire.hear(pcm(speech(1.2)))
        wire.say(COMMIT)
        wire.answer_all()
        assert kinds(wire.told)[-1] == "transcription.completed"
        check_order(wire.told)

    def test_speech_that_cannot_be_recognised_has_a_failed_item(self) -> None:
        wire = Wire()
        wire.hear(pcm(speech(1.2), silence(1.0)))
        while wire.shell.pending:
            wire.shell.fail(next(iter(wire.shell.pending.values())))
        wire.tell()
        failed = wire.told[-1]
        assert failed["type"] == "conversation.item.input_audio_transcription.failed"
        assert "out of memory" in failed["error"]["message"]
        check_order(wire.told)

    def test_what_is_cleared_is_not_told(self) -> None:
        wire = Wire()
        wire.hear(pcm(speech(1.2)))
        wire.say(CLEAR)
        wire.answer_all()
        wire.hear(pcm(silence(1.0), speech(1.2), silence(1.0)))
        wire.answer_all()
        assert kinds(wire.told)[:2] == ["cleared", "speech_started"]
        assert wire.told[1]["audio_start_ms"] > 1200
        check_order(wire.told)

    @pytest.mark.parametrize("is_beta", [False, True])
    def test_an_item_is_told_as_the_client_knows_it(self, is_beta: bool) -> None:
        first = say("transcription_session.update", session={}) if is_beta else configured()
        wire = Wire(first)
        wire.hear(pcm(speech(1.2), silence(1.0)))
        wire.answer_all()
        assert ("created" in kinds(wire.told), "added" in kinds(wire.told)) == (is_beta, not is_beta)


class TestTurnsOfTheClient:
    def test_a_turn_is_all_that_was_said_before_its_commit(self) -> None:
        wire = Wire(MANUAL)
        wire.hear(pcm(speech(1.2), silence(1.0), speech(1.2), silence(1.0)))
        wire.answer_all()
        assert {one["type"].rpartition(".")[2] for one in wire.told} <= {"updated", "delta", "completed"}
        assert "transcription.completed" not in kinds(wire.told)
        wire.say(COMMIT)

        assert kinds(wire.told)[-4:] == ["committed", "added", "done", "transcription.completed"]
        completed = wire.told[-1]
        assert completed["transcript"] == "well then well then" == shown(wire.told, completed["item_id"])
        assert completed["usage"]["seconds"] == round(4.4 * 16_000 / 24_000, 3)
        check_order(wire.told)

    def test_it_is_completed_only_once_its_commit_was_told(self) -> None:
        wire = Wire(MANUAL)
        wire.hear(pcm(speech(1.2), silence(1.0)))
        wire.tell()
        _, mark = wire.dialect.read(COMMIT)
        assert isinstance(mark, Mark)
        answering = iter(mark.answer(wire.shell.session.last_seq))
        wire.sent.append(next(answering))
        wire.answer_all()
        wire.sent += answering

        assert kinds(wire.told)[-3:] == ["added", "done", "transcription.completed"]

    def test_speech_goes_on_in_the_next_turn(self) -> None:
        wire = Wire(MANUAL)
        wire.hear(pcm(speech(1.2)))
        wire.say(COMMIT)
        wire.hear(pcm(speech(1.2)))
        wire.say(COMMIT)
        wire.answer_all()
        assert kinds(wire.told).count("transcription.completed") == 2
        check_order(wire.told)

    def test_silence_is_a_turn_without_words(self) -> None:
        wire = Wire(MANUAL)
        wire.hear(pcm(silence(1.0)))
        wire.tell()
        wire.say(COMMIT)
        assert wire.told[-1]["transcript"] == ""
        assert kinds(wire.told)[-4:] == ["committed", "added", "done", "transcription.completed"]

    def test_a_commit_of_nothing_is_an_error(self) -> None:
        wire = Wire(MANUAL)
        wire.say(COMMIT)
        wire.hear(pcm(silence(1.0)))
        wire.say(COMMIT)
        wire.say(COMMIT)
        errors = [one["error"]["message"] for one in wire.told if one["type"] == "error"]
        assert errors == ["there is no audio to commit: append some first"] * 2

    def test_what_is_cleared_is_in_no_turn(self) -> None:
        wire = Wire(MANUAL)
        wire.hear(pcm(speech(1.2)))
        wire.say(CLEAR)
        wire.hear(pcm(silence(1.0)))
        wire.say(COMMIT)
        wire.answer_all()
        assert wire.told[-1]["transcript"] == ""
        check_order(wire.told)

    def test_a_part_that_cannot_be_recognised_leaves_the_other(self) -> None:
        wire = Wire(MANUAL)
        wire.hear(pcm(speech(1.2), silence(1.0)))
        wire.answer_all()
        wire.hear(pcm(speech(1.2), silence(1.0)))
        while wire.shell.pending:
            wire.shell.fail(next(iter(wire.shell.pending.values())))
        wire.tell()
        wire.say(COMMIT)
        assert kinds(wire.told)[-2:] == ["error", "transcription.completed"]
        assert wire.told[-1]["transcript"] == "well then"

    def test_commits_that_nobody_could_answer_in_time_are_refused(self) -> None:
        wire = Wire(MANUAL)
        wire.hear(pcm(speech(1.2)))
        for _ in range(65):
            wire.say(COMMIT)
            wire.say(append(b"\x00\x00"))
        assert "64 turns wait" in wire.told[-1]["error"]["message"]


def conversation(
    pattern: list[tuple[float, int]], chunks: list[int], first: str, between: list[str], seed: int, *, late: bool
) -> list[dict[str, Any]]:
    """What a client is told that commits and clears in between, events being told at once or some time later."""
    chance, delay = Random(seed), Random(seed)
    wire = Wire(first, settings=BRISK)
    for place, message in enumerate(messages(pcm(audio(pattern)), chunks)):
        wire.hear(message)
        if between[place % len(between)]:
            wire.say(between[place % len(between)])
        while wire.shell.pending and chance.random() < 0.5:
            answer(wire.shell, chance.choice(list(wire.shell.pending.values())), chance)
        wire.tell(delay.randint(0, 5) if late else None)
    wire.say(append(b"\x00\x00"))
    wire.say(COMMIT)
    wire.shell.close("client_close")
    while wire.shell.pending:
        answer(wire.shell, chance.choice(list(wire.shell.pending.values())), chance)
    wire.tell()
    return wire.told


BETWEEN = st.lists(st.sampled_from(["", "", COMMIT, CLEAR]), min_size=1)


@settings(max_examples=20, deadline=None)
@given(PATTERNS, CHUNKS, st.sampled_from([configured(), MANUAL]), BETWEEN, SEEDS)
def test_whatever_is_said_and_answered_is_told_in_order(
    pattern: list[tuple[float, int]], chunks: list[int], first: str, between: list[str], seed: int
) -> None:
    check_order(conversation(pattern, chunks, first, between, seed, late=True))


@settings(max_examples=15, deadline=None)
@given(PATTERNS, CHUNKS, BETWEEN, SEEDS)
def test_when_events_are_told_does_not_change_what_a_turn_holds(
    pattern: list[tuple[float, int]], chunks: list[int], between: list[str], seed: int
) -> None:
    outcomes = [
        [one.get("transcript") for one in told if one["type"].endswith(("transcription.completed", ".failed"))]
        for told in (conversation(pattern, chunks, MANUAL, between, seed, late=late) for late in (False, True))
    ]
    assert outcomes[0] == outcomes[1]


class TestErrors:
    def test_one_of_the_session_is_told(self) -> None:
        wire = Wire()
        wire.shell.perform(wire.shell.session.report(StreamingError("broken")))
        wire.tell()
        (error,) = wire.told
        assert error["error"] == {
            "type": "server_error",
            "code": "internal",
            "message": "broken",
            "param": None,
            "event_id": None,
        }

    def test_whoever_finds_no_room_is_told_so(self) -> None:
        (error,) = parsed(a_dialect().refuse(CapacityError("all sessions are taken")))
        assert (error["error"]["type"], error["error"]["code"]) == ("server_error", "capacity")
