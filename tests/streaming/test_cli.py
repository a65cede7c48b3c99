"""`medusa demo`, `serve` and `stream`; `analyze` is with its own tests."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from models.console import main
from streaming import cli
from streaming.config import Settings
from streaming.recognition.request import RecognitionRequest
from streaming.server import RunningServer
from streaming.sinks.jsonl import JsonLinesSink
from tests.fakes.broker import free_port
from tests.fakes.listener import Ending, How, a_listener_elsewhere
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.recordings import write_wav
from tests.fakes.servers import a_server_elsewhere
from tests.fakes.shell import pcm, silence, speech

UTTERANCE = pcm(silence(0.2), speech(1.2), silence(1.0))


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("models", "streaming", "trainer", "benchmarks"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def run(command: str, *arguments: str) -> Result:
    return CliRunner().invoke(getattr(cli, command), arguments, catch_exceptions=False)


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("command", ["demo", "serve", "stream", "analyze"])
def test_every_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"Example: medusa {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["demo", "serve", "analyze ."])
def test_a_typo_in_the_configuration_is_named_with_its_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text("[server]\nprot = 1\n")
    assert main([*command.split(), "--config", str(tmp_path / "config.toml")]) == 1
    assert capsys.readouterr().err.endswith("config.toml:2: [server] prot: unknown key; did you mean port?\n")


# --- demo


class TestDemo:
    @pytest.fixture(autouse=True)
    def _recognizer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("streaming.recognition.recognizer.load_recognizer", lambda _settings: FakeRecognizer())

    def test_programs_get_every_event_and_the_summary_and_nothing_else_on_stdout(self) -> None:
        done = run("demo", "--fast", "--json")
        *events, last = events_of(done.stdout)
        assert done.exit_code == 0
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert last["summary"]["finals"] >= last["summary"]["clips"] == 12
        assert last["summary"]["gaps"] == 0
        assert "listening on ws://127.0.0.1:" in done.stderr

    def test_people_get_a_line_a_final_and_a_summary_and_are_told_who_is_scored(self, tmp_path: Path) -> None:
        done = run("demo", "--fast", "--save-svg", str(tmp_path / "table.svg"))
        lines = done.stdout.splitlines()
        assert done.exit_code == 0
        assert lines[0].startswith("listening on ws://127.0.0.1:")
        assert "by default the emotions of an agent are not inferred" in lines[1]
        assert len([line for line in lines if " pause)  word1" in line]) >= 12
        assert "12 spoken clips; word error rate" in lines[-1]
        assert (tmp_path / "table.svg").read_text(encoding="utf-8").startswith("<svg")

    def test_what_went_wrong_is_said_and_the_exit_code_is_1(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def breaks_on(request: RecognitionRequest) -> bool:
            return request.channel == 1 and request.segment == 2

        recognizer = FakeRecognizer(breaks_on=breaks_on)
        monkeypatch.setattr("streaming.recognition.recognizer.load_recognizer", lambda _settings: recognizer)
        done = run("demo", "--fast")
        assert done.exit_code == 1
        assert "medusa: error: 1 of 12 clips got no final emotion: channel 1 at 11.9 s\n" in done.stderr

    def test_a_picture_that_cannot_be_kept_is_misuse_before_anything_is_played(self, tmp_path: Path) -> None:
        done = run("demo", "--save-svg", str(tmp_path / "nowhere" / "table.svg"))
        assert done.exit_code == 2
        assert "There is no folder" in done.stderr

    def test_a_busy_port_is_an_error_in_a_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        with a_server_elsewhere() as other:
            assert main(["demo", "--port", str(other.port)]) == 1
        assert f"medusa: error: cannot listen on 127.0.0.1:{other.port}" in capsys.readouterr().err


# --- serve


class TestServe:
    @pytest.fixture
    def served(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """What the server was started with; it stops at once, since its running has tests of its own."""
        served: dict[str, Any] = {}

        async def serve(settings: Settings, **options: Any) -> None:
            served.update(options, settings=settings)
            running = RunningServer("127.0.0.1", 8765, False, service=None)  # type: ignore[arg-type]
            options["on_listening"](running)
            options["on_ready"](running)

        replacement: Callable[..., Awaitable[None]] = serve
        monkeypatch.setattr("streaming.server.serve", replacement)
        return served

    def test_it_prints_where_it_listens_and_when_it_is_ready(self, served: dict[str, Any]) -> None:
        lines = run("serve").stdout.splitlines()
        assert lines[:2] == ["dashboard: http://127.0.0.1:8765/", "audio in:  ws://127.0.0.1:8765/v1/listen"]
        assert lines[-1] == "ready"

    def test_options_go_before_the_configuration(self, served: dict[str, Any], tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_text('[server]\nhost = "localhost"\nport = 1\nmax_sessions = 3\n')
        run("serve", "--config", str(tmp_path / "config.toml"), "--port", "0")
        server = served["settings"].server
        assert (server.host, server.port, server.max_sessions) == ("localhost", 0, 3)

    def test_events_may_go_to_a_file_too(self, served: dict[str, Any], tmp_path: Path) -> None:
        run("serve", "--events", str(tmp_path / "events.jsonl"))
        (sink,) = served["sinks"]
        assert isinstance(sink, JsonLinesSink)
        assert (tmp_path / "events.jsonl").exists()

    def test_events_on_stdout_have_it_to_themselves(self, served: dict[str, Any]) -> None:
        done = run("serve", "--events", "-")
        assert done.stdout == ""
        assert "ws://127.0.0.1:8765/v1/listen" in done.stderr
        assert len(served["sinks"]) == 1

    @pytest.mark.parametrize(("options", "level"), [([], "ERROR"), (["--debug"], "DEBUG")])
    def test_the_log_is_as_configured_unless_it_is_to_debug(
        self, served: dict[str, Any], tmp_path: Path, options: list[str], level: str
    ) -> None:
        (tmp_path / "config.toml").write_text('[logging]\nlevel = "error"\n')
        assert main([*options, "serve", "--config", str(tmp_path / "config.toml")]) == 0
        assert logging.getLevelName(logging.getLogger("streaming").level) == level

    def test_a_port_that_is_none_is_misuse(self) -> None:
        assert run("serve", "--port", "65536").exit_code == 2


# --- stream


class TestStream:
    @pytest.fixture
    def server(self) -> Iterator[RunningServer]:
        with a_server_elsewhere(FakeRecognizer()) as server:
            yield server

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return write_wav(tmp_path / "call.wav", UTTERANCE)

    def test_a_file_gives_the_servers_events(self, server: RunningServer, file: Path) -> None:
        done = run("stream", str(file), "--url", server.url, "--json", "--fast", "--language", "de")
        events = events_of(done.stdout)
        assert done.exit_code == 0
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert [event["type"] for event in events][-1] == "session.ended"
        assert {event["language"] for event in events if event["type"] == "transcript"} == {"de"}

    def test_without_a_terminal_people_get_a_line_a_segment(self, server: RunningServer, file: Path) -> None:
        done = run("stream", str(file), "--url", server.url, "--fast")
        (line,) = done.stdout.splitlines()
        assert "happy" in line
        assert "word1 word2" in line

    def test_an_agent_is_transcribed_and_not_scored(self, server: RunningServer, file: Path) -> None:
        done = run("stream", str(file), "--url", server.url, "--fast", "--channel-role", "agent")
        (line,) = done.stdout.splitlines()
        assert "agent" in line
        assert "happy" not in line
        assert "word1 word2" in line

    def test_a_file_is_sent_at_the_pace_of_speech(
        self, server: RunningServer, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paced: list[int] = []

        async def send_paced(client: Any, data: bytes) -> None:
            paced.append(len(data))
            await client.send(data)

        monkeypatch.setattr("streaming.client.ListenClient.send_paced", send_paced)
        assert run("stream", str(file), "--url", server.url).exit_code == 0
        assert paced == [len(UTTERANCE)]

    def test_a_file_that_breaks_off_is_sent_and_said(self, server: RunningServer, file: Path) -> None:
        file.write_bytes(file.read_bytes()[:-3200])
        done = run("stream", str(file), "--url", server.url, "--fast")
        assert done.exit_code == 0
        assert f"medusa: warning: {file} is cut short" in done.stderr

    def test_a_trace_is_drawn_at_the_end_where_it_is_asked_for(
        self, server: RunningServer, file: Path, tmp_path: Path
    ) -> None:
        picture = tmp_path / "trace.svg"
        done = run("stream", str(file), "--url", server.url, "--fast", "--trace", "--trace-out", str(picture))
        line, *bars = done.stdout.splitlines()
        assert "happy" in line
        assert bars[0].startswith("life of the segments")
        assert any("endpoint silence" in bar for bar in bars)
        assert "happy" in picture.read_text(encoding="utf-8")
        assert "word1" not in picture.read_text(encoding="utf-8")

    def test_a_trace_holds_words_only_where_they_are_asked_for(
        self, server: RunningServer, file: Path, tmp_path: Path
    ) -> None:
        picture = tmp_path / "trace.svg"
        run("stream", str(file), "--url", server.url, "--fast", "--trace-out", str(picture), "--trace-words")
        assert "word1 word2" in picture.read_text(encoding="utf-8")

    def test_programs_have_stdout_to_themselves_while_a_trace_is_drawn(self, server: RunningServer, file: Path) -> None:
        done = run("stream", str(file), "--url", server.url, "--fast", "--json", "--trace")
        assert events_of(done.stdout)[-1]["type"] == "session.ended"
        assert "life of the segments" in done.stderr

    def test_where_nobody_speaks_there_is_nothing_to_trace(self, server: RunningServer, tmp_path: Path) -> None:
        quiet = write_wav(tmp_path / "quiet.wav", pcm(silence(1.0)))
        done = run("stream", str(quiet), "--url", server.url, "--fast", "--trace-out", str(tmp_path / "trace.svg"))
        assert done.exit_code == 0
        assert "nothing to trace" in done.stderr
        assert not (tmp_path / "trace.svg").exists()

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            (["--trace-out", "trace.png"], "--trace-out writes SVG, got trace.png"),
            (["--trace-out", "nowhere/trace.svg"], "There is no folder nowhere for --trace-out"),
            (["--trace-words"], "--trace-words goes with --trace or --trace-out"),
        ],
    )
    def test_a_trace_that_cannot_be_is_misuse_before_anything_is_sent(
        self, file: Path, options: list[str], reason: str
    ) -> None:
        done = run("stream", str(file), *options)
        assert done.exit_code == 2
        assert reason in done.stderr

    @pytest.mark.parametrize("options", [["--rate", "8000"], ["--encoding", "mulaw"]])
    def test_describing_a_file_as_raw_audio_is_misuse(self, file: Path, options: list[str]) -> None:
        done = run("stream", str(file), *options)
        assert done.exit_code == 2
        assert "describe raw audio on stdin" in done.stderr

    def test_a_connection_that_breaks_is_taken_up_again_and_said_on_stderr(
        self, file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with a_listener_elsewhere([Ending(How.CUT, 9000)]) as listener:
            assert main(["stream", str(file), "--url", listener.url, "--fast", "--json", "--reconnect", "5"]) == 0
        said = capsys.readouterr()
        assert [event["seq"] for event in events_of(said.out)] == list(range(1, 1 + len(said.out.splitlines())))
        lost, again = said.err.splitlines()
        assert "was lost" in lost
        assert "trying to connect again for 5 s" in lost
        assert "the session goes on" in again

    def test_a_connection_that_breaks_and_is_not_to_be_tried_again_is_an_error_in_a_line(
        self, file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with a_listener_elsewhere([Ending(How.CUT, 9000)]) as listener:
            assert main(["stream", str(file), "--url", listener.url, "--fast", "--reconnect", "0"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"medusa: error: the connection to {listener.url}/v1/listen was lost")

    def test_nobody_there_is_an_error_in_a_line(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        url = f"ws://127.0.0.1:{free_port()}"
        assert main(["stream", str(file), "--url", url]) == 1
        assert capsys.readouterr().err.startswith(f"medusa: error: no server answers at {url}/v1/listen")

    @pytest.mark.parametrize("content", [b"", b"garbage" * 99], ids=["empty", "garbage"])
    def test_a_file_that_is_no_audio_is_an_error_in_a_line(
        self, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "bad.wav").write_bytes(content)
        assert main(["stream", str(tmp_path / "bad.wav")]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"medusa: error: {tmp_path / 'bad.wav'} ")
