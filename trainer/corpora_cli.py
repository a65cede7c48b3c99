"""`medusa corpora`: from official distributions to manifests that training reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trainer.corpora.manifest import Corpus
    from trainer.corpora.summary import Summary

_PROBLEMS_FILE = "problems.txt"
_SUMMARY_FILE = "summary.json"
_PICTURE_FILE = "summary.png"
_CORPORA = click.option(
    "--corpora",
    "root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("corpora"),
    show_default=True,
    help="The folder that holds the corpora, each in a folder of its own name.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON.")


@click.group(epilog="Example: medusa corpora prepare crema_d --source ~/downloads/CREMA-D --corpora ~/corpora")
def corpora() -> None:
    """Corpora: which there are importers for, and their official distributions made ready for training."""


@corpora.command("list", epilog="Example: medusa corpora list --corpora ~/corpora")
@_CORPORA
@_JSON
def list_command(root: Path, as_json: bool) -> None:
    """List the corpora that can be imported, and what of them is there.

    `prepared` are those with a manifest, `found` those whose folder is there as its authors made it. Corpora of your
    own are listed too where they have a manifest.
    """
    from trainer.corpora.prepared import find_manifest
    from trainer.corpora.registry import CORPORA

    own = {path.parent.name for path in root.glob("*/manifest.*") if find_manifest(path.parent)} - CORPORA.keys()
    rows = [(spec.name, spec.holds, spec.licence) for spec in CORPORA.values()]
    rows += [(name, "your own", "as its corpus.toml says") for name in sorted(own)]
    for name, holds, licence in rows:
        folder = root / name
        state = "prepared" if find_manifest(folder) else "found" if folder.is_dir() else "missing"
        if as_json:
            click.echo(json.dumps({"name": name, "holds": holds, "licence": licence, "state": state}))
        else:
            click.echo(f"{name:<12} {state:<9} {holds:<68} {licence}")


@corpora.command("prepare", epilog="Example: medusa corpora prepare crema_d --source ~/downloads/CREMA-D")
@click.argument("importer", metavar="NAME")
@click.option(
    "--source",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder of the official distribution.",
)
@click.option(
    "--transcripts",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="A CSV file with the columns id and transcript, in place of what the corpus has.",
)
@click.option("--as", "name", default=None, help="What to call the corpus and its folder; NAME if not given.")
@_CORPORA
@_JSON
@click.pass_context
def prepare_command(
    context: click.Context,
    importer: str,
    source: Path,
    transcripts: Path | None,
    name: str | None,
    root: Path,
    as_json: bool,
) -> None:
    """Read the official distribution of corpus NAME, check it, and write a manifest that training reads.

    Into the corpora's folder go manifest.jsonl and corpus.toml, problems.txt with everything that is missing, damaged
    or left out, and the corpus's figures as summary.json and summary.png. Clips stay where they are. Exit code 1 only
    if nothing could be used.
    """
    from trainer.corpora.picture import corpus_picture
    from trainer.corpora.prepared import replace_file, write_prepared
    from trainer.corpora.registry import CORPORA
    from trainer.corpora.summary import summarise
    from trainer.corpora.transcripts import with_transcripts
    from trainer.errors import TrainerError
    from trainer.progress import terminal_progress

    if importer not in CORPORA:
        raise click.BadParameter(f"{importer!r} is none of {', '.join(CORPORA)}", context, param_hint="NAME")
    name = name or importer
    if Path(name).name != name or name.startswith("."):
        raise click.BadParameter(f"{name!r} is no name of a folder", context, param_hint="--as")
    corpus = CORPORA[importer].load(source.resolve(), progress=terminal_progress)
    if transcripts is not None:
        corpus = with_transcripts(corpus, transcripts)
    summary = summarise(corpus)
    folder = root / name
    write_prepared(corpus, folder)
    replace_file(folder / _PROBLEMS_FILE, (f"{problem}\n" for problem in corpus.problems))
    replace_file(folder / _SUMMARY_FILE, (json.dumps(summary.as_mapping(), indent=2, ensure_ascii=False), "\n"))
    try:
        (folder / _PICTURE_FILE).write_bytes(corpus_picture(corpus, summary))
    except TrainerError as error:
        click.echo(f"no {_PICTURE_FILE}: {error}", err=True)
    _show(corpus, summary, folder, as_json=as_json)


def _show(corpus: Corpus, summary: Summary, folder: Path, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"folder": str(folder), **summary.as_mapping()}))
    else:
        click.echo(
            f"{folder}: {summary.utterances} utterances, {summary.ambiguous} of them ambiguous, {summary.speakers} "
            f"speakers, {summary.audio_h:.2f} h of audio; {summary.licence}"
        )
    if corpus.problems:
        click.echo(f"{len(corpus.problems)} problems, listed in {folder / _PROBLEMS_FILE}", err=True)
    if summary.without_transcript:
        click.echo(
            f"{summary.without_transcript} utterances have no transcript; give them with --transcripts FILE, a CSV "
            "file with the columns id and transcript",
            err=True,
        )
