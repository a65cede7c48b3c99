"""Ten thousand things that nobody should send: each drawn from a seed, each with a name to be counted by."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

import numpy as np

from benchmarks.raw_websocket import EVENTS, LISTEN, Opcode, frame, handshake

MESSAGE_LIMIT_BYTES: Final = 1 << 20
"""What a server takes by default in one message."""
_HUGE: Final = (1 << 62) - 1
_CHUNK_BYTES: Final = 3200
_BEYOND_ASCII: Final = ("\xff", "\u2603", "\U0001f30a", "\x00", "\ud800")
_BAD_QUERIES: Final = (
    "encoding=opus",
    "encoding=" + "A" * 4000,
    "rate_hz=0",
    "rate_hz=-16000",
    "rate_hz=99999999999999999999",
    "rate_hz=1e4",
    "channels=0",
    "channels=999999999",
    "channels=2&channels=2",
    "roles=../../etc/passwd",
    "roles=a,b,c,d,e,f",
    "roles=%00",
    "language=%F0%9F%8C%8A",
    "language=; DROP TABLE events",
    "interim=maybe",
    "unknown=1",
    "resume=",
    "resume=" + "x" * 2000,
    "resume=AAAA&after=-1",
    "token=%ff%fe",
    "%",
    "=&=&=",
)
_BAD_SESSIONS: Final = (
    "+/#",
    "../status",
    "%2e%2e%2f",
    "#",
    "$SYS",
    "a" * 65,
    "a/b",
    "%00",
    "*&after=99999999999999999",
    "",
)
_BAD_TARGETS: Final = (
    "/../../etc/passwd",
    "/v1/listen/../../metrics",
    "//",
    "/%2e%2e/%2e%2e",
    "/v1/" + "a" * 8000,
    "*",
    "http://elsewhere.invalid/v1/listen",
)


class Afterwards(Enum):
    """What becomes of the connection."""

    RESET = auto()
    """It is cut at once."""
    READ = auto()
    """What the server says is read for a while, then it is cut."""
    HOLD = auto()
    """Nothing is read, nothing is sent, and the server is left to wait."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One message and what is around it."""

    kind: str
    data: bytes
    """That is sent: on the bare connection, or on the WebSocket."""
    target: str | None = None
    """Where a WebSocket is opened first; None for none."""
    headers: str = ""
    """More of them, for that."""
    afterwards: Afterwards = Afterwards.READ


Random = np.random.Generator


def hostile(rng: Random, host: str) -> Attack:
    """The next of them.

    Args:
        rng: draws everything.
        host: and port of the server.
    """
    names = tuple(_KINDS)
    name = names[int(rng.integers(len(names)))]
    return _KINDS[name](name, rng, host)


def hostile_kinds() -> tuple[str, ...]:
    """What there is."""
    return tuple(_KINDS)


def _noise(rng: Random, least: int, most: int) -> bytes:
    return rng.bytes(int(rng.integers(least, most)))


def _either(rng: Random, *options: str) -> str:
    return options[int(rng.integers(len(options)))]


def _ending(rng: Random) -> Afterwards:
    return (Afterwards.RESET, Afterwards.READ, Afterwards.READ)[int(rng.integers(3))]


def _random_bytes(name: str, rng: Random, _host: str) -> Attack:
    return Attack(name, _noise(rng, 1, 4096), afterwards=_ending(rng))


def _half_handshake(name: str, rng: Random, host: str) -> Attack:
    whole = handshake(host, LISTEN, key=rng.bytes(16))
    hold = rng.random() < 0.2
    cut = whole[: int(rng.integers(1, len(whole) - 1))]
    return Attack(name, cut, afterwards=Afterwards.HOLD if hold else _ending(rng))


def _endless_headers(name: str, rng: Random, host: str) -> Attack:
    line = "X-" + "a" * int(rng.integers(100, 8000)) + ": " + "b" * int(rng.integers(100, 8000)) + "\r\n"
    return Attack(name, handshake(host, LISTEN, headers=line * int(rng.integers(2, 20))), afterwards=_ending(rng))


def _wrong_handshake(name: str, rng: Random, host: str) -> Attack:
    right = handshake(host, LISTEN, key=rng.bytes(16)).decode("latin-1")
    wrong = (
        right.replace("Version: 13", "Version: " + _either(rng, "12", "-1", "13, 13", "")),
        right.replace("Upgrade: websocket", "Upgrade: " + _either(rng, "h2c", "", "websocket, websocket")),
        right.replace("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: !"),
        right.replace("GET", _either(rng, "POST", "PRI", "G\x00T", "")),
        right.replace("HTTP/1.1", _either(rng, "HTTP/0.9", "HTTP/9.9", "")),
        right.replace("\r\n\r\n", "\r\nContent-Length: 99999999999\r\n\r\n"),
        right.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n"),
        right.replace("\r\n\r\n", "\r\nHost: again\r\nHost: and.again\r\n\r\n"),
    )
    return Attack(name, wrong[int(rng.integers(len(wrong)))].encode("latin-1"), afterwards=_ending(rng))


def _wrong_target(name: str, rng: Random, host: str) -> Attack:
    method = _either(rng, "GET", "PUT", "DELETE", "HEAD", "OPTIONS")
    request = f"{method} {_either(rng, *_BAD_TARGETS)} HTTP/1.1\r\nHost: {host}\r\n\r\n"
    return Attack(name, request.encode("latin-1"), afterwards=_ending(rng))


def _wrong_query(name: str, rng: Random, _host: str) -> Attack:
    return Attack(name, b"", target=f"{LISTEN}?{_either(rng, *_BAD_QUERIES)}")


def _wrong_subscription(name: str, rng: Random, _host: str) -> Attack:
    said = frame(Opcode.BINARY if rng.random() < 0.5 else Opcode.TEXT, _noise(rng, 0, 200))
    return Attack(name, said, target=f"{EVENTS}?session={_either(rng, *_BAD_SESSIONS)}", afterwards=_ending(rng))


def _noise_for_audio(name: str, rng: Random, _host: str) -> Attack:
    encoding = _either(rng, "pcm_s16le", "f32le", "mulaw", "alaw")
    return Attack(
        name,
        frame(Opcode.BINARY, _noise(rng, 1, 2 * _CHUNK_BYTES)),
        target=f"{LISTEN}?encoding={encoding}",
        afterwards=_ending(rng),
    )


def _floats_that_are_none(name: str, rng: Random, _host: str) -> Attack:
    values = (float("nan"), float("inf"), float("-inf"), 3.4e38, -3.4e38, 1e-45)
    drawn = [values[place] for place in rng.integers(len(values), size=400)]
    audio = struct.pack(f"<{len(drawn)}f", *drawn)
    return Attack(name, frame(Opcode.BINARY, audio), target=f"{LISTEN}?encoding=f32le", afterwards=_ending(rng))


def _text_for_audio(name: str, rng: Random, _host: str) -> Attack:
    texts = ("hello", '{"type": "flush"', '{"type": "Flush"}', "[]", "null", "0", '{"type": "flush", "x": 1}', "")
    text = _either(rng, *texts, "a" * int(rng.integers(1000, 100_000)))
    return Attack(name, frame(Opcode.TEXT, text.encode()), target=LISTEN, afterwards=_ending(rng))


def _deep_json(name: str, rng: Random, _host: str) -> Attack:
    depth = int(rng.choice([100, 500, 1000, 100_000]))
    opening = _either(rng, "[", '{"type":')
    return Attack(name, frame(Opcode.TEXT, (opening * depth).encode()), target=LISTEN, afterwards=_ending(rng))


def _strange_json(name: str, rng: Random, _host: str) -> Attack:
    key = "type" + _either(rng, "", "", *_BEYOND_ASCII[:-1])
    value = _either(rng, "flush", "close\x00", "session.ended", "keepalive " * 50)
    control = json.dumps({key: value if rng.random() < 0.5 else {"type": [value] * 20}})
    return Attack(name, frame(Opcode.TEXT, control.encode()), target=LISTEN, afterwards=_ending(rng))


def _bad_utf8(name: str, rng: Random, _host: str) -> Attack:
    bad = (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b'{"type": "flush\xc3"}', b"\xe2\x98")
    return Attack(name, frame(Opcode.TEXT, bad[int(rng.integers(len(bad)))]), target=LISTEN, afterwards=_ending(rng))


def _wrong_opcode(name: str, rng: Random, _host: str) -> Attack:
    opcode = int(rng.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15]))
    return Attack(name, frame(opcode, _noise(rng, 0, 100)), target=LISTEN, afterwards=_ending(rng))


def _wrong_frame(name: str, rng: Random, _host: str) -> Attack:
    wrong = (
        frame(Opcode.BINARY, b"unmasked", mask=None),
        frame(Opcode.BINARY, b"compressed, it says", rsv=4),
        frame(Opcode.BINARY, b"reserved", rsv=3),
        frame(Opcode.CONTINUATION, b"of nothing"),
        frame(Opcode.PING, b"p" * 126),
        frame(Opcode.PING, b"in pieces", fin=False),
        frame(Opcode.TEXT, b"one", fin=False) + frame(Opcode.TEXT, b"two", fin=False),
        frame(Opcode.BINARY, b"", fin=False) * 50,
        frame(Opcode.PING, b"p") * 200,
    )
    return Attack(name, wrong[int(rng.integers(len(wrong)))], target=LISTEN, afterwards=_ending(rng))


def _wrong_close(name: str, rng: Random, _host: str) -> Attack:
    payloads = (
        b"\x03",
        b"\x00\x00",
        b"\x03\xe7",
        b"\x03\xed",
        b"\xff\xff",
        b"\x03\xe8\xff\xfe",
        b"\x03\xe8" + b"r" * 124,
    )
    return Attack(name, frame(Opcode.CLOSE, payloads[int(rng.integers(len(payloads)))]), target=LISTEN)


def _huge_claim(name: str, rng: Random, _host: str) -> Attack:
    claimed = int(rng.choice([MESSAGE_LIMIT_BYTES + 1, 1 << 31, 1 << 40, _HUGE]))
    data = frame(Opcode.BINARY, _noise(rng, 0, 5000), claimed=claimed)
    return Attack(name, data, target=LISTEN, afterwards=_ending(rng))


def _cut_in_the_middle(name: str, rng: Random, _host: str) -> Attack:
    whole = frame(Opcode.BINARY, rng.bytes(_CHUNK_BYTES))
    return Attack(name, whole[: int(rng.integers(1, len(whole)))], target=LISTEN, afterwards=Afterwards.RESET)


def _wrong_headers(name: str, rng: Random, _host: str) -> Attack:
    headers = (
        "Authorization: Bearer " + "a" * 4000 + "\r\n",
        "Authorization: Basic \xff\xfe\r\n",
        "Origin: https://elsewhere.invalid\r\n",
        "Sec-WebSocket-Protocol: " + "x, " * 500 + "\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99\r\n",
        "Sec-WebSocket-Extensions: " + "permessage-deflate; " * 200 + "\r\n",
    )
    chosen = headers[int(rng.integers(len(headers)))]
    return Attack(name, frame(Opcode.BINARY, bytes(320)), target=LISTEN, headers=chosen, afterwards=_ending(rng))


_KINDS: Final[Mapping[str, Callable[[str, Random, str], Attack]]] = MappingProxyType(
    {
        "random bytes": _random_bytes,
        "half a handshake": _half_handshake,
        "headers without end": _endless_headers,
        "wrong handshake": _wrong_handshake,
        "wrong path": _wrong_target,
        "wrong query": _wrong_query,
        "wrong subscription": _wrong_subscription,
        "wrong headers": _wrong_headers,
        "noise for audio": _noise_for_audio,
        "numbers that are none": _floats_that_are_none,
        "text for audio": _text_for_audio,
        "deep JSON": _deep_json,
        "strange JSON": _strange_json,
        "bad UTF-8": _bad_utf8,
        "wrong opcode": _wrong_opcode,
        "wrong frame": _wrong_frame,
        "wrong close": _wrong_close,
        "huge length": _huge_claim,
        "message cut in the middle": _cut_in_the_middle,
    }
)
