"""The paper's 14 members, on a corpus in the form of MSP-Podcast and backbones too small to know anything."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.bundle import load_bundle
from tests.fakes.checkpoints import tiny_large_profile
from tests.fakes.msp_podcast import Clip, write_msp_podcast

ROOT = Path(__file__).parents[2]
CLASSES = {
    "A": "Angry",
    "S": "Sad",
    "H": "Happy",
    "U": "Surprise",
    "F": "Fear",
    "D": "Disgust",
    "C": "Contempt",
    "N": "Neutral",
}
KILLS = 5
SHORT = (
    "member_defaults.width=8",
    "member_defaults.feed_forward=16",
    "stage1.epochs=1",
    "stage2.epochs=1",
    "meta.full.epochs=2",
    "meta.balanced.epochs=1",
    "stage1.learning_rate=1e-3",
    "stage2.learning_rate=1e-3",
)
"""What is changed of the recipe besides its backbones: how wide and how long."""


def clips() -> Iterator[Clip]:
    """Ten speakers to train on, two to choose by, one to test on; one utterance in nine without agreement."""
    names = list(CLASSES.values())
    for speaker in range(13):
        split = "Test1" if speaker == 12 else "Development" if speaker >= 10 else "Train"
        for number, (letter, name) in enumerate([*CLASSES.items(), ("X", "Sad")]):
            other = names[(number + speaker) % len(names)]
            votes = ("Sad", "Angry", "Happy") if letter == "X" else (name, name, other)
            yield Clip(
                f"MSP-PODCAST_{speaker:04d}_{number:04d}",
                letter,
                votes,
                f"utterance {number} of speaker {speaker}",
                str(speaker),
                split=split,
            )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    write_msp_podcast(folder / "corpora" / "msp_podcast", clips(), seconds=0.3)
    tiny_large_profile(folder / "checkpoints")
    return folder


def command(place: Path, work: str) -> list[str]:
    backbones = [f'backbones.{path.name}.folder="{path}"' for path in sorted((place / "checkpoints").iterdir())]
    arguments = ["--recipe", "medusa14", "--corpora", str(place / "corpora"), "--features", str(place / work / "store")]
    arguments += ["--work", str(place / work / "runs"), "--out", str(place / work / "bundle"), "--name", "medusa14"]
    arguments += ["--checkpoint-every", "0", "--device", "cpu", "--json", "--licence", "none"]
    arguments += [part for change in (*backbones, *SHORT) for part in ("--set", change)]
    return [sys.executable, "-m", "models.console", "train", *arguments]


def started(place: Path, work: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(place, work), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> dict[str, str]:
    """What a run that nobody disturbs says of its bundle."""
    process = started(place, "undisturbed")
    said, complaints = process.communicate()
    assert process.returncode == 0, complaints
    summary: dict[str, str] = json.loads(said)
    return summary


def test_all_four_stages_of_fourteen_members_end_in_a_bundle(place: Path, undisturbed: dict[str, str]) -> None:
    bundle = load_bundle(place / "undisturbed" / "bundle")
    assert bundle.sha256 == undisturbed["sha256"]
    assert len(bundle.manifest.members) == 14
    assert tuple(bundle.labels) == tuple(name.lower() for name in CLASSES.values())
    assert {entry.name for entry in bundle.manifest.backbones} == {
        path.name for path in (place / "checkpoints").iterdir()
    }
    runs = place / "undisturbed" / "runs" / "medusa14"
    assert [len(list((runs / f"stage{stage}").glob("*.json"))) for stage in (1, 2, 3, 4)] == [14, 14, 6, 1]


def ended_within(process: subprocess.Popen[str], seconds: float) -> None:
    """Waits for a process, and no longer than so many seconds."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def finished(place: Path) -> int:
    """Models that a run which is killed again and again has finished, of 35."""
    return len(list((place / "killed" / "runs" / "medusa14").glob("stage*/*.json")))


def test_killed_at_five_random_moments_it_ends_with_the_same_weights(place: Path, undisturbed: dict[str, str]) -> None:
    chance = random.Random(2506)
    # The first falls into the extraction of features, the others somewhere between two models of the 28 members.
    moments = [None, *sorted(chance.sample(range(1, 27), KILLS - 1))]
    for moment in moments:
        process = started(place, "killed")
        while process.poll() is None and not (
            any((place / "killed" / "store").rglob("*.f16")) if moment is None else finished(place) >= moment
        ):
            ended_within(process, 0.002)
        ended_within(process, chance.uniform(0.0, 0.1))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.communicate()
    process = started(place, "killed")
    said, complaints = process.communicate()
    assert process.returncode == 0, complaints
    mine, theirs = (load_bundle(place / work / "bundle") for work in ("killed", "undisturbed"))
    assert mine.manifest.files == theirs.manifest.files
    assert json.loads(said)["sha256"] == undisturbed["sha256"]
