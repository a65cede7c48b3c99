from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.fakes.corpora import write_clips
from tests.fakes.extractors import FakeExtractor
from trainer import feature_library
from trainer.cli import features

FRAMES_FILE = "shard-00000.f16"

RECIPE = """
name = "tiny"
labels = ["angry", "sad", "happy", "neutral"]
corpora = ["emodb"]

[modalities.prosody]
backbone = "prosody"
stride = 2

[[members]]
name = "only"
modalities = ["prosody"]

[stage1]
learning_rate = 1e-3
epochs = 1

[stage2]
learning_rate = 1e-4
epochs = 1

[meta.full]
learning_rate = 1e-2
epochs = 1

[meta.balanced]
learning_rate = 1e-3
epochs = 1
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a corpus of three clips and a recipe, where the prosody backbone costs nothing."""
    write_clips(tmp_path / "corpora" / "emodb", ["03a01Wa.wav", "03a01Fa.wav", "08a02Nb.wav"])
    (tmp_path / "tiny.toml").write_text(RECIPE)
    monkeypatch.setattr(feature_library, "open_extractor", lambda spec, weights, **_: FakeExtractor(26))
    return tmp_path


def medusa_features(place: Path, *arguments: str) -> Result:
    return CliRunner().invoke(features, [*arguments, "--features", str(place / "stores")], catch_exceptions=True)


def extract(place: Path, *more: str) -> Result:
    return medusa_features(
        place, "extract", "--corpora", str(place / "corpora"), "--config", str(place / "tiny.toml"), *more
    )


def test_extract_reports_corpora_on_stderr_and_stores_on_stdout(place: Path) -> None:
    result = extract(place, "--json")
    assert result.exit_code == 0, result.output
    assert "emodb: 3 utterances, 2 speakers" in result.stderr
    assert "3 of the corpus's 535 clips" in result.stderr
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"store": "prosody-stride2-clean", "stored": 3, "present": 0, "missing_modality": 0}
    ]


def test_extracting_again_finds_all_there(place: Path) -> None:
    extract(place)
    assert "0 stored        3 there before" in extract(place).stdout


def test_a_view_may_be_chosen(place: Path) -> None:
    extract(place, "--view", "telephone")
    assert [folder.name for folder in (place / "stores").iterdir()] == ["prosody-stride2-telephone"]


def test_a_clip_that_cannot_be_used_is_listed_at_the_end_with_exit_code_1(place: Path) -> None:
    with (place / "corpora" / "emodb" / "03a01Wa.wav").open("r+b") as file:
        file.seek(44)
        file.truncate()
        file.seek(4)
        file.write((36).to_bytes(4, "little"))
    result = extract(place)
    assert result.exit_code == 1
    assert "not usable: emodb/03a01Wa" in result.stdout
    assert "clips that could not be used: 1" in result.stderr
    assert "2 stored" in result.stdout


def test_a_part_of_the_clips_may_be_chosen_and_all_parts_are_the_whole(place: Path) -> None:
    stored = [json.loads(extract(place, "--part", f"{part}/2", "--json").stdout)["stored"] for part in (1, 2)]
    assert sorted(stored) == [1, 2]
    assert "3 there before" in extract(place).stdout


@pytest.mark.parametrize("part", ["0/2", "3/2", "2", "a/b", "1/"])
def test_a_part_that_does_not_exist_is_refused(place: Path, part: str) -> None:
    result = extract(place, "--part", part)
    assert result.exit_code == 2
    assert "is no part such as 1/4" in result.stderr


def test_info_shows_what_is_stored_and_under_which_policy(place: Path) -> None:
    extract(place)
    result = medusa_features(place, "info", "--verify", "--jobs", "2", "--json")
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    shown = json.loads(line)
    assert (shown["store"], shown["utterances"], shown["corpora"]) == ("prosody-stride2-clean", 3, {"emodb": 3})
    assert shown["policy"]["stride"] == 2
    # Three frames, each the mean of two of the 50 that prosody has in a second.
    assert shown["hours"] == pytest.approx(3 * 2 / 50 / 3600, rel=0.02)
    assert (shown["frames"], shown["shards"], shown["size_bytes"]) == (3, 1, 3 * 26 * 2)
    assert (shown["duplicates"], shown["damaged"]) == ([], {})
    spoken_of = medusa_features(place, "info").stdout
    assert "prosody-stride2-clean" in spoken_of
    assert "emodb 3" in spoken_of
    assert "backbone prosody, view clean, stride 2" in spoken_of


def test_info_does_not_say_that_nothing_is_damaged_where_nobody_looked(place: Path) -> None:
    extract(place)
    assert json.loads(medusa_features(place, "info", "--json").stdout)["damaged"] is None


def test_info_notes_what_two_processes_stored(place: Path) -> None:
    extract(place)
    folder = place / "stores" / "prosody-stride2-clean"
    for suffix in ("f16", "jsonl"):
        shutil.copy(folder / f"shard-00000.{suffix}", folder / f"shard-00001.{suffix}")
    result = medusa_features(place, "info", "--json")
    shown = json.loads(result.stdout)
    assert (result.exit_code, shown["utterances"], shown["shards"]) == (0, 3, 2)
    assert shown["duplicates"] == ["emodb/03a01Fa", "emodb/03a01Wa", "emodb/08a02Nb"]
    assert "stored twice: emodb/03a01Wa" in medusa_features(place, "info").stdout


def test_info_finds_damage_with_exit_code_1_and_says_where(place: Path) -> None:
    extract(place)
    path = place / "stores" / "prosody-stride2-clean" / FRAMES_FILE
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    assert medusa_features(place, "info").exit_code == 0
    result = medusa_features(place, "info", "--verify")
    assert result.exit_code == 1
    assert "damaged: emodb/" in result.stdout
    assert f"in {FRAMES_FILE}" in result.stdout
    assert "delete the shards that hold them" in result.stderr


def test_info_without_stores_says_what_to_run(place: Path) -> None:
    result = medusa_features(place, "info")
    assert "medusa features extract" in str(result.exception)


def test_help_has_an_example() -> None:
    for command in ([], ["extract"], ["info"]):
        assert "Example: medusa features" in CliRunner().invoke(features, [*command, "--help"]).output
