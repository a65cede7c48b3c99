"""Bytes and samples."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streaming.audio.codecs import Decoder, Encoding, decode, encode
from streaming.errors import AudioFormatError

ENCODINGS = list(Encoding)


def mulaw_values() -> list[int]:
    """ITU-T G.711, table 2: the 128 decoder output values, 14 bits, in order of magnitude, by its eight segments."""
    values = list(range(0, 32, 2))
    for start, step in ((33, 4), (99, 8), (231, 16), (495, 32), (1023, 64), (2079, 128), (4191, 256)):
        values += [start + step * i for i in range(16)]
    return values


def alaw_values() -> list[int]:
    """ITU-T G.711, table 1: the 128 decoder output values, 13 bits, in order of magnitude, by its segments."""
    values = list(range(1, 64, 2))
    for start, step in ((66, 4), (132, 8), (264, 16), (528, 32), (1056, 64), (2112, 128)):
        values += [start + step * i for i in range(16)]
    return values


def every_byte() -> bytes:
    return bytes(range(256))


def ffmpeg(name: str, data: bytes) -> NDArray[np.float32]:
    codec = av.CodecContext.create(name, "r")
    codec.sample_rate, codec.layout = 8000, "mono"
    return codec.decode(av.Packet(data))[0].to_ndarray()[0].astype(np.float32) / 32_768


def test_mulaw_bytes_stand_for_the_values_of_the_itu_table() -> None:
    # Character signals are sent inverted: 0xFF is the smallest positive value, 0x80 the greatest.
    positive = decode(bytes(0xFF - i for i in range(128)), Encoding.MULAW)
    negative = decode(bytes(0x7F - i for i in range(128)), Encoding.MULAW)
    expected = np.array(mulaw_values(), dtype=np.float32) * 4 / 32_768
    np.testing.assert_array_equal(positive, expected)
    np.testing.assert_array_equal(negative, -expected)


def test_alaw_bytes_stand_for_the_values_of_the_itu_table() -> None:
    # Even bits are sent inverted: 0xD5 is the smallest positive value.
    positive = decode(bytes((0x80 | i) ^ 0x55 for i in range(128)), Encoding.ALAW)
    negative = decode(bytes(i ^ 0x55 for i in range(128)), Encoding.ALAW)
    expected = np.array(alaw_values(), dtype=np.float32) * 8 / 32_768
    np.testing.assert_array_equal(positive, expected)
    np.testing.assert_array_equal(negative, -expected)


@pytest.mark.parametrize("encoding", [Encoding.MULAW, Encoding.ALAW])
def test_g711_agrees_with_ffmpeg_on_every_byte(encoding: Encoding) -> None:
    np.testing.assert_array_equal(decode(every_byte(), encoding), ffmpeg(f"pcm_{encoding.value}", every_byte()))


@pytest.mark.parametrize("encoding", [Encoding.MULAW, Encoding.ALAW])
def test_every_g711_byte_survives_the_round_trip(encoding: Encoding) -> None:
    again = encode(decode(every_byte(), encoding), encoding)
    # mu-law has two zeros; the negative one comes back as the positive.
    expected = every_byte().replace(b"\x7f", b"\xff") if encoding is Encoding.MULAW else every_byte()
    assert again == expected


@pytest.mark.parametrize(("encoding", "byte"), [(Encoding.MULAW, 0xFF), (Encoding.ALAW, 0xD5)])
def test_silence_is_what_telephones_send_as_silence(encoding: Encoding, byte: int) -> None:
    assert encode(np.zeros(3), encoding) == bytes([byte] * 3)


@pytest.mark.parametrize("encoding", [Encoding.MULAW, Encoding.ALAW])
@given(level=st.floats(-1, 1))
def test_g711_takes_the_nearest_of_its_values(encoding: Encoding, level: float) -> None:
    table = decode(every_byte(), encoding)
    sent = decode(encode(np.array([level]), encoding), encoding)[0]
    assert abs(sent - level) == pytest.approx(np.abs(table - level).min(), abs=1e-7)


def test_pcm16_spans_its_whole_range() -> None:
    assert encode(np.array([-1.0, 0.0, 1.0]), Encoding.PCM16) == b"\x00\x80\x00\x00\xff\x7f"
    np.testing.assert_array_equal(decode(b"\x00\x80\x00\x40", Encoding.PCM16), np.float32([-1, 0.5]))


@given(st.lists(st.integers(-32_768, 32_767)))
def test_pcm16_survives_the_round_trip(values: list[int]) -> None:
    data = np.array(values, dtype="<i2").tobytes()
    assert encode(decode(data, Encoding.PCM16), Encoding.PCM16) == data


@given(st.lists(st.floats(-1, 1, width=32)))
def test_float32_survives_the_round_trip(values: list[float]) -> None:
    samples = np.array(values, dtype=np.float32)
    np.testing.assert_array_equal(decode(encode(samples, Encoding.FLOAT32), Encoding.FLOAT32), samples)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_passes_full_scale_is_encoded_as_full_scale(encoding: Encoding) -> None:
    assert encode(np.array([7.0, -7.0]), encoding) == encode(np.array([1.0, -1.0]), encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_not_encoded(encoding: Encoding, bad: float) -> None:
    with pytest.raises(AudioFormatError, match="not finite"):
        encode(np.array([0.0, bad]), encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.data(), channels=st.integers(1, 3))
def test_how_bytes_are_cut_changes_no_sample(encoding: Encoding, data: st.DataObject, channels: int) -> None:
    stream = data.draw(st.binary(max_size=200))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    whole, pieces = Decoder(encoding, channels), Decoder(encoding, channels)
    expected = whole.push(stream)
    parts = [pieces.push(stream[a:b]) for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)
    assert pieces.flush() == whole.flush() == len(stream) - expected.size * encoding.sample_bytes
    assert (pieces.repaired_samples, pieces.clipped_samples) == (whole.repaired_samples, whole.clipped_samples)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(stream=st.binary(max_size=400))
def test_any_bytes_give_finite_samples_within_full_scale(encoding: Encoding, stream: bytes) -> None:
    samples = Decoder(encoding).push(stream)
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()
    assert (np.abs(samples) <= 1).all()


def test_channels_are_told_apart() -> None:
    interleaved = np.array([0.1, -0.1, 0.2, -0.2], dtype="<f4").tobytes()
    np.testing.assert_allclose(Decoder(Encoding.FLOAT32, 2).push(interleaved), [[0.1, 0.2], [-0.1, -0.2]], atol=1e-7)


def test_a_frame_that_lacks_a_channel_waits_for_it() -> None:
    decoder = Decoder(Encoding.PCM16, 2)
    assert decoder.push(b"\x00\x40\x00").shape == (2, 0)
    np.testing.assert_array_equal(decoder.push(b"\xc0"), [[0.5], [-0.5]])
    assert decoder.flush() == 0


def test_flush_tells_how_many_bytes_made_no_sample() -> None:
    decoder = Decoder(Encoding.PCM16, 2)
    decoder.push(b"\x00\x00\x00\x00\x00")
    assert decoder.flush() == 1
    assert decoder.push(b"\x00\x00\x00").shape == (2, 0)


def test_samples_that_are_not_finite_become_silence_and_are_counted() -> None:
    decoder = Decoder(Encoding.FLOAT32)
    broken = np.array([0.5, np.nan, np.inf, -np.inf, -0.5], dtype="<f4").tobytes()
    np.testing.assert_array_equal(decoder.push(broken), [[0.5, 0, 0, 0, -0.5]])
    assert (decoder.repaired_samples, decoder.clipped_samples) == (3, 0)


def test_samples_beyond_full_scale_are_brought_back_and_counted() -> None:
    decoder = Decoder(Encoding.FLOAT32)
    np.testing.assert_array_equal(decoder.push(np.array([1.5, -3, 1], dtype="<f4").tobytes()), [[1, -1, 1]])
    assert (decoder.repaired_samples, decoder.clipped_samples) == (0, 2)


def test_an_unknown_encoding_is_answered_with_the_known_ones() -> None:
    with pytest.raises(AudioFormatError, match=r"'opus': use one of pcm_s16le, mulaw, alaw, f32le"):
        Encoding.named("opus")


def test_encodings_are_found_by_name() -> None:
    assert [Encoding.named(encoding.value) for encoding in ENCODINGS] == ENCODINGS


def test_a_stream_without_channels_is_refused() -> None:
    with pytest.raises(AudioFormatError, match="at least one channel, got 0"):
        Decoder(Encoding.PCM16, 0)
