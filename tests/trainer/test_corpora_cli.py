from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.fakes.corpora import write_clips
from tests.fakes.msp_podcast import Clip, write_msp_podcast
from trainer.corpora.msp_podcast import load_msp_podcast
from trainer.corpora.registry import CORPORA, load_corpus
from trainer.corpora_cli import corpora
from trainer.errors import CorpusError, TrainerError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three clips of MSP-Podcast, one of them without a transcript, and a row too many."""
    clips = [
        Clip("a", "H", ("Happy", "Happy", "Neutral")),
        Clip("b", "X", ("Sad", "Angry"), transcript=None, split="Test1"),
        Clip("c", "O", ("Other", "Other", "Fear"), speaker="Unknown", split="Development"),
    ]
    folder = write_msp_podcast(tmp_path / "downloads" / "msp", clips)
    with (folder / "Labels" / "labels_consensus.csv").open("a", encoding="utf-8") as file:
        file.write("gone.wav,H,4,4,4,9,Male,Train\n")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(corpora, [str(argument) for argument in arguments])


def test_prepare_writes_what_training_reads_back_as_the_very_same_utterances(source: Path, tmp_path: Path) -> None:
    root = tmp_path / "corpora"
    result = run("prepare", "msp_podcast", "--source", source, "--corpora", root)
    assert result.exit_code == 0, result.output
    official, prepared = load_msp_podcast(source), load_corpus("msp_podcast", root / "msp_podcast")
    assert len(prepared) == 3
    for before, after in zip(official.utterances, prepared.utterances, strict=True):
        for field in (
            "id",
            "audio",
            "text",
            "language",
            "speaker",
            "votes",
            "ambiguous",
            "attributes",
            "gender",
            "split",
        ):
            assert getattr(after, field) == getattr(before, field), field
        assert after.duration_s == before.duration_s
        assert after.target.tobytes() == before.target.tobytes()
    assert (prepared.licence, prepared.citation) == (official.licence, official.citation)


def test_prepare_lists_every_problem_and_tells_how_many_there_are(source: Path, tmp_path: Path) -> None:
    result = run("prepare", "msp_podcast", "--source", source, "--corpora", tmp_path / "corpora")
    listed = (tmp_path / "corpora" / "msp_podcast" / "problems.txt").read_text(encoding="utf-8").splitlines()
    assert "gone.wav: left out: no audio file of this name" in listed
    assert f"{len(listed)} problems, listed in " in result.stderr
    assert "1 utterances have no transcript; give them with --transcripts" in result.stderr
    assert "3 utterances, 2 of them ambiguous, 2 speakers" in result.stdout


def test_prepare_writes_the_figures_and_their_picture(source: Path, tmp_path: Path) -> None:
    result = run("prepare", "msp_podcast", "--source", source, "--corpora", tmp_path / "corpora", "--json")
    folder = tmp_path / "corpora" / "msp_podcast"
    shown, summary = json.loads(result.stdout), json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert shown == {"folder": str(folder), **summary}
    assert (summary["utterances"], summary["splits"]) == (3, {"development": 1, "test": 1, "train": 1})
    assert (folder / "summary.png").read_bytes().startswith(b"\x89PNG")


def test_transcripts_may_be_given(source: Path, tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("id,transcript\nb,I never said that\n", encoding="utf-8")
    result = run(
        *("prepare", "msp_podcast", "--source", source, "--corpora", tmp_path / "corpora"),
        *("--transcripts", tmp_path / "words.csv"),
    )
    assert "have no transcript; give" not in result.stderr
    texts = [u.text for u in load_corpus("msp_podcast", tmp_path / "corpora" / "msp_podcast").utterances]
    assert texts == ["so there we were", "I never said that", "so there we were"]


def test_a_corpus_may_be_given_another_name(source: Path, tmp_path: Path) -> None:
    run("prepare", "msp_podcast", "--source", source, "--corpora", tmp_path / "corpora", "--as", "podcasts")
    prepared = load_corpus("podcasts", tmp_path / "corpora" / "podcasts")
    assert [u.id for u in prepared.utterances] == ["podcasts/a", "podcasts/b", "podcasts/c"]
    assert [u.speaker for u in prepared.utterances] == ["podcasts/1", "podcasts/1", "podcasts/c"]


def test_preparing_again_replaces_what_was_there(source: Path, tmp_path: Path) -> None:
    for _ in range(2):
        result = run("prepare", "msp_podcast", "--source", source, "--corpora", tmp_path / "corpora")
    (source / "Audios" / "a.wav").unlink()
    assert run("prepare", "msp_podcast", "--source", source, "--corpora", tmp_path / "corpora").exit_code == 0
    assert result.exit_code == 0
    assert len(load_corpus("msp_podcast", tmp_path / "corpora" / "msp_podcast")) == 2


def test_a_distribution_among_the_corpora_may_be_prepared_where_it_lies(tmp_path: Path) -> None:
    write_clips(tmp_path / "emodb", ["wav/03a01Wa.wav"])
    for _ in range(2):
        assert run("prepare", "emodb", "--source", tmp_path / "emodb", "--corpora", tmp_path).exit_code == 0
    row = json.loads((tmp_path / "emodb" / "manifest.jsonl").read_text(encoding="utf-8"))
    assert row["audio"] == "wav/03a01Wa.wav"
    assert load_corpus("emodb", tmp_path / "emodb").utterances[0].id == "emodb/03a01Wa"


def test_nothing_usable_is_a_failure_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("prepare", "emodb", "--source", tmp_path / "empty", "--corpora", tmp_path / "corpora")
    assert result.exit_code == 1
    assert isinstance(result.exception, CorpusError)
    assert not (tmp_path / "corpora").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["msp"], "'msp' is none of ravdess"), (["emodb", "--as", "a/b"], "no name of a folder")],
)
def test_a_name_that_is_none_is_misuse(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run("prepare", *arguments, "--source", tmp_path)
    assert result.exit_code == 2
    assert message in result.stderr


def test_without_matplotlib_everything_but_the_picture_is_made(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise TrainerError("pictures need matplotlib")

    monkeypatch.setattr("trainer.corpora.picture.drawing", missing)
    result = run("prepare", "msp_podcast", "--source", source, "--corpora", tmp_path / "corpora")
    assert result.exit_code == 0
    assert "no summary.png: pictures need matplotlib" in result.stderr
    assert len(load_corpus("msp_podcast", tmp_path / "corpora" / "msp_podcast")) == 3


def test_list_tells_what_each_corpus_is_and_whether_it_is_there(source: Path, tmp_path: Path) -> None:
    root = tmp_path / "corpora"
    run("prepare", "msp_podcast", "--source", source, "--corpora", root)
    write_clips(root / "emodb", ["03a01Wa.wav"])
    (root / "calls").mkdir()
    (root / "calls" / "manifest.csv").write_text("id,transcript,label\na,x,sad\n")
    (root / "notes").mkdir()

    listed = [json.loads(line) for line in run("list", "--corpora", root, "--json").stdout.splitlines()]

    states = {entry["name"]: entry["state"] for entry in listed}
    assert list(states) == [*CORPORA, "calls"]
    assert {name: state for name, state in states.items() if state != "missing"} == {
        "msp_podcast": "prepared",
        "emodb": "found",
        "calls": "prepared",
    }
    assert all(entry["holds"] and entry["licence"] for entry in listed)
    assert "crema_d      missing" in run("list", "--corpora", root).stdout


def test_help_has_an_example() -> None:
    for command in ([], ["list"], ["prepare"]):
        assert "Example: medusa corpora" in run(*command, "--help").output
