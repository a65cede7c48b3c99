"""`medusa weights`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.console import main
from tests.fakes.weights import MODEL, register_toy, write_files


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, filled from a folder that holds the toy."""
    register_toy(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDUSA_WEIGHTS__CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDUSA_WEIGHTS__SOURCES", "folder")
    monkeypatch.setenv("MEDUSA_WEIGHTS__FOLDER", str(write_files(tmp_path / "mine")))
    return tmp_path / "cache"


def states(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()]


def test_fetch_brings_everything_and_list_shows_it(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    assert main(["weights", "list", "--json"]) == 0
    assert states(capsys) == ["absent"]
    assert main(["weights", "fetch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "toy", "folder": str(cache / "toy")}
    assert main(["weights", "list", "--json"]) == 0
    assert states(capsys) == ["ready"]


def test_verify_fails_on_damage_and_names_the_file(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    main(["weights", "fetch"])
    (cache / "toy" / "model.bin").write_bytes(MODEL.upper())
    capsys.readouterr()
    assert main(["weights", "verify"]) == 1
    captured = capsys.readouterr()
    assert "model.bin has SHA-256" in captured.out
    assert captured.err == "medusa: error: weights are damaged or absent; run medusa weights fetch\n"


@pytest.mark.parametrize(("names", "code"), [([], 0), (["toy"], 1)])
def test_absent_weights_fail_verification_only_when_named(names: list[str], code: int) -> None:
    assert main(["weights", "verify", *names]) == code


def test_the_config_file_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.toml").write_text("[weights]\ncahce = ''\n")
    assert main(["weights", "list", "--config", str(tmp_path / "other.toml")]) == 1
    assert capsys.readouterr().err.endswith("other.toml:2: [weights] cahce: unknown key; did you mean cache?\n")


@pytest.mark.parametrize("command", [["weights"], ["weights", "list"], ["weights", "fetch"], ["weights", "verify"]])
def test_every_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    assert "Example: medusa weights" in capsys.readouterr().out
