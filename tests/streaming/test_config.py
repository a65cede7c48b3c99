"""config.toml: defaults, bounds, overrides, and errors that name the place."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from streaming.config import ServerSettings, Settings, load_settings
from streaming.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "config.toml"


@pytest.fixture(autouse=True)
def _no_settings_but_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("MEDUSA_")]:
        monkeypatch.delenv(variable)


def written(text: str) -> Path:
    path = Path("config.toml")
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    return str(caught.value).splitlines()


def keys() -> Iterator[tuple[str, str, Any]]:
    """Every section, key and default in the code."""
    for section, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, BaseModel)
        for key in field.annotation.model_fields:
            yield section, key, getattr(field.default, key)


def commented() -> dict[tuple[str, str], tuple[str, str]]:
    """The comment above each key of the shipped file, and the value as written."""
    found = {}
    section, comment = "", ""
    for line in SHIPPED.read_text(encoding="utf-8").splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section, comment = header[1], ""
        elif line.startswith("#"):
            comment += line.removeprefix("#")
        elif assignment := re.fullmatch(r"(\w+) = (.*)", line):
            found[section, assignment[1]] = (comment.strip(), assignment[2])
            comment = ""
    return found


class TestShippedFile:
    def test_it_says_the_defaults_of_the_code(self) -> None:
        assert load_settings(SHIPPED) == Settings()

    def test_it_names_every_key(self) -> None:
        assert set(commented()) == {(section, key) for section, key, _ in keys()}

    @pytest.mark.parametrize(("section", "key"), [(section, key) for section, key, _ in keys()])
    def test_every_key_has_a_comment_with_its_default_and_bounds(self, section: str, key: str) -> None:
        comment, value = commented()[section, key]
        explanation, default, bounds = re.split(r"Default: |\. Bounds: ", comment)
        assert explanation.strip()
        assert default == value
        assert bounds.strip().endswith(".")

    @pytest.mark.parametrize(("section", "key"), [(section, key) for section, key, _ in keys()])
    def test_the_bounds_in_the_comment_are_those_of_the_code(self, section: str, key: str) -> None:
        model = Settings.model_fields[section].annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        schema = model.model_json_schema()["properties"][key]
        bounds = commented()[section, key][0].rpartition("Bounds: ")[2]
        limits = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "maxLength")
        for limit in (schema[name] for name in limits if name in schema):
            assert re.search(rf"(?<![\d.-]){re.escape(f'{limit:g}' if limit < 1e6 else str(limit))}(?!\.?\d)", bounds)
        for choice in schema.get("enum", [schema["const"]] if "const" in schema else []):
            assert f'"{choice}"' in bounds

    def test_it_says_why_agents_are_not_scored(self) -> None:
        comment, value = commented()["roles", "score_agents"]
        assert value == "false"
        assert "Art. 5(1)(f)" in comment
        assert "not legal advice" in comment


class TestSources:
    def test_without_a_file_the_defaults_hold(self) -> None:
        assert load_settings() == Settings()

    def test_the_file_in_the_working_folder_is_found(self) -> None:
        written("[server]\nport = 9000\n")
        assert load_settings().server.port == 9000

    def test_a_named_file_is_read_instead(self, tmp_path: Path) -> None:
        written("[server]\nport = 9000\n")
        (tmp_path / "other.toml").write_text("[server]\nport = 9001\n")
        assert load_settings(tmp_path / "other.toml").server.port == 9001

    def test_the_environment_beats_the_file_key_by_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written('[server]\nport = 9000\nhost = "::1"\n')
        monkeypatch.setenv("MEDUSA_SERVER__PORT", "9001")
        assert load_settings().server == ServerSettings(host="::1", port=9001)

    def test_keyword_arguments_beat_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MEDUSA_SERVER__PORT", "9001")
        assert Settings(server=ServerSettings(port=9002)).server.port == 9002

    @pytest.mark.parametrize("text", ["hub,wheel", "hub, wheel", '["hub", "wheel"]'])
    def test_a_list_in_the_environment_is_json_or_has_commas(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MEDUSA_WEIGHTS__SOURCES", text)
        assert load_settings().weights.sources == ("hub", "wheel")

    @pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("off", False)])
    def test_switches_in_the_environment(self, text: str, value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MEDUSA_MQTT__ENABLED", text)
        assert load_settings().mqtt.enabled is value

    def test_whole_seconds_may_be_written_without_a_point(self) -> None:
        written("[asr]\ninterim_s = 2\n")
        assert load_settings().asr.interim_s == 2.0

    def test_settings_cannot_be_changed(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            load_settings().server.port = 1

    def test_the_password_is_not_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MEDUSA_MQTT__PASSWORD", "swordfish")
        assert load_settings().mqtt.password == "swordfish"  # noqa: S105 - made up
        assert "swordfish" not in repr(load_settings())


class TestOrigins:
    @pytest.mark.parametrize(
        "origin",
        [
            "https://app.example",
            "http://localhost:3000",
            "http://[::1]:8080",
            "chrome-extension://abcdef",
            "http://a:443",
        ],
    )
    def test_an_origin_as_browsers_write_it_is_taken(self, origin: str) -> None:
        assert ServerSettings(origins=(origin,)).origins == (origin,)

    @pytest.mark.parametrize(
        "origin",
        [
            "",
            "*",
            "null",
            "app.example",
            "https://app.example/",
            "https://app.example:443",
            "http://a:80",
            "https://A.b",
        ],
    )
    def test_what_no_browser_would_send_is_an_error_rather_than_a_rule_that_never_holds(self, origin: str) -> None:
        with pytest.raises(ValueError, match="as browsers do"):
            ServerSettings(origins=(origin,))


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param(
                "[server]\n\nprot = 1\n", "config.toml:3: [server] prot: unknown key; did you mean port?", id="key"
            ),
            pytest.param("\n[srever]\n", "config.toml:2: unknown section [srever]; did you mean server?", id="section"),
            pytest.param(
                "port = 1\n",
                "config.toml:1: unknown key port; there are server, mqtt, asr, vad, ensemble, emotion, roles, "
                "twilio, audiohook, wyoming, home_assistant, privacy, alerts, batcher, weights, logging",
                id="key outside a section",
            ),
            pytest.param(
                "server.port = true\n",
                "config.toml:1: [server] port: should be a valid integer, got True",
                id="type",
            ),
            pytest.param(
                '[server]\nport = "8765"\n',
                "config.toml:2: [server] port: should be a valid integer, got '8765'",
                id="number in quotes",
            ),
            pytest.param(
                "[vad]\nthreshold = nan\n",
                "config.toml:2: [vad] threshold: should be a finite number, got nan",
                id="no number",
            ),
            pytest.param(
                "[vad]\n# x\nkind = 'webtrc'\n",
                "config.toml:3: [vad] kind: should be 'webrtc' or 'silero', got 'webtrc'",
                id="choice",
            ),
            pytest.param(
                "[weights]\nsources = [\n 'hub',\n 'hub',\n]\n",
                "config.toml:2: [weights] sources: each source may be named once, got ['hub', 'hub']",
                id="list",
            ),
            pytest.param(
                "[server]\norigins = ['https://App.example']\n",
                "config.toml:2: [server] origins: an origin is written as browsers do: scheme, :// and host in lower "
                "case, a port only where it is not the scheme's own, no path, such as https://app.example, got "
                "'https://App.example'",
                id="origin",
            ),
            pytest.param(
                "[server]\ntrusted_proxies = ['proxy.example']\n",
                "config.toml:2: [server] trusted_proxies: an IP address is needed, such as 10.0.0.2, got "
                "'proxy.example'",
                id="address",
            ),
            pytest.param(
                "server = 1\n",
                "config.toml:1: [server]: should be an object, got 1",
                id="no table",
            ),
            pytest.param(
                "[vad]\npause_ms = 700\n",
                "config.toml:1: [vad]: pause_ms must not be above endpoint_min_ms, got 700 and 500; "
                "lower the one or raise the other",
                id="two keys together",
            ),
            pytest.param(
                "[vad]\nendpoint_ms = 1000\n",
                "config.toml:1: [vad]: endpoint_ms must not be above endpoint_max_ms, got 1000 and 900; "
                "lower the one or raise the other",
                id="a key and the bound of it",
            ),
            pytest.param(
                "[server]\ntls_cert = 'a.pem'\n",
                "config.toml:1: [server]: tls_cert and tls_key go together; set both or neither",
                id="half a pair",
            ),
        ],
    )
    def test_the_line_and_the_reason_are_named(self, text: str, expected: str) -> None:
        written(text)
        assert problems() == [expected]

    def test_every_problem_is_told_at_once(self) -> None:
        written("[server]\nport = -1\nmax_sessions = 0\n[vad]\nkind = 1\n")
        assert [line.split(" ")[0] for line in problems()] == ["config.toml:2:", "config.toml:3:", "config.toml:5:"]

    @pytest.mark.parametrize(
        ("variable", "value", "reason"),
        [
            ("MEDUSA_SERVER__PORT", "http", "should be a valid integer, unable to parse string as an integer"),
            ("MEDUSA_SERVER__PORT", "70000", "should be less than or equal to 65535, got '70000'"),
            ("MEDUSA_SERVER__PROT", "1", "unknown key; did you mean port?"),
            ("MEDUSA_SRVER__PORT", "1", "unknown section; did you mean MEDUSA_SERVER?"),
            ("MEDUSA_SERVER_PORT", "1", "did you mean MEDUSA_SERVER__PORT, with two underscores?"),
            ("MEDUSA_SERVER", "1", "should be a valid dictionary"),
            ("MEDUSA_WEIGHTS__SOURCES", "hub,web", "should be 'folder', 'wheel' or 'hub', got 'web'"),
        ],
    )
    def test_the_environment_variable_is_named(
        self, variable: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(variable, value)
        (problem,) = problems()
        assert problem.startswith(f"environment variable {variable}: {reason}")

    def test_a_rule_between_keys_is_judged_after_all_sources_are_merged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written("[vad]\nendpoint_ms = 900\nendpoint_min_ms = 900\n")
        monkeypatch.setenv("MEDUSA_VAD__PAUSE_MS", "800")
        assert load_settings().vad.pause_ms == 800
        monkeypatch.setenv("MEDUSA_VAD__PAUSE_MS", "1000")
        (problem,) = problems()
        assert problem.startswith("config.toml:1 and environment variable MEDUSA_VAD__PAUSE_MS: [vad]: pause_ms")

    def test_a_secret_is_not_repeated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MEDUSA_MQTT__PASSWORD", "secret" * 100)
        (problem,) = problems()
        assert "secret" not in problem

    def test_variables_of_other_programs_are_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MEDUSA_HOME", "/x")
        assert load_settings() == Settings()

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"[server\n", r"config\.toml: is not valid TOML: .*line 1"),
            (b"[server]\nhost = '\xff'\n", r"config\.toml:2: is not UTF-8 text"),
        ],
    )
    def test_a_file_that_is_no_toml_is_named(self, data: bytes, reason: str) -> None:
        Path("config.toml").write_bytes(data)
        (problem,) = problems()
        assert re.match(reason, problem)

    def test_a_file_that_is_not_there_is_named(self) -> None:
        assert problems(Path("absent.toml"))[0].startswith("absent.toml: there is no such file")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(port=st.integers(-(10**6), 10**6), blank_lines=st.integers(0, 20))
def test_a_port_is_taken_exactly_or_refused_at_its_line(port: int, blank_lines: int) -> None:
    path = written("[server]" + "\n" * (blank_lines + 1) + f"port = {port}\n")
    if 0 <= port <= 65535:
        assert load_settings(path).server.port == port
    else:
        (problem,) = problems(path)
        assert problem.startswith(f"config.toml:{blank_lines + 2}: [server] port: ")
        assert problem.endswith(f"got {port}")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.dictionaries(st.text("abcdefghijkl_", min_size=1, max_size=12), st.integers(), max_size=5))
def test_no_unknown_key_goes_unnoticed(table: dict[str, int]) -> None:
    unknown = [key for key in table if key not in ServerSettings.model_fields]
    path = written("[server]\n" + "".join(f"{key} = 1\n" for key in unknown))
    if unknown:
        assert [line.split(": ")[1] for line in problems(path)] == [f"[server] {key}" for key in unknown]
    else:
        assert load_settings(path) == Settings()
    tomllib.loads(path.read_text())
