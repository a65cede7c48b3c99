"""What the documentation says is so: its commands parse, its examples run, its links lead somewhere."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import sys
import tomllib
import wave
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import jsonschema
import pytest

from models.console import medusa
from streaming.config import Settings, load_settings
from streaming.events import parse_event
from streaming.protocols.native import read_listen, read_message
from tests.fakes.command_lines import epilogs, parse
from tests.fakes.corpora import write_clips
from tests.fakes.markdown import Document, shell_commands, table
from tests.fakes.servers import PATIENCE_S, a_server
from tests.fakes.shell import pcm, silence, speech
from trainer.corpora.generic import load_manifest
from trainer.recipe import RECIPES, parse_recipe

ROOT = Path(__file__).parents[1]
ROOMS = ("models", "streaming", "trainer", "benchmarks", "tests", "docs")
OTHERS = {"__pycache__", "node_modules"}
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(page for room in ROOMS for page in (ROOT / room).rglob("*.md") if not OTHERS & set(page.parts)),
    ]
)
README = Document(ROOT / "README.md")
EVENTS = Document(ROOT / "docs" / "events.md")
SCHEMA = json.loads((ROOT / "streaming" / "events.schema.json").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CALL = pcm(speech(1.6), silence(1.0))
WRITTEN_BY_PEOPLE = {".md", ".py", ".sh", ".toml", ".json", ".yaml", ".svg", ""}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_every_medusa_command_of_a_page_would_be_accepted(page: Path) -> None:
    document = Document(page)
    for command in document.commands():
        if command.words[0] == "medusa":
            parse(command.words[1:], whole=command in document.shell())


def test_the_commands_that_readers_need_are_shown() -> None:
    shown = {command.words[:2] for page in PAGES for command in Document(page).commands()}

    assert {("medusa", name) for name in ("demo", "serve", "stream", "analyze", "train", "evaluate")} <= shown
    assert {("make", "demo"), ("make", "test")} <= {command.words[:2] for command in README.commands()}


def test_every_example_in_the_help_would_be_accepted() -> None:
    examples = epilogs(medusa, click.Context(medusa))

    assert len(examples) > len(PROJECT["project"]["entry-points"]["medusa.commands"])
    for example in examples:
        (command, *_) = shell_commands(example)
        parse(command.words[1:])


@pytest.mark.parametrize(
    "line", ["serv", "serve --prot 1", "serve --port many", "train --config base", "features extrakt", "demo now"]
)
def test_a_command_that_does_not_exist_so_is_noticed(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line.split())


@every_page
def test_every_make_target_and_module_of_a_page_exists(page: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for command in Document(page).commands():
        if command.words[0] == "make":
            assert set(command.words[1:]) <= set(targets), command
        if command.words[:2] == ("python", "-m"):
            assert importlib.util.find_spec(command.words[2]) is not None, command


@every_page
def test_every_setting_a_page_names_exists(page: Path) -> None:
    document = Document(page)
    named = [found for code in document.inline() for found in re.findall(r"\[(\w+)\] (\w+)", code)]
    variables = [name for command in document.commands() for name in command.variables if name.startswith("MEDUSA_")]
    named += [tuple(name.removeprefix("MEDUSA_").lower().split("__")) for name in variables]

    for section, key in named:
        assert key in getattr(Settings(), section).__class__.model_fields, (section, key)


@every_page
def test_every_configuration_a_page_shows_is_accepted(page: Path, tmp_path: Path) -> None:
    for block in Document(page).blocks("toml"):
        (tmp_path / "config.toml").write_text(block, encoding="utf-8")
        load_settings(tmp_path / "config.toml")


@every_page
def test_every_link_leads_somewhere_inside_the_repository(page: Path) -> None:
    for link in Document(page).links():
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / unquote(file)).resolve() if file else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in Document(target).anchors(), link


@every_page
def test_every_file_a_page_names_exists(page: Path) -> None:
    for code in Document(page).inline():
        if re.fullmatch(rf"(?:{'|'.join(ROOMS)})/[\w./-]*", code):
            assert (ROOT / code).exists(), code


def test_no_file_speaks_of_places_outside_the_repository() -> None:
    elsewhere = re.compile(r"(?<![\w.~/-])/(?:work|root|tmp|mnt|Users|home(?!/someone))/")
    inside = [path for room in ROOMS for path in (ROOT / room).rglob("*") if not OTHERS & set(path.parts)]
    files = [path for path in (*ROOT.iterdir(), *inside) if path.is_file() and path.suffix in WRITTEN_BY_PEOPLE]
    naming = {path for path in files if elsewhere.search(path.read_text(encoding="utf-8", errors="replace"))}

    assert len(files) > len(PAGES)
    assert naming == set()


def test_every_dependency_has_its_reason_and_every_reason_its_dependency() -> None:
    def names(requirements: list[str]) -> list[str]:
        return [re.split(r"[<>=!~\[; ]", requirement)[0] for requirement in requirements]

    required = {(name, "") for name in names(PROJECT["project"]["dependencies"])}
    for extra, requirements in PROJECT["project"]["optional-dependencies"].items():
        required |= {(name, extra) for name in names(requirements) if name != PROJECT["project"]["name"]}
    rows = table(Document(ROOT / "CONTRIBUTING.md").section("Dependencies"))

    assert {(name, extra) for name, extra, *_ in rows} == required
    assert len(rows) == len(required)
    assert all(reason and replacement for _, _, reason, replacement in rows)


def test_the_changelog_tells_of_this_version() -> None:
    newest = re.search(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert newest is not None
    assert newest[1] in (PROJECT["project"]["version"], "Unreleased")


def events_in(document: Document) -> list[dict[str, Any]]:
    return [event for block in document.blocks("json") if "type" in (event := json.loads(block))]


@every_page
def test_every_event_a_page_shows_keeps_to_the_schema(page: Path) -> None:
    for event in events_in(Document(page)):
        jsonschema.validate(event, SCHEMA)
        parse_event(json.dumps(event))


def test_the_readme_shows_an_emotion() -> None:
    (emotion,) = events_in(README)

    assert emotion["type"] == "emotion"
    assert emotion["confidence"] == max(emotion["scores"].values()) == emotion["scores"][emotion["label"]]


def nested(definition: dict[str, Any]) -> set[str]:
    """Names of the fields inside a definition's fields."""
    references = re.findall(r'"#/\$defs/(\w+)"', json.dumps(definition))
    return {field for name in references for field in SCHEMA["$defs"][name]["properties"]}


def test_the_page_on_events_has_all_events_with_all_their_fields() -> None:
    common = [row[0] for row in table(EVENTS.section("Fields of every event"))]
    definitions = [entry for entry in SCHEMA["$defs"].values() if "type" in entry["properties"]]

    assert definitions
    for definition in definitions:
        section = EVENTS.section(definition["properties"]["type"]["const"])
        assert [*common, *(row[0] for row in table(section))] == list(definition["properties"])
        assert nested(definition) <= set(re.findall(r"`(\w+)`", section))


def test_the_page_on_events_has_the_parameters_and_controls_of_listen() -> None:
    rows = table(EVENTS.section("WebSocket: /v1/listen"))
    defaults = [(row[0], row[2]) for row in rows if len(row) == 3 and row[2] not in ("none", "detected")]
    controls = [row[0] for row in rows if row[0].startswith("{")]

    assert len(defaults) > len(controls) > 0
    assert read_listen(defaults, max_channels=1) == read_listen([], max_channels=1)
    for control in controls:
        read_message(control)


def test_the_manifest_of_the_readme_is_read_without_a_problem(tmp_path: Path) -> None:
    (manifest,) = README.blocks("csv")
    (tmp_path / "manifest.csv").write_text(manifest, encoding="utf-8")
    write_clips(tmp_path, re.findall(r"clips/\w+\.wav", manifest))

    corpus = load_manifest(tmp_path / "manifest.csv", name="mine")

    assert len(corpus) == len(manifest.splitlines()) - 1
    assert corpus.problems == ()


def test_the_base_recipe_changed_as_the_readme_says_is_a_recipe() -> None:
    values = tomllib.loads((RECIPES / "base.toml").read_text(encoding="utf-8"))
    del values["quota"]
    values["members"] = [{key: own[key] for key in own if key != "quota"} for own in values["members"]]
    values |= {"name": "mine", "corpora": ["mine"]}

    assert parse_recipe(values, "mine.toml").corpora == ("mine",)


async def output_of(*command: str, folder: Path, stdin: bytes = b"") -> str:
    program = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, errors = await asyncio.wait_for(program.communicate(stdin), PATIENCE_S)
    finally:
        if program.returncode is None:
            program.kill()
    assert (program.returncode, errors.decode()) == (0, "")
    return out.decode()


def client(language: str, url: str) -> str:
    """The README's client, of ten lines at most, talking to another address."""
    (code,) = README.blocks(language)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    assert "ws://127.0.0.1:8765" in code
    return code.replace("ws://127.0.0.1:8765", url)


def write_call(folder: Path) -> None:
    with wave.open(str(folder / "call.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(CALL)


async def test_the_client_of_this_package_is_used_as_the_page_on_events_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_call(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (code,) = EVENTS.blocks("python")

    async with a_server() as server:
        here = code.replace("ws://127.0.0.1:8765", server.url)
        printed = await output_of(sys.executable, "-c", here, folder=tmp_path)

    assert '"label":"happy"' in printed
    assert printed.splitlines()[-1].startswith('0.0 {"type":"session.ended"')


async def test_the_python_client_of_the_readme_prints_an_emotion(tmp_path: Path) -> None:
    write_call(tmp_path)

    async with a_server() as server:
        printed = await output_of(sys.executable, "-c", client("python", server.url), folder=tmp_path)

    assert "'type': 'emotion'" in printed
    assert "'label': 'happy'" in printed
    assert "session.ended" in printed.splitlines()[-1]


def test_figures_stand_between_marks_that_match() -> None:
    marks = re.findall(r"<!-- (/?)figures(?:: \w+)? -->", README.text)

    assert marks
    assert all((before, after) in (("", "/"), ("/", "")) for before, after in pairwise(["/", *marks]))
    assert marks[-1] == "/"
