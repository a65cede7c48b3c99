"""Twilio's messages, one by one."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.audio.codecs import Encoding
from streaming.config import TwilioSettings
from streaming.errors import AudioFormatError, ProtocolError, StreamingError
from streaming.protocols.dialect import Audio, Begin, Close, Notice, Step
from streaming.protocols.jitter import LostAudioError
from streaming.protocols.twilio import TwilioDialect
from tests.fakes.twilio import SID, connected, media, pieces, start, stop, whole_call


def a_dialect(**settings: str) -> TwilioDialect:
    return TwilioDialect(TwilioSettings(**settings))


def begun(*tracks: str) -> TwilioDialect:
    dialect = a_dialect()
    dialect.read(start(*tracks))
    return dialect


def read(dialect: TwilioDialect, *messages: str) -> list[Step]:
    return [step for message in messages for step in dialect.read(message)]


def audio(steps: list[Step]) -> bytes:
    return b"".join(step.data for step in steps if isinstance(step, Audio))


def interleaved(*channels: bytes) -> bytes:
    return np.stack([np.frombuffer(one, dtype=np.uint8) for one in channels], axis=1).tobytes()


def noise(seed: int, count: int = 12) -> bytes:
    return random.Random(seed).randbytes(count * 160)


class TestStart:
    def test_it_says_what_will_be_heard(self) -> None:
        (begin,) = read(a_dialect(), connected(), start("inbound", "outbound"))

        assert isinstance(begin, Begin)
        assert begin.request.audio.encoding is Encoding.MULAW
        assert (begin.request.audio.rate_hz, begin.request.audio.channels) == (8000, 2)
        assert begin.request.roles == ("customer", "agent")
        assert (begin.request.language, begin.request.interim) == (None, True)
        assert (begin.token, begin.name) == (None, SID)

    def test_channels_are_in_one_order_whatever_order_they_are_named_in(self) -> None:
        (begin,) = read(a_dialect(), start("outbound", "inbound"))
        assert isinstance(begin, Begin)
        assert begin.request.roles == ("customer", "agent")

    def test_roles_are_those_of_the_settings_unless_the_call_names_others(self) -> None:
        (begin,) = read(
            a_dialect(inbound_role="caller", outbound_role="bot"),
            start("inbound", "outbound", parameters={"outbound_role": "nurse", "language": "de", "token": "secret"}),
        )
        assert isinstance(begin, Begin)
        assert begin.request.roles == ("caller", "nurse")
        assert begin.request.language == "de"
        assert begin.token == "secret"  # noqa: S105 - a test's

    @pytest.mark.parametrize("sid", [7, None, {}])
    def test_a_stream_whose_name_is_no_text_has_none(self, sid: Any) -> None:
        (begin,) = read(a_dialect(), start(streamSid=sid))
        assert isinstance(begin, Begin)
        assert begin.name is None

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"tracks": []}, "start.tracks"),
            ({"tracks": ["sideways"]}, "start.tracks"),
            ({"tracks": "inbound"}, "start.tracks"),
            ({"mediaFormat": None}, "mediaFormat"),
            ({"mediaFormat": {"encoding": "audio/opus", "sampleRate": 8000, "channels": 1}}, "audio/x-mulaw"),
            ({"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1}}, "8000 Hz"),
            ({"customParameters": []}, None),
            ({"customParameters": "x"}, "customParameters"),
            ({"customParameters": {"language": "German"}}, "ISO 639"),
            ({"customParameters": {"inbound_role": "a/b"}}, "inbound_role"),
        ],
    )
    def test_one_that_is_wrong_says_where(self, changes: dict[str, Any], said: str | None) -> None:
        if said is None:
            assert read(a_dialect(), start(**changes))
            return
        with pytest.raises((ProtocolError, AudioFormatError), match=said):
            read(a_dialect(), start(**changes))

    def test_numbers_may_be_strings(self) -> None:
        shape = {"encoding": "audio/x-mulaw", "sampleRate": "8000", "channels": "1"}
        assert read(a_dialect(), start(mediaFormat=shape))

    def test_a_second_one_is_refused(self) -> None:
        with pytest.raises(ProtocolError, match="twice"):
            read(begun("inbound"), start())


class TestMedia:
    def test_one_track_is_the_audio_as_it_is(self) -> None:
        said = noise(1)
        steps = read(a_dialect(), *whole_call({"inbound": said}))
        assert audio(steps) == said
        assert steps[-1] == Close()

    def test_two_tracks_are_interleaved(self) -> None:
        caller, agent = noise(1), noise(2)
        steps = read(a_dialect(), *whole_call({"inbound": caller, "outbound": agent}))
        assert audio(steps) == interleaved(caller, agent)

    def test_a_track_that_ends_sooner_is_silent_from_then_on(self) -> None:
        caller, agent = noise(1, 12), noise(2, 5)
        steps = read(a_dialect(), *whole_call({"inbound": caller, "outbound": agent}))
        assert audio(steps) == interleaved(caller, agent.ljust(len(caller), b"\xff"))

    def test_a_track_that_is_far_behind_is_silent_until_it_comes(self) -> None:
        dialect, said = begun("inbound", "outbound"), noise(1, 100)
        steps = read(dialect, *(media("inbound", n, piece) for n, piece in enumerate(pieces(said), 1)))
        told = audio(steps)
        assert len(told) == 2 * (len(said) - 500 * 8)
        assert told == interleaved(said[: len(told) // 2], b"\xff" * (len(told) // 2))
        agent = noise(2, 101)
        late = read(dialect, *(media("outbound", n, piece) for n, piece in enumerate(pieces(agent), 1)))
        rest = len(told) // 2
        assert audio(late) == interleaved(said[rest:], agent[rest : len(said)])

    @given(st.randoms(use_true_random=False), st.integers(0, 4))
    def test_pieces_out_of_order_and_twice_change_nothing(self, chance: random.Random, late: int) -> None:
        caller, agent = noise(1, 30), noise(2, 30)
        first, second, *between, last = whole_call({"inbound": caller, "outbound": agent})
        keyed = sorted(
            [(place + chance.randint(0, 2 * late), message) for place, message in enumerate(between)]
            + [(7 * place + chance.randint(9, 60), message) for place, message in enumerate(between[::7])],
            key=lambda pair: pair[0],
        )
        steps = read(a_dialect(), first, second, *(message for _, message in keyed), last)
        assert audio(steps) == interleaved(caller, agent)
        assert not any(isinstance(step, Notice) for step in steps)

    def test_missing_pieces_are_silence_and_said_once(self) -> None:
        said = noise(1, 60)
        messages = list(whole_call({"inbound": said}))
        steps = read(a_dialect(), *(one for place, one in enumerate(messages) if place not in (10, 40)))
        lost = bytearray(said)
        for place in (10 - 2, 40 - 2):
            lost[place * 160 : (place + 1) * 160] = b"\xff" * 160
        assert audio(steps) == bytes(lost)
        (notice,) = [step for step in steps if isinstance(step, Notice)]
        assert isinstance(notice.error, LostAudioError)

    @pytest.mark.parametrize(
        ("message", "said"),
        [
            (media("outbound", 1, b""), "does not name"),
            (json.dumps({"event": "media"}), "lacks the object 'media'"),
            (media("inbound", 1, b"x").replace('"eA=="', '"e!"'), "not base64"),
            (media("inbound", 1, b"x").replace('"chunk": "1"', '"chunk": "-1"'), "media.chunk"),
            (media("inbound", 1, b"x").replace('"timestamp": "0"', '"timestamp": null'), "media.timestamp"),
        ],
    )
    def test_one_that_is_wrong_says_where(self, message: str, said: str) -> None:
        with pytest.raises(ProtocolError, match=said):
            read(begun("inbound"), message)


@pytest.mark.parametrize("event", ["connected", "dtmf", "mark", "clear", "something new", None, 7])
def test_what_is_of_no_concern_is_ignored(event: Any) -> None:
    assert begun("inbound").read(json.dumps({"event": event})) == ()


@pytest.mark.parametrize("message", ["", "{", "[]", "7", "null", "[" * 5000, b"\x00"])
def test_what_is_no_message_is_refused(message: str | bytes) -> None:
    with pytest.raises(ProtocolError):
        begun("inbound").read(message)


def test_a_stop_closes_once() -> None:
    assert read(begun("inbound"), stop(), stop()) == [Close()]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "event",
                        "start",
                        "media",
                        "tracks",
                        "track",
                        "chunk",
                        "timestamp",
                        "payload",
                        "mediaFormat",
                        "customParameters",
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
    )
)
def test_nothing_raises_anything_but_our_own_errors(message: Any) -> None:
    for dialect in (a_dialect(), begun("inbound", "outbound")):
        for kind in ("start", "media", "stop"):
            body = {**message, "event": kind} if isinstance(message, dict) else message
            try:
                dialect.read(json.dumps(body))
            except StreamingError as error:
                assert len(str(error)) < 500
