"""The native protocol's query and messages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.audio.codecs import Encoding
from streaming.errors import AudioFormatError, ProtocolError, StreamingError
from streaming.protocols.dialect import Audio, Close, Flush, KeepAlive, ListenRequest
from streaming.protocols.native import read_listen, read_message


def request(max_channels: int = 2, **parameters: str) -> ListenRequest:
    return read_listen(parameters.items(), max_channels=max_channels)


def test_everything_has_a_default() -> None:
    asked = request()

    assert asked.audio.encoding is Encoding.PCM16
    assert (asked.audio.rate_hz, asked.audio.channels) == (16_000, 1)
    assert (asked.roles, asked.language, asked.interim) == (("customer",), None, True)


def test_everything_can_be_chosen() -> None:
    asked = request(
        encoding="mulaw", rate_hz="8000", channels="2", language="en", interim="false", roles="customer,agent"
    )

    assert asked.audio.encoding is Encoding.MULAW
    assert (asked.audio.rate_hz, asked.audio.channels) == (8000, 2)
    assert (asked.roles, asked.language, asked.interim) == (("customer", "agent"), "en", False)


def test_channels_without_a_role_are_customers() -> None:
    assert request(channels="2", roles="agent").roles == ("agent", "customer")


def test_the_token_is_left_to_the_gate() -> None:
    assert request(token="abc") == request()  # noqa: S106 - a stand-in


@pytest.mark.parametrize("encoding", ["opus", "PCM_S16LE", "", "pcm_s16le "])
def test_an_unknown_encoding_is_named_with_the_known_ones(encoding: str) -> None:
    with pytest.raises(AudioFormatError, match="use one of pcm_s16le, mulaw, alaw, f32le"):
        request(encoding=encoding)


@pytest.mark.parametrize("rate_hz", ["0", "7999", "192001", "999999999"])
def test_rates_outside_8_to_192_khz_are_refused(rate_hz: str) -> None:
    with pytest.raises(AudioFormatError, match=rate_hz):
        request(rate_hz=rate_hz)


@pytest.mark.parametrize("rate_hz", ["8000", "192000", "44100"])
def test_rates_from_8_to_192_khz_are_taken(rate_hz: str) -> None:
    assert request(rate_hz=rate_hz).audio.rate_hz == int(rate_hz)


@pytest.mark.parametrize("channels", ["0", "3", "99"])
def test_channels_beyond_the_servers_limit_are_refused(channels: str) -> None:
    with pytest.raises(AudioFormatError, match="channels must be 1 to 2"):
        request(channels=channels)


@pytest.mark.parametrize("value", ["", "-1", "1.5", "1e4", " 8000", "\uff18\uff10\uff10\uff10", "9" * 5000])
def test_numbers_are_plain_decimal(value: str) -> None:
    with pytest.raises(ProtocolError, match="'rate_hz' must be a whole number"):
        request(rate_hz=value)


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"sample_rate": "16000"}, "unknown parameter 'sample_rate': known ones are encoding, rate_hz"),
        ({"interim": "yes"}, "'interim' must be true or false"),
        ({"language": "english"}, "'language' must be an ISO 639 code"),
        ({"roles": "customer,agent"}, r"2 roles for 1 channel\(s\)"),
        ({"roles": "a/b"}, "role 'a/b' is not made of"),
        ({"roles": "customer\n"}, "role 'customer.*' is not made of"),
    ],
)
def test_what_cannot_be_read_is_named(parameters: dict[str, str], complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        request(**parameters)


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(ProtocolError, match="'channels' is given twice"):
        read_listen([("channels", "1"), ("channels", "2")], max_channels=2)


@given(
    st.lists(
        st.tuples(st.sampled_from(["encoding", "rate_hz", "channels", "language", "roles", "x"]), st.text(max_size=80)),
        max_size=4,
    )
)
def test_no_query_raises_anything_but_our_own_errors(parameters: list[tuple[str, str]]) -> None:
    try:
        asked = read_listen(parameters, max_channels=2)
    except StreamingError as error:
        assert len(str(error)) < 1000
    else:
        assert len(asked.roles) == asked.audio.channels


@given(st.binary())
def test_binary_messages_are_audio_whatever_they_hold(data: bytes) -> None:
    assert read_message(data) == Audio(data)


@pytest.mark.parametrize(("kind", "meaning"), [("flush", Flush()), ("keepalive", KeepAlive()), ("close", Close())])
def test_text_messages_are_controls(kind: str, meaning: object) -> None:
    assert read_message(json.dumps({"type": kind})) == meaning


@pytest.mark.parametrize("text", ["", "hello", "{", "RIFF....WAVE", "[" * 1000, "1" * 1000])
def test_text_that_is_no_json_is_told_where_audio_goes(text: str) -> None:
    with pytest.raises(ProtocolError, match=r"audio goes in binary messages|control message is not known"):
        read_message(text)


@pytest.mark.parametrize(
    "control", [None, 1, [], {}, {"type": "stop"}, {"type": ["close"]}, {"type": {}}, {"type": "close", "now": True}]
)
def test_other_json_is_no_control(control: object) -> None:
    with pytest.raises(ProtocolError, match=r'text messages are \{"type": "flush"\}'):
        read_message(json.dumps(control))


def test_a_long_text_is_refused_without_being_parsed() -> None:
    with pytest.raises(ProtocolError, match="a text message of 100000 characters is no control"):
        read_message(" " * 100_000)


@given(st.text(max_size=200))
def test_no_text_raises_anything_but_a_protocol_error(text: str) -> None:
    try:
        read_message(text)
    except ProtocolError as error:
        assert "text" in str(error)
