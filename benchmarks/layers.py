"""Which hidden layer of the Whisper encoder says how something was said: a linear probe on each of them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.errors import BenchmarkError
from benchmarks.layer_picture import layer_picture
from benchmarks.layer_probe import COST, STEPS, Answer, Question, ask, cuts
from benchmarks.layer_reading import DEPTH, ReadClips, agreed, read, unread
from models.backbones.prosody import ProsodyExtractor
from models.backbones.registry import backbone
from models.backbones.sources import backbone_folder
from models.backbones.whisper import WhisperEncoder
from models.errors import ModelsError
from models.machine import written
from models.windows import FINAL_WINDOWS
from trainer.assembly import load_utterances
from trainer.canvas import LIGHT
from trainer.command_line import CORPORA, JSON
from trainer.corpora.manifest import Corpus
from trainer.errors import TrainerError
from trainer.feature_policy import WHISPER_ARITHMETIC
from trainer.progress import terminal_progress
from trainer.recipe import load_recipe
from trainer.silence import TRIM_VERSION

RECIPE: Final = "base"
"""Whose labels the corpora are brought to."""
ENCODER: Final = "whisper-base"
FOLDS: Final = 5

_LAYERS: Final = (*range(1, DEPTH), None)
_POINTS: Final = 100
_LIBRARIES: Final = ("onnxruntime", "scikit-learn")


def stated(
    corpora: Sequence[Corpus], clips: ReadClips, *, arithmetic: str, folds: int, train_on: Sequence[str]
) -> dict[str, Any]:
    """What a run was measured under, for the result.

    Args:
        corpora: as they were loaded, over the recipe's labels.
        clips: what was read of them.
        arithmetic: of the encoder.
        folds: parts of the speakers of a corpus.
        train_on: corpora that a probe for a corpus left out is fitted on.
    """
    unread = Counter(problem.where.partition("/")[0] for problem in clips.problems)
    speakers = Counter(clips.speakers.tolist())
    return {
        "encoder": ENCODER,
        "arithmetic": arithmetic,
        "labels": list(clips.labels),
        "vector": "mean and standard deviation over the frames, relative to all clips of the speaker",
        "probe": {"kind": "logistic regression", "C": COST, "max_iter": STEPS},
        "folds": folds,
        "train_on": list(train_on),
        "windows_s": list(FINAL_WINDOWS.buckets_s),
        "tail_s": FINAL_WINDOWS.tail_s,
        "trim_version": TRIM_VERSION,
        "libraries": {name: version(name) for name in _LIBRARIES},
        "corpora": {
            corpus.name: {
                "clips": int(clips.rows_of(corpus.name).size),
                "speakers": len(set(clips.speakers[clips.rows_of(corpus.name)].tolist())),
                "speakers_of_one_clip": sum(
                    speakers[name] == 1 for name in clips.speakers[clips.rows_of(corpus.name)].tolist()
                ),
                "without_audio_or_agreement": sum(u.audio is None or u.consensus is None for u in corpus.utterances),
                "unreadable": unread[corpus.name],
                "problems": len(corpus.problems),
            }
            for corpus in corpora
        },
    }


def rows(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """One row for each layer, and whatever else was probed: macro-F1 by corpus, and beside it how sure it is."""
    made = []
    for probed in dict.fromkeys(answer.probed for answer in answers):
        row: dict[str, Any] = {"layer": probed.layer, "prosody": probed.prosody, "within": {}, "left_out": {}}
        details: dict[str, Any] = {"within": {}, "left_out": {}}
        for answer in (answer for answer in answers if answer.probed == probed):
            kind, corpus, over = answer.question.kind, answer.question.corpus, answer.over_last
            row[kind][corpus] = round(answer.macro_f1, 4)
            details[kind][corpus] = {
                "clips": answer.clips,
                "speakers": answer.speakers,
                "classes": list(answer.classes),
                "macro_f1_low": None if answer.interval is None else round(answer.interval.low, 4),
                "macro_f1_high": None if answer.interval is None else round(answer.interval.high, 4),
                "over_last_layer": round(over.value, 4),
                "over_last_layer_low": None if over.interval is None else round(over.interval.low, 4),
                "over_last_layer_high": None if over.interval is None else round(over.interval.high, 4),
            }
        made.append({**row, "details": details})
    return made


def tables(answers: Sequence[Answer]) -> list[Table]:
    """The answers, for people: a table for each question, a row for each layer.

    `over the last` is in points of macro-F1, over the encoder's last layer.
    """
    made = []
    for question in dict.fromkeys(answer.question for answer in answers):
        own = [answer for answer in answers if answer.question == question]
        title = f"{question.title}: {own[0].clips} clips, {own[0].speakers} speakers, {len(own[0].classes)} classes"
        shown = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for heading in ("read", "macro-F1", "95 %", "over the last", "95 %"):
            shown.add_column(heading, justify="left" if heading == "read" else "right", no_wrap=True)
        for answer in own:
            sure, over = answer.interval, answer.over_last
            shown.add_row(
                answer.probed.title,
                f"{answer.macro_f1:.3f}",
                "" if sure is None else f"{sure.low:.3f} to {sure.high:.3f}",
                f"{_POINTS * over.value:+.1f}",
                ""
                if over.interval is None
                else f"{_POINTS * over.interval.low:+.1f} to {_POINTS * over.interval.high:+.1f}",
            )
        made.append(shown)
    return made


def write(folder: Path, report: dict[str, Any], answers: Sequence[Answer]) -> list[Path]:
    """Writes the result as JSON and as a picture.

    Raises:
        TrainerError: matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    settings = report["settings"]
    files = [folder / f"layers-{settings['arithmetic']}{suffix}" for suffix in (".json", ".png")]
    files[0].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    heading = f"{settings['encoder']}, {settings['arithmetic']}: a linear probe on each layer"
    files[1].write_bytes(layer_picture(answers, heading, LIGHT))
    return files


@click.command(epilog="Example: medusa bench layers --corpora ~/corpora --out bench-out")
@CORPORA
@click.option(
    "--within",
    multiple=True,
    default=("ravdess",),
    show_default=True,
    help="A corpus whose speakers are scored in folds, by a probe fitted on the others; may be given again.",
)
@click.option(
    "--left-out",
    multiple=True,
    default=("emodb", "ravdess"),
    show_default=True,
    help="A corpus that is scored by a probe fitted on others alone; may be given again.",
)
@click.option(
    "--train-on",
    multiple=True,
    default=("ravdess", "tess", "emodb"),
    show_default=True,
    help="What a probe is fitted on for --left-out, less the corpus left out; may be given again.",
)
@click.option("--folds", type=click.IntRange(min=2), default=FOLDS, show_default=True, help="Parts of the speakers.")
@click.option("--prosody", is_flag=True, help="Probe prosody too, alone and beside each layer.")
@click.option(
    "--arithmetic",
    type=click.Choice(["int8", "float32"]),
    default=WHISPER_ARITHMETIC,
    show_default=True,
    help="Of the encoder's linear maps; training reads them in int8.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=None, help="CPU threads of the encoder; one a core if none."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=None, help="Folder for JSON and picture."
)
@JSON
def main(
    corpora: Path,
    within: Sequence[str],
    left_out: Sequence[str],
    train_on: Sequence[str],
    folds: int,
    prosody: bool,
    arithmetic: str,
    threads: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Probes every hidden layer of the Whisper encoder for the emotion, on new speakers and on corpora left out.

    The probe is a logistic regression on the mean and deviation of a clip's frames, relative to all clips of its
    speaker: it knows a voice better than the ensemble does, and says which layer to read, not how well that does.
    """
    questions = [
        *(Question("within", name) for name in dict.fromkeys(within)),
        *(Question("left_out", name) for name in dict.fromkeys(left_out)),
    ]
    train_on = list(dict.fromkeys(train_on))
    recipe = load_recipe(RECIPE)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    try:
        loaded = load_utterances(recipe, corpora, list(dict.fromkeys([*(q.corpus for q in questions), *train_on])))
        utterances = agreed(loaded)
        # What cannot be asked is said before minutes of encoding.
        for question in questions:
            cuts(question, unread(utterances, recipe.label_set), folds, train_on)
        encoder = WhisperEncoder(
            backbone_folder(backbone(ENCODER), progress=True),
            layers=_LAYERS,
            decodes=False,
            compute_type=arithmetic,
            threads=threads or 0,
        )
        audio_s = sum(u.duration_s or 0.0 for u in utterances)
        with terminal_progress("encoding", len(utterances), audio_s) as advance:
            clips = read(utterances, recipe.label_set, encoder, ProsodyExtractor() if prosody else None, advance)
        for problem in clips.problems:
            click.echo(f"left out: {problem}", err=True)
        with terminal_progress("probing", len(clips.probed) * len(questions), 0.0) as advance:
            answers = ask(clips, questions, folds, train_on, advance)
        settings = stated(loaded, clips, arithmetic=arithmetic, folds=folds, train_on=train_on)
        report = written("layers", settings, rows(answers))
        files = [] if out is None else write(out, report, answers)
    except (BenchmarkError, ModelsError, TrainerError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(report, indent=1))
        return
    console = Console()
    for shown in tables(answers):
        console.print(shown)
    for file in files:
        console.print(f"wrote {os.fspath(file)}", markup=False, highlight=False)


if __name__ == "__main__":
    main()
