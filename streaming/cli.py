"""The commands of the live runtime: `medusa demo`, `serve` and `stream`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from streaming.command_options import CONFIG, JSON, LANGUAGE, ROLES_HELP, command_settings

if TYPE_CHECKING:
    from streaming.events import Event
    from streaming.server import RunningServer

_PORT: Final = click.IntRange(0, 65_535)
_BOTH_SCORED: Final = (
    "both voices are recordings made for research, so both are scored here; "
    "by default the emotions of an agent are not inferred ([roles] score_agents)"
)


@click.command(epilog="Example: medusa demo")
@click.option("--port", type=_PORT, default=0, help="Of the server; a free one by default.")
@click.option("--fast", is_flag=True, help="As fast as the server takes it, not at the pace of speech.")
@click.option("--mqtt-host", help="Publish to this broker too; with --mqtt-port alone, to the configured one.")
@click.option("--mqtt-port", type=click.IntRange(1, 65_535), help="The broker's port; the configured one by default.")
@click.option("--save-svg", type=click.Path(path_type=Path, dir_okay=False), help="Keep a picture of the live table.")
@CONFIG
@JSON
def demo(
    port: int,
    fast: bool,
    mqtt_host: str | None,
    mqtt_port: int | None,
    save_svg: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Stream a sample conversation through the real server and watch its events arrive.

    Exit code 1 if a spoken clip got no final emotion, or an event was lost.
    """
    from streaming.conversation import load_conversation
    from streaming.demo import demo_settings, run_demo
    from streaming.displays import open_display
    from streaming.live_picture import LivePicture
    from streaming.recognition.recognizer import load_recognizer

    if save_svg is not None and not save_svg.parent.is_dir():
        raise click.UsageError(f"There is no folder {save_svg.parent} for --save-svg: make it first.")
    settings = demo_settings(command_settings(config), port=port, mqtt_host=mqtt_host, mqtt_port=mqtt_port)
    picture = LivePicture("medusa demo")
    with contextlib.ExitStack() as shown:
        followers: list[Callable[[Event], None]] = [picture.take]

        def ready(server: RunningServer) -> None:
            click.echo(f"listening on {server.url}; watch it in a browser: {server.http_url}/", err=as_json)
            click.echo(_BOTH_SCORED, err=as_json)
            followers.append(shown.enter_context(open_display(as_json=as_json)).show)

        def follow(event: Event) -> None:
            for take in followers:
                take(event)

        click.echo("loading the recogniser", err=True)
        result = asyncio.run(
            run_demo(
                settings,
                load_conversation(),
                lambda: load_recognizer(settings),
                follow=follow,
                on_ready=ready,
                paced=not fast,
            )
        )
    if save_svg is not None:
        picture.save(save_svg)
    click.echo(json.dumps({"summary": result.as_mapping()}) if as_json else result.summary())
    for failure in result.failures:
        click.echo(f"medusa: error: {failure}", err=True)
    if result.failures:
        click.get_current_context().exit(1)


@click.command(epilog="Example: medusa serve --config config.toml --port 8765")
@click.option("--host", help="Address to listen on; other than loopback needs [server] tokens_file.")
@click.option("--port", type=_PORT, help="Port; 0 takes a free one.")
@click.option(
    "--events",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Also append all events to this file as JSON lines; - for stdout.",
)
@CONFIG
def serve(host: str | None, port: int | None, events: Path | None, config: Path | None) -> None:
    """Run the server until SIGINT or SIGTERM; then finish what is in flight and stop."""
    from streaming.server import print_addresses
    from streaming.server import serve as run_server
    from streaming.sinks.jsonl import JsonLinesSink

    settings = command_settings(config)
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"server": settings.server.model_copy(update=given)})
    to_stdout = events == Path("-")
    sinks = [] if events is None else [JsonLinesSink.open(None if to_stdout else events)]

    def on_listening(server: RunningServer) -> None:
        with contextlib.redirect_stdout(sys.stderr if to_stdout else sys.stdout):
            print_addresses(server)

    asyncio.run(
        run_server(
            settings,
            sinks=sinks,
            on_listening=on_listening,
            on_ready=lambda _server: click.echo("ready", err=to_stdout),
        )
    )


@click.command(epilog="Example: medusa stream call.wav --channel-role customer --channel-role agent")
@click.argument("source")
@click.option("--url", default="ws://127.0.0.1:8765", show_default=True, help="Of the server.")
@click.option("--channel-role", "roles", multiple=True, help=ROLES_HELP)
@click.option("--token", envvar="MEDUSA_TOKEN", help="Where the server asks for one; also MEDUSA_TOKEN.")
@LANGUAGE
@click.option("--rate", "rate_hz", type=int, help="Of raw audio on stdin, in Hz; 16000 by default.")
@click.option(
    "--encoding",
    type=click.Choice(["pcm_s16le", "mulaw", "alaw", "f32le"]),
    help="Of raw audio on stdin; pcm_s16le by default.",
)
@click.option("--fast", is_flag=True, help="Send a file as fast as the server takes it.")
@click.option(
    "--reconnect",
    "reconnect_s",
    type=click.FloatRange(0, 86_400),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="How long to try again when the connection is lost; 0 to give up at once.",
)
@click.option("--trace", is_flag=True, help="Draw, at the end, where the time of each segment went.")
@click.option("--trace-out", type=click.Path(path_type=Path, dir_okay=False), help="Keep that drawing as a .svg file.")
@click.option("--trace-words", is_flag=True, help="With what was said in it.")
@JSON
def stream(
    source: str,
    url: str,
    roles: tuple[str, ...],
    token: str | None,
    language: str | None,
    rate_hz: int | None,
    encoding: str | None,
    fast: bool,
    reconnect_s: float,
    trace: bool,
    trace_out: Path | None,
    trace_words: bool,
    as_json: bool,
) -> None:
    """Send SOURCE to a server and print its events as they come.

    SOURCE is an audio file, `mic`, or `-` for raw mono audio on stdin. Ctrl-C ends the audio; what was said until then
    is still recognised. A connection that breaks is tried again and the session taken up where it was; of the
    microphone, up to 40 s wait meanwhile.
    """
    from models.windows import SAMPLE_RATE_HZ
    from streaming.audio.codecs import Encoding
    from streaming.displays import open_display
    from streaming.send import STDIN, open_source, stop_on_interrupt, stream_source
    from streaming.trace import Tracer
    from streaming.trace_output import check_picture, show_trace

    check_picture(trace_out)
    if trace_words and not (trace or trace_out):
        raise click.UsageError("--trace-words goes with --trace or --trace-out.")
    tracer = Tracer()
    if source != STDIN and (rate_hz is not None or encoding is not None):
        raise click.UsageError("--rate and --encoding describe raw audio on stdin; SOURCE is then -.")
    opened = open_source(source, SAMPLE_RATE_HZ if rate_hz is None else rate_hz, Encoding(encoding or Encoding.PCM16))
    if opened.warning is not None:
        click.echo(f"medusa: warning: {source} {opened.warning}", err=True)

    async def run() -> None:
        with stop_on_interrupt() as stopped, open_display(as_json=as_json) as display:

            def follow(event: Event) -> None:
                tracer.take(event)
                display.show(event)

            await stream_source(
                opened,
                url,
                roles=roles,
                token=token,
                language=language,
                paced=not fast,
                follow=follow,
                stopped=stopped,
                reconnect_s=reconnect_s,
            )

    try:
        asyncio.run(run())
    finally:
        show_trace(tracer, bars=trace, picture=trace_out, words=trace_words, title=source, to_stderr=as_json)
