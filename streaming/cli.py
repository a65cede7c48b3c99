"""The commands of this package: `medusa demo`, `serve`, `stream` and `analyze`."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from streaming.config import Settings
    from streaming.events import Event

_LANGUAGE_PATTERN = r"[a-z]{2,3}"


def _language(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(_LANGUAGE_PATTERN, value):
        raise click.BadParameter(f"{value!r} is no ISO 639 code such as en, de or yue.")
    return value


_CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="config.toml; the one in this folder by default.",
)
_LANGUAGE = click.option(
    "--language",
    callback=_language,
    metavar="CODE",
    help="ISO 639 code of the speech, such as en; detected by default.",
)
_ROLES_HELP = "Role of a channel, in their order; may be given again. The emotions of an agent are not inferred."
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON lines to stdout, nothing else.")


@click.command(epilog="Example: medusa demo --json | jq 'select(.type == \"emotion\")'")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Of the server; 0 takes a free one.")
@click.option("--fast", is_flag=True, help="As fast as the server takes it, not at the pace of speech.")
@click.option("--mqtt-host", default=None, help="Publish to this broker too.")
@click.option("--mqtt-port", type=click.IntRange(1, 65_535), default=1883, show_default=True)
@click.option("--save-svg", type=click.Path(path_type=Path, dir_okay=False), help="Keep a picture of the live table.")
@_CONFIG
@_JSON
def demo(
    port: int,
    fast: bool,
    mqtt_host: str | None,
    mqtt_port: int,
    save_svg: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Stream a sample conversation through the real server and watch its events arrive.

    Both voices are recordings of people who agreed to be heard, so both channels are scored here; by default the
    server does not score a channel whose role is agent.
    """
    from streaming.conversation import load_conversation
    from streaming.demo import run_demo, summary_json
    from streaming.live_table import LiveTable, plain_line, summary_panel
    from streaming.recognition.recognizer import load_recognizer

    settings = _settings(config)
    changes: dict[str, Any] = {
        "server": settings.server.model_copy(update={"host": "127.0.0.1", "port": port, "tokens_file": ""}),
        "roles": settings.roles.model_copy(update={"score_agents": True}),
    }
    if mqtt_host is not None:
        mqtt = {"enabled": True, "host": mqtt_host, "port": mqtt_port}
        changes["mqtt"] = settings.mqtt.model_copy(update=mqtt)
    settings = settings.model_copy(update=changes)
    table = LiveTable()
    shown = _Shown(as_json=as_json, table=table, line=plain_line)
    with shown:
        result = asyncio.run(
            run_demo(
                settings,
                load_conversation(),
                lambda: load_recognizer(settings),
                follow=shown.follow,
                on_ready=lambda server: click.echo(f"listening on {server.url}, {server.http_url}", err=True),
                paced=not fast,
            )
        )
    if save_svg is not None:
        _save_picture(table, save_svg)
    failed = bool(result.failures)
    if as_json:
        click.echo(summary_json(result))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(summary_panel(result.summary(), failed=failed))
    else:
        click.echo(result.summary())
    for failure in result.failures:
        click.echo(f"medusa: error: {failure}", err=True)
    if failed:
        click.get_current_context().exit(1)


@click.command(epilog="Example: medusa serve --config config.toml --port 8765")
@click.option("--host", default=None, help="Address to listen on; other than loopback needs [server] tokens_file.")
@click.option("--port", type=click.IntRange(0, 65_535), default=None, help="Port; 0 takes a free one.")
@click.option(
    "--events", type=click.Path(path_type=Path, dir_okay=False), help="Also append all events to this file, as lines."
)
@_CONFIG
def serve(host: str | None, port: int | None, events: Path | None, config: Path | None) -> None:
    """Run the server until SIGINT or SIGTERM; then finish what is in flight and stop."""
    from models.logs import configure_logging
    from streaming.server import serve as run_server
    from streaming.sinks.jsonl import JsonLinesSink

    settings = _settings(config)
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"server": settings.server.model_copy(update=given)})
    configure_logging(settings.logging.level, settings.logging.format)
    sinks = [] if events is None else [JsonLinesSink.open(events)]
    asyncio.run(run_server(settings, sinks=sinks))


@click.command(epilog="Example: medusa stream call.wav --channel-role customer --channel-role agent")
@click.argument("source")
@click.option("--url", default="ws://127.0.0.1:8765", show_default=True, help="Of the server.")
@click.option("--channel-role", "roles", multiple=True, help=_ROLES_HELP)
@click.option("--token", envvar="MEDUSA_TOKEN", default=None, help="Where the server asks for one; also MEDUSA_TOKEN.")
@_LANGUAGE
@click.option("--rate", "rate_hz", type=int, default=16_000, show_default=True, help="Of raw PCM16 on stdin.")
@click.option("--fast", is_flag=True, help="Send a file as fast as the server takes it.")
@_JSON
def stream(
    source: str,
    url: str,
    roles: tuple[str, ...],
    token: str | None,
    language: str | None,
    rate_hz: int,
    fast: bool,
    as_json: bool,
) -> None:
    """Send SOURCE to a server and print its events as they come.

    SOURCE is an audio file, `mic`, or `-` for raw PCM16 mono on stdin.
    """
    from streaming.live_table import LiveTable, plain_line
    from streaming.send import open_source, stream_source

    opened = open_source(source, rate_hz)
    with _Shown(as_json=as_json, table=LiveTable(), line=plain_line) as shown:
        asyncio.run(
            stream_source(opened, url, roles=roles, token=token, language=language, paced=not fast, follow=shown.follow)
        )


@click.command(epilog="Example: medusa analyze calls/ --json > emotions.jsonl")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--jobs", type=click.IntRange(1, 256), help="Files at a time; [batcher] max_batch by default.")
@_LANGUAGE
@click.option("--channel-role", "roles", multiple=True, help=_ROLES_HELP)
@_CONFIG
@_JSON
def analyze(
    paths: tuple[Path, ...],
    jobs: int | None,
    language: str | None,
    roles: tuple[str, ...],
    config: Path | None,
    as_json: bool,
) -> None:
    """Recognise emotions in files and folders, as fast as the machine can.

    Channels are kept apart. Exit code 1 if a file could not be read; the others are done all the same.
    """
    from streaming.analyze import analyze as run
    from streaming.analyze import find_files
    from streaming.analyze_output import AnalyzeOutput
    from streaming.recognition.recognizer import load_recognizer

    settings = _settings(config)
    files = find_files(paths)
    if all(file.is_dir() for file in files):
        raise click.UsageError("no audio or video file in " + ", ".join(map(str, paths)))
    with AnalyzeOutput(files, as_json=as_json) as output:
        results = asyncio.run(
            run(
                files,
                settings,
                lambda: load_recognizer(settings),
                jobs=jobs,
                language=language,
                roles=roles,
                on_result=output.show,
            )
        )
    failed = sum(result.failed for result in results)
    if failed:
        click.echo(f"medusa: error: {failed} of {len(files)} file(s) could not be read or recognised", err=True)
        click.get_current_context().exit(1)


class _Shown:
    """Events on their way to a person or a program: a live table on a terminal, lines elsewhere."""

    def __init__(self, *, as_json: bool, table: Any, line: Any) -> None:
        from rich.live import Live

        self._as_json = as_json
        self._table = table
        self._line = line
        on_terminal = sys.stdout.isatty() and not as_json
        self._live = Live(get_renderable=table.render, refresh_per_second=8) if on_terminal else None

    def __enter__(self) -> _Shown:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def follow(self, event: Event) -> None:
        """Shows one event."""
        self._table.take(event)
        if self._live is not None:
            return
        text = event.to_json() if self._as_json else self._line(event)
        if text is not None:
            click.echo(text)


def _save_picture(table: Any, path: Path) -> None:
    from rich.console import Console

    with open("/dev/null", "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - the console wants an open stream
        console = Console(record=True, width=110, file=nowhere, force_terminal=True)
        console.print(table.render())
        path.write_text(console.export_svg(title="medusa demo"), encoding="utf-8")


def _settings(path: Path | None) -> Settings:
    from streaming.config import load_settings

    return load_settings(path)
