"""What the server gives a browser: the page, its files, and what it has to know."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import httpx
import pytest

from streaming.alert_rules import AlertRule
from streaming.config import Settings
from tests.fakes.servers import a_server

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - a stand-in


async def get(url: str, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(f"{url}{path}", headers=headers)


def tokens(folder: Path, scopes: str) -> str:
    path = folder / "tokens"
    path.write_text(f"{hashlib.sha256(TOKEN.encode()).hexdigest()} test {scopes}\n")
    return str(path)


async def test_the_page_and_all_it_names_are_served() -> None:
    async with a_server(warm=False) as server:
        page = await get(server.http_url, "/")
        named = re.findall(r'(?:src|href)="\./(assets/[^"]+)"', page.text)
        answers = [await get(server.http_url, f"/{name}") for name in named]

    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    assert len(named) >= 3
    assert {answer.status_code for answer in answers} == {200}
    assert all("immutable" in answer.headers["cache-control"] for answer in answers)
    kinds = sorted(answer.headers["content-type"].split(";")[0].split("/")[1] for answer in answers)
    assert kinds == ["css", "javascript", "svg+xml"]


async def test_the_page_runs_its_own_scripts_alone_and_stands_in_no_frame() -> None:
    async with a_server(warm=False) as server:
        page = await get(server.http_url, "/")

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path", ["/assets/none.js", "/assets/..%2Findex.html", "/assets/../../config.toml", "/index.html"]
)
async def test_no_other_file_is_served(path: str) -> None:
    async with a_server(warm=False) as server:
        assert (await get(server.http_url, path)).status_code == 404


async def test_the_page_learns_the_rules_of_alerts() -> None:
    async with a_server(warm=False) as server:
        said = (await get(server.http_url, "/v1/dashboard")).json()

    assert said["alerts"] == [
        {"rule": "angry above 0.6 for 3 s", "measure": "angry", "side": "above", "threshold": 0.6, "for_s": 3.0},
        {"rule": "valence below 2.5 for 6 s", "measure": "valence", "side": "below", "threshold": 2.5, "for_s": 6.0},
    ]
    assert said["transcripts"] == "full"


async def test_where_tokens_are_asked_for_the_page_is_open_and_what_it_shows_is_not(tmp_path: Path) -> None:
    async with a_server(warm=False, tokens_file=tokens(tmp_path, "events")) as server:
        page = await get(server.http_url, "/")
        refused = await get(server.http_url, "/v1/dashboard")
        told = await get(server.http_url, "/v1/dashboard", Authorization=f"Bearer {TOKEN}")

    assert [page.status_code, refused.status_code, told.status_code] == [200, 401, 200]
    assert "a token is needed" in refused.text


async def test_a_token_without_the_scope_of_events_learns_nothing(tmp_path: Path) -> None:
    async with a_server(warm=False, tokens_file=tokens(tmp_path, "listen")) as server:
        refused = await get(server.http_url, "/v1/dashboard", Authorization=f"Bearer {TOKEN}")

    assert refused.status_code == 401


# --- rules as they are written in config.toml


def test_a_rule_is_read_as_it_is_said() -> None:
    assert AlertRule.parse("valence below 2.5 for 6 s") == AlertRule("valence", "below", 2.5, 6.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("angry", "is no rule: write one like 'angry above 0.6 for 3 s'"),
        ("angry over 0.6 for 3 s", "is no rule"),
        ("angry above 1.6 for 3 s", "the threshold of angry is from 0 to 1"),
        ("valence below 0.5 for 3 s", "the threshold of valence is from 1 to 7"),
        ("angry above 0.6 for 601 s", "at most 600 s"),
    ],
)
def test_a_rule_that_cannot_be_watched_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings.model_validate({"alerts": {"rules": [text]}})
