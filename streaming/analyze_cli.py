"""The command `medusa analyze`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from streaming.command_options import CONFIG, LANGUAGE, ROLES_HELP, command_settings


@click.command(epilog="Example: medusa analyze calls/ --format csv > emotions.csv")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "jsonl", "csv", "vtt", "emotionml"]),
    help="Of what is found: jsonl for programs, csv for spreadsheets, vtt (WebVTT) for video players, EmotionML for "
    "annotation tools; a table by default.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for a document of that format for each file, instead of all on stdout.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for a picture (SVG) of each file: waveform, emotions, curves and words.",
)
@click.option("--jobs", type=click.IntRange(1, 256), help="Files at a time; twice [batcher] max_batch by default.")
@LANGUAGE
@click.option("--channel-role", "roles", multiple=True, help=ROLES_HELP)
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl.")
def analyze(
    paths: tuple[Path, ...],
    form: str | None,
    out: Path | None,
    plot: Path | None,
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
    from streaming.exports.formats import FORMATS
    from streaming.recognition.recognizer import load_recognizer

    if as_json and form not in (None, "jsonl"):
        raise click.UsageError(f"--json is --format jsonl, and {form} is another: leave one of them out.")
    chosen = FORMATS.get("jsonl" if as_json else form or "table")
    if out is not None and chosen is None:
        raise click.UsageError("--out needs to know a --format: jsonl, csv, vtt or emotionml.")
    settings = command_settings(config)
    files = find_files(paths)
    if all(file.is_dir() for file in files):
        raise click.UsageError("no audio or video file in " + ", ".join(map(str, paths)))
    if chosen is not None and out is None and len(files) > 1 and not chosen.many:
        raise click.UsageError(
            f"a {form} document holds one recording, these are {len(files)}: name a folder with --out."
        )
    with AnalyzeOutput(files, form=chosen, folder=out, pictures=plot) as output:
        results = asyncio.run(
            run(
                files,
                settings,
                lambda: load_recognizer(settings),
                jobs=jobs,
                language=language,
                roles=roles,
                on_model=output.begin,
                on_result=output.show,
                with_loudness=plot is not None,
            )
        )
    failed = sum(result.failed for result in results)
    if failed:
        click.echo(f"medusa: error: {failed} of {len(files)} file(s) could not be read or recognised", err=True)
        click.get_current_context().exit(1)
