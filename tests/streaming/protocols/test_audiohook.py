"""AudioHook's messages, one by one."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.audio.codecs import Encoding
from streaming.config import AudiohookSettings
from streaming.errors import AudioFormatError, AuthorisationError, CapacityError, ProtocolError, StreamingError
from streaming.events import Event
from streaming.protocols.audiohook import AudiohookDialect
from streaming.protocols.dialect import Audio, Begin, Close, Flush, Handshake, Reply, Step
from tests.fakes.audiohook import API_KEY, MONO, SESSION, STEREO, Genesys
from tests.fakes.shell import AudioFormat, make_shell, silence, speech
from tests.fakes.shell import interleaved as mixed

SECOND = b"\xff" * 8000


def a_dialect(**settings: str) -> AudiohookDialect:
    return AudiohookDialect(AudiohookSettings(**settings), None, Handshake("/v1/audiohook", {"x-api-key": API_KEY}))


@functools.cache
def a_call() -> tuple[Event, ...]:
    """All events of a call of two channels, whose first speaks twice."""
    shell = make_shell(audio=AudioFormat(Encoding.PCM16, 16_000, 2), roles=("customer", "agent"))
    voice = [silence(0.5), speech(1.6), silence(1.0), speech(1.4), silence(1.0)]
    for part in voice:
        shell.hear(mixed(part, 0 * part))
        shell.answer_all()
    shell.close("client_close")
    shell.answer_all()
    return tuple(shell.events)


def opened(client: Genesys | None = None, *media: dict[str, Any]) -> tuple[AudiohookDialect, Genesys]:
    dialect, client = a_dialect(), client or Genesys()
    dialect.read(client.open(*media))
    dialect.tell(a_call()[0])
    client.serverseq = 1
    return dialect, client


def messages(sent: Sequence[str]) -> list[dict[str, Any]]:
    return [json.loads(one) for one in sent]


def replies(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return messages([str(step.message) for step in steps if isinstance(step, Reply)])


class TestOpening:
    def test_it_says_what_will_be_heard(self) -> None:
        (begin,) = a_dialect().read(Genesys().open())
        assert isinstance(begin, Begin)
        assert (begin.request.audio.encoding, begin.request.audio.rate_hz) == (Encoding.MULAW, 8000)
        assert begin.request.roles == ("customer", "agent")
        assert begin.request.language == "en"
        assert (begin.name, begin.token) == (SESSION, API_KEY)

    def test_it_is_answered_once_the_session_has_begun(self) -> None:
        dialect = a_dialect()
        dialect.read(Genesys().open())
        (answer,) = messages(dialect.tell(a_call()[0]))
        assert answer == {
            "version": "2",
            "id": SESSION,
            "type": "opened",
            "seq": 1,
            "clientseq": 1,
            "parameters": {"startPaused": False, "media": [STEREO]},
        }

    @pytest.mark.parametrize(
        ("offers", "chosen"),
        [
            ([MONO, STEREO], ("customer", "agent")),
            ([MONO], ("customer",)),
            ([{**MONO, "channels": ["internal"]}], ("agent",)),
            ([{**STEREO, "format": "OPUS"}, {**MONO, "format": "L16"}], ("customer",)),
            ([{**STEREO, "rate": 16000}, MONO], ("customer",)),
        ],
    )
    def test_of_what_is_on_offer_it_takes_most_channels_that_it_reads(
        self, offers: list[dict[str, Any]], chosen: tuple[str, ...]
    ) -> None:
        (begin,) = a_dialect().read(Genesys().open(*offers))
        assert isinstance(begin, Begin)
        assert begin.request.roles == chosen

    @pytest.mark.parametrize("offers", [[{**MONO, "format": "OPUS"}], [{**MONO, "channels": []}], ["x"], [{}]])
    def test_where_nothing_can_be_read_it_says_so(self, offers: list[Any]) -> None:
        with pytest.raises(AudioFormatError):
            a_dialect().read(Genesys().open(*offers))

    def test_a_probe_is_answered_without_a_session(self) -> None:
        dialect, client = a_dialect(), Genesys()
        steps = dialect.read(client.open(conversationId="00000000-0000-0000-0000-000000000000"))
        (answer,) = replies(steps)
        assert len(steps) == 1
        assert answer["type"] == "opened"
        client.serverseq = 1
        closing = dialect.read(client.say("close", reason="end"))
        assert replies(closing)[0]["type"] == "closed"
        assert closing[-1] == Close()

    def test_a_second_one_is_refused(self) -> None:
        dialect, client = opened()
        with pytest.raises(ProtocolError, match="open already"):
            dialect.read(client.open())

    @pytest.mark.parametrize(
        ("error", "reason"), [(AuthorisationError("no"), "unauthorized"), (CapacityError("full"), "error")]
    )
    def test_who_is_not_let_in_is_told(self, error: StreamingError, reason: str) -> None:
        (told,) = messages(a_dialect().refuse(error))
        assert (told["type"], told["parameters"]["reason"]) == ("disconnect", reason)


class TestMessages:
    def test_a_ping_is_answered(self) -> None:
        dialect, client = opened()
        (pong,) = replies(dialect.read(client.say("ping", rtt="PT0.1S")))
        assert (pong["type"], pong["seq"], pong["clientseq"], pong["parameters"]) == ("pong", 2, 2, {})

    def test_an_update_is_answered(self) -> None:
        dialect, client = opened()
        assert replies(dialect.read(client.say("update", language="es-ES")))[0]["type"] == "updated"

    def test_a_pause_finishes_what_was_said_and_no_audio_may_come_in_it(self) -> None:
        dialect, client = opened()
        assert dialect.read(client.say("paused")) == (Flush(),)
        with pytest.raises(ProtocolError, match="paused"):
            dialect.read(SECOND)
        dialect.read(client.say("resumed", start="PT0S", discarded="PT3S"))
        assert dialect.read(SECOND) == (Audio(SECOND),)

    def test_a_close_is_one_and_answered_after_the_last_final(self) -> None:
        dialect, client = opened()
        assert dialect.read(client.say("close", reason="end")) == (Close(),)
        (closed,) = messages(dialect.tell(a_call()[-1]))
        assert (closed["type"], closed["parameters"]) == ("closed", {})

    def test_an_error_of_the_clients_is_heard(self) -> None:
        dialect, client = opened()
        assert dialect.read(client.say("error", code=400, message="hm")) == ()

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"seq": 3}, "seq must be 2"),
            ({"seq": 1}, "seq must be 2"),
            ({"seq": "2"}, "seq must be a whole number"),
            ({"seq": True}, "seq must be a whole number"),
            ({"serverseq": 2}, "serverseq"),
            ({"serverseq": -1}, "serverseq"),
            ({"version": "3"}, "version 2"),
            ({"id": "another"}, "another session's"),
            ({"id": 7}, "lacks its id"),
            ({"parameters": []}, "lacks its id or its parameters"),
            ({"type": "opened"}, "not a message that an AudioHook client sends"),
            ({"type": None}, "not a message that an AudioHook client sends"),
        ],
    )
    def test_one_that_breaks_the_rules_says_which(self, changes: dict[str, Any], said: str) -> None:
        dialect, client = opened()
        with pytest.raises(ProtocolError, match=said):
            dialect.read(json.dumps({**json.loads(client.say("ping")), **changes}))

    @pytest.mark.parametrize("message", ["", "{", "[]", "7", "[" * 5000, '"' + "x" * 70_000 + '"'])
    def test_what_is_no_message_is_refused(self, message: str) -> None:
        with pytest.raises(ProtocolError):
            opened()[0].read(message)

    @pytest.mark.parametrize("duration", ["1.5", "PT1M", "PT-1S", "PT1e3S", None, 3, "PT1.5S\n"])
    def test_a_duration_is_written_in_one_way(self, duration: Any) -> None:
        dialect, client = opened()
        with pytest.raises(ProtocolError, match=r"PT1\.5S"):
            dialect.read(client.say("discarded", start="PT0S", discarded=duration))

    @given(st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=4))
    def test_no_parameters_raise_anything_but_our_own_errors(self, parameters: dict[str, Any]) -> None:
        for kind in ("open", "ping", "update", "paused", "resumed", "discarded", "close", "error"):
            dialect, client = (a_dialect(), Genesys()) if kind == "open" else opened()
            try:
                dialect.read(client.say(kind, parameters=parameters))
            except StreamingError as error:
                assert len(str(error)) < 300


class TestAudio:
    def test_it_is_heard_as_it_comes(self) -> None:
        assert opened()[0].read(SECOND) == (Audio(SECOND),)

    def test_it_may_not_come_before_the_session_is_open(self) -> None:
        dialect = a_dialect()
        with pytest.raises(ProtocolError, match="not open"):
            dialect.read(SECOND)

    def test_it_comes_in_whole_frames(self) -> None:
        with pytest.raises(ProtocolError, match="frames of 2 bytes"):
            opened()[0].read(b"\xff" * 3)


class TestTelling:
    def told(self, dialect: AudiohookDialect | None = None) -> list[dict[str, Any]]:
        dialect = dialect or a_dialect()
        client = Genesys()
        dialect.read(client.open())
        sent: list[dict[str, Any]] = []
        for event in a_call():
            if event.type == "session.ended":
                client.serverseq = len(sent)
                dialect.read(client.say("close", reason="end"))
            sent += messages(dialect.tell(event))
        return sent

    def entities(self, kind: str) -> list[dict[str, Any]]:
        told = [entity for one in self.told() for entity in one["parameters"].get("entities", [])]
        return [entity["data"] for entity in told if entity["type"] == kind]

    def test_numbers_rise_by_one(self) -> None:
        sent = self.told()
        assert [one["seq"] for one in sent] == list(range(1, len(sent) + 1))
        assert [sent[0]["type"], sent[-1]["type"]] == ["opened", "closed"]
        assert {one["type"] for one in sent[1:-1]} == {"event"}

    def test_words_have_their_segment_their_channel_and_their_time(self) -> None:
        first, second = (one for one in self.entities("transcript") if one["isFinal"])
        assert first["id"] != second["id"]
        assert {first["channel"], second["channel"]} == {"external"}
        assert first["offset"] == "PT0.2S"
        assert float(first["duration"].removeprefix("PT").removesuffix("S")) > 1.6
        (alternative,) = first["alternatives"]
        assert 0 < alternative["confidence"] <= 1
        (display,) = alternative["interpretations"]
        assert display["transcript"] == "well then"
        assert [token["value"] for token in display["tokens"]] == ["well", "then"]
        assert display["tokens"][0]["offset"] == "PT0.2S"
        assert alternative["languages"] == ["en"]

    def test_the_emotion_of_a_segment_has_the_id_of_its_words(self) -> None:
        said = [one["id"] for one in self.entities("transcript") if one["isFinal"]]
        emotions = [one for one in self.entities("medusa.emotion") if one["isFinal"]]
        assert [one["id"] for one in emotions] == said
        assert emotions[0]["label"] == "angry"
        assert emotions[0]["scores"]["angry"] == pytest.approx(0.65)
        assert set(emotions[0]["attributes"]) == {"arousal", "valence", "dominance"}

    def test_what_was_left_out_moves_the_clock(self) -> None:
        dialect, client = a_dialect(), Genesys()
        dialect.read(client.open())
        events = a_call()
        dialect.tell(events[0])
        client.serverseq = 1
        dialect.read(b"\xff" * (2 * 8000 * 2))
        dialect.read(client.say("discarded", start="PT2S", discarded="PT10.5S"))
        finals = []
        for event in events[1:-1]:
            for one in messages(dialect.tell(event)):
                finals += [e["data"] for e in one["parameters"]["entities"] if e["data"]["isFinal"]]
        starts = [event.start_s for event in events if event.type == "speech.started"]
        assert starts[0] < 2 < starts[1]
        offsets = [float(one["offset"].removeprefix("PT").removesuffix("S")) for one in finals]
        assert offsets[0] == pytest.approx(starts[0], abs=1e-3)
        assert offsets[-1] == pytest.approx(starts[1] + 10.5, abs=1e-3)

    def test_a_session_that_the_server_ends_is_disconnected_once(self) -> None:
        dialect, _ = opened()
        ended = a_call()[-1].model_copy(update={"reason": "shutdown"})
        (told,) = messages(dialect.tell(ended))
        assert (told["type"], told["parameters"]) == ("disconnect", {"reason": "completed", "info": "shutdown"})
        assert dialect.tell(ended) == ()

    def test_memory_does_not_grow_with_the_call(self) -> None:
        dialect, client = opened()
        for _ in range(1000):
            dialect.read(client.say("discarded", start="PT0S", discarded="PT1S"))
        assert len(dialect._leaps) <= 100
        started = next(event for event in a_call() if event.type == "speech.started")
        for number in range(1, 5000):
            dialect.tell(started.model_copy(update={"segment": number}))
        assert len(dialect._starts) <= 100
