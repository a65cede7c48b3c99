"""Who may call itself Genesys."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from streaming.config import AudiohookSettings
from streaming.errors import AuthorisationError, ServerError
from streaming.protocols.audiohook_signature import SignatureCheck, open_signature_check
from tests.fakes.audiohook import API_KEY, IDS, SECRET, signed

TARGET = "/api/v1/voicebiometrics/ws"
HOST = "audiohook.example.com"
CREATED = 1_641_013_200
DOCUMENTED = {
    "host": HOST,
    **IDS,
    "x-api-key": API_KEY,
    "signature": "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:",
    "signature-input": 'sig1=("@request-target" "@authority" "audiohook-organization-id" "audiohook-session-id" '
    f'"audiohook-correlation-id" "x-api-key");keyid="{API_KEY}";nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";'
    'alg="hmac-sha256";created=1641013200;expires=3282026430',
}
"""Example 1 of Genesys' documentation."""


def a_check(at_s: float = CREATED + 5.0) -> SignatureCheck:
    return SignatureCheck(base64.b64decode(SECRET), now=lambda: at_s)


def fresh(**changes: str) -> dict[str, str]:
    return {**signed(TARGET, HOST, created=CREATED), "host": HOST, **changes}


def test_the_documented_example_is_signed() -> None:
    a_check().check(TARGET, DOCUMENTED)


def test_our_own_example_is_signed_too() -> None:
    a_check().check(TARGET, fresh())


@pytest.mark.parametrize("header", [*IDS, "host", "x-api-key", "signature"])
def test_whatever_is_changed_is_noticed(header: str) -> None:
    changed = f"{DOCUMENTED[header][:-3]}xyz"
    assert changed != DOCUMENTED[header]
    with pytest.raises(AuthorisationError):
        a_check().check(TARGET, {**DOCUMENTED, header: changed})


def test_another_target_or_secret_is_noticed() -> None:
    with pytest.raises(AuthorisationError, match="is wrong"):
        a_check().check(f"{TARGET}?x=1", DOCUMENTED)
    with pytest.raises(AuthorisationError, match="is wrong"):
        SignatureCheck(b"another", now=lambda: CREATED).check(TARGET, DOCUMENTED)


@pytest.mark.parametrize("header", DOCUMENTED)
def test_nothing_may_be_missing(header: str) -> None:
    with pytest.raises(AuthorisationError):
        a_check().check(TARGET, {name: value for name, value in DOCUMENTED.items() if name != header})


@pytest.mark.parametrize("at_s", [CREATED - 60.0, CREATED + 10.5, CREATED + 3600.0])
def test_a_stale_one_or_one_of_the_future_is_refused(at_s: float) -> None:
    with pytest.raises(AuthorisationError, match="s old"):
        a_check(at_s).check(TARGET, DOCUMENTED)


def test_one_is_good_for_one_connection() -> None:
    check = a_check()
    check.check(TARGET, DOCUMENTED)
    with pytest.raises(AuthorisationError, match="shown before"):
        check.check(TARGET, DOCUMENTED)
    check.check(TARGET, fresh())


def test_a_wrong_one_uses_up_nobodys_nonce() -> None:
    check = a_check()
    with pytest.raises(AuthorisationError, match="is wrong"):
        check.check(TARGET, {**DOCUMENTED, "signature": "sig1=:AAAA:"})
    check.check(TARGET, DOCUMENTED)


def test_nonces_are_forgotten_in_time() -> None:
    now = [float(CREATED)]
    check = SignatureCheck(base64.b64decode(SECRET), now=lambda: now[0])
    for number in range(2000):
        now[0] = CREATED + number
        nonce = f"{number:022}"
        check.check(TARGET, {**signed(TARGET, HOST, created=CREATED + number, nonce=nonce), "host": HOST})
    assert len(check._nonces) < 20


def test_a_short_nonce_is_refused() -> None:
    headers = {**signed(TARGET, HOST, created=CREATED, nonce="x" * 21), "host": HOST}
    with pytest.raises(AuthorisationError, match="nonce"):
        a_check().check(TARGET, headers)


@pytest.mark.parametrize("less", ["@request-target", "@authority", "x-api-key", "audiohook-session-id"])
def test_all_that_matters_must_be_signed(less: str) -> None:
    headers = fresh()
    headers["signature-input"] = headers["signature-input"].replace(f'"{less}"', "").replace("  ", " ")
    with pytest.raises(AuthorisationError):
        a_check().check(TARGET, headers)


@pytest.mark.parametrize(
    "value", ["", "sig1", "sig1=()", 'sig1=("a";created=1', "\x00", "sig1=(" + '"a" ' * 9999 + ")"]
)
def test_headers_that_cannot_be_read_are_refused(value: str) -> None:
    with pytest.raises(AuthorisationError):
        a_check().check(TARGET, fresh(**{"signature-input": value}))


def test_nothing_that_is_said_holds_a_secret() -> None:
    with pytest.raises(AuthorisationError) as refused:
        a_check().check(TARGET, {**DOCUMENTED, "host": "elsewhere.example.com"})
    for secret in (SECRET, API_KEY, DOCUMENTED["signature"]):
        assert secret not in str(refused.value)


def test_the_secret_comes_from_a_file(tmp_path: Path) -> None:
    assert open_signature_check(AudiohookSettings()) is None
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    check = open_signature_check(AudiohookSettings(secret_file=str(tmp_path / "secret")))
    assert check is not None
    with pytest.raises(AuthorisationError, match="s old"):
        check.check(TARGET, DOCUMENTED)


@pytest.mark.parametrize("content", [None, b"", b"no base64!", b"\xff\xfe"])
def test_a_secret_that_is_none_is_said_at_the_start(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ServerError, match=r"\[audiohook\] secret_file"):
        open_signature_check(AudiohookSettings(secret_file=str(tmp_path / "secret")))
