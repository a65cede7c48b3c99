"""The `medusa` command: what it imports, and how it says that something went wrong."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points, version

import pytest

from models import console
from models.console import ENTRY_POINTS, SHORT_HELP, main
from models.logs import configure_logging


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("models", "streaming", "trainer", "benchmarks"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "toy": EntryPoint("toy", "tests.fakes.commands:toy", ENTRY_POINTS),
        "text": EntryPoint("text", "tests.fakes.commands:not_a_command", ENTRY_POINTS),
        "lost": EntryPoint("lost", "tests.fakes.no_such_module:lost", ENTRY_POINTS),
    }
    monkeypatch.setattr(console, "_entry_points", lambda: points)


def test_every_command_has_a_short_help_and_every_short_help_a_command() -> None:
    assert {point.name for point in entry_points(group=ENTRY_POINTS)} == set(SHORT_HELP)


def test_help_lists_the_commands_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    program = (
        "import sys; from models.console import main; code = main(['--help']);"
        "heavy = {'torch', 'transformers', 'ctranslate2', 'numpy', 'pydantic', 'rich', 'streaming', 'trainer'};"
        "print(sorted(heavy & sys.modules.keys())); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *help_lines, imported = done.stdout.splitlines()
    assert imported == "[]"
    for name in SHORT_HELP:
        assert any(line.startswith(f"  {name} ") for line in help_lines)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert version("medusa-live") in capsys.readouterr().out


@pytest.mark.usefixtures("_toy")
class TestCommands:
    def test_a_command_runs(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["toy", "greet"]) == 0
        assert capsys.readouterr().out == "hello \n"

    def test_a_command_chooses_its_exit_code(self) -> None:
        assert main(["toy", "fails"]) == 1

    @pytest.mark.parametrize("position", [0, 1, 2])
    def test_debug_may_stand_anywhere(self, position: int, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["toy", "bug"]
        arguments.insert(position, "--debug")
        assert main(arguments) == 1
        assert "Traceback" in capsys.readouterr().err

    def test_debug_after_two_dashes_belongs_to_the_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["toy", "echo", "--", "--debug"]) == 0
        assert capsys.readouterr().out == "--debug\n"


@pytest.mark.usefixtures("_toy")
@pytest.mark.parametrize(
    ("arguments", "code", "lines"),
    [
        pytest.param(
            ["toy", "own-error"], 1, ["manifest.json: no field 'labels'; make the bundle again"], id="our error"
        ),
        pytest.param(
            ["toy", "two-lines"], 1, ["config.toml:1: first", "config.toml:2: second"], id="a line per problem"
        ),
        pytest.param(["toy", "missing-file"], 1, ["/no/such/file: No such file or directory"], id="system error"),
        pytest.param(
            ["toy", "missing-module"],
            1,
            ["the module no_such_module is not installed; install medusa-live again, with the extra that brings it"],
            id="missing extra",
        ),
        pytest.param(
            ["toy", "bug"],
            1,
            ["unexpected KeyError: 'oops' (run again with --debug for the traceback)"],
            id="a bug of ours",
        ),
        pytest.param(
            ["lost"],
            1,
            [
                "the module tests.fakes.no_such_module is not installed; install medusa-live again, "
                "with the extra that brings it"
            ],
            id="command whose module is gone",
        ),
        pytest.param(
            ["text"],
            1,
            ["the entry point tests.fakes.commands:not_a_command of text is no click command"],
            id="entry point that is no command",
        ),
        pytest.param(["tooy"], 2, ["No such command 'tooy'. Did you mean 'toy'? See medusa --help."], id="typo"),
        pytest.param(
            ["toy", "greet", "--count", "x"],
            2,
            ["Invalid value for '--count': 'x' is not a valid integer. See medusa toy greet --help."],
            id="bad value",
        ),
    ],
)
def test_errors_are_lines_on_stderr_without_a_traceback(
    arguments: list[str], code: int, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [f"medusa: error: {line}" for line in lines]


@pytest.mark.usefixtures("_toy")
def test_an_interrupt_ends_quietly_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["toy", "interrupted"]) == 130
    assert "error" not in capsys.readouterr().err


def test_a_closed_stdout_ends_quietly() -> None:
    program = "import sys; from models.console import main; sys.exit(main(['weights', 'list']))"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_logs_show_our_information_and_only_warnings_of_others() -> None:
    stream = io.StringIO()
    configure_logging("info", stream=stream)
    logging.getLogger("streaming.server").info("ours")
    logging.getLogger("streaming.server").debug("detail")
    logging.getLogger("huggingface_hub").info("theirs")
    logging.getLogger("huggingface_hub").warning("their warning")
    assert [line.rpartition(": ")[2] for line in stream.getvalue().splitlines()] == ["ours", "their warning"]


def test_json_logs_are_an_object_a_line_with_the_error_inside() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream)
    try:
        1 / 0  # noqa: B018 - the error is the point
    except ZeroDivisionError:
        logging.getLogger("models.weights").exception("two\nlines")
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert record["level"] == "error"
    assert record["message"] == "two\nlines"
    assert record["time"].endswith("Z")
    assert "ZeroDivisionError" in record["error"]
