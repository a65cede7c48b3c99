"""`medusa train` and `medusa evaluate` on tiny data: from audio folders to a bundle and its report."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from models.bundle import load_bundle
from models.console import main
from tests.fakes.bundles import tiny_bundle
from tests.fakes.runs import COMMENTS, LINES, VOICES, TinyData, TinyRun, tiny_data
from trainer import evaluate_cli, running
from trainer.errors import TrainingStoppedError


@dataclass(frozen=True)
class Ran:
    """What a command line printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        (line,) = self.out.splitlines()
        parsed: dict[str, Any] = json.loads(line)
        return parsed


class Console:
    """Runs `medusa` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Ran:
        self._capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = self._capsys.readouterr()
        return Ran(code, captured.out, captured.err)


@pytest.fixture
def medusa(capsys: pytest.CaptureFixture[str]) -> Console:
    return Console(capsys)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    """Data of its own, with whatever these commands leave beside it."""
    return tiny_data(tmp_path_factory.mktemp("console"))


def work(place: TinyData) -> list[str]:
    return [*place.options, "--work", str(place.folder / "work")]


@pytest.fixture
def trained(place: TinyData, medusa: Console) -> Path:
    """The bundle `medusa train` made; made once, taken up again after."""
    out = place.folder / "bundle"
    if not out.exists():
        assert medusa("train", "--config", place.recipe_file, "--out", out, *work(place)).code == 0
    return out


class TestTrain:
    def test_it_goes_from_audio_folders_to_a_bundle(self, place: TinyData, medusa: Console, whole_run: TinyRun) -> None:
        out = place.folder / "first"
        ran = medusa("train", "--config", place.recipe_file, "--out", out, *work(place), "--json")
        assert ran.code == 0, ran.err
        bundle = load_bundle(out)
        assert ran.json == {
            "bundle": str(out),
            "sha256": bundle.sha256,
            "temperature": pytest.approx(whole_run.trained.temperature),
        }
        assert bundle.manifest.name == "first"
        assert [m.name for m in bundle.manifest.members] == ["both", "voice", "words"]
        assert bundle.manifest.licence == "CC-BY-NC-SA-4.0"

    def test_epochs_are_told_on_stderr_and_the_result_on_stdout(self, tiny: TinyData, medusa: Console) -> None:
        out = tiny.folder / "told"
        ran = medusa("train", "--config", tiny.recipe_file, "--out", out, *work(tiny))
        assert "both, stage 1: 1 of at most 2, development macro-F1 0." in ran.err
        assert "meta-classifier 3, stage 3" in ran.err
        assert ran.out.splitlines() == [f"{out}: bundle told, 3 members, {load_bundle(out).sha256}"]

    def test_a_run_that_was_stopped_goes_on_to_the_same_bundle(
        self, trained: Path, place: TinyData, medusa: Console
    ) -> None:
        first = load_bundle(trained)
        for artefact in ("stage2/words.json", "stage3/run-1.json", "stage4/soup.json"):
            (place.folder / "work" / "tiny" / artefact).unlink()
        again = place.folder / "again"
        ran = medusa("train", "--config", place.recipe_file, "--out", again, "--name", "bundle", *work(place))
        assert ran.code == 0
        assert "words, stage 2" in ran.err
        assert "stage 1" not in ran.err
        assert load_bundle(again).sha256 == first.sha256

    def test_asked_to_stop_it_says_so_and_ends_as_an_interrupted_program_does(
        self, place: TinyData, medusa: Console, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stopped(*_given: object, **_more: object) -> None:
            raise TrainingStoppedError("stopped as asked; the same command goes on from here")

        monkeypatch.setattr(running, "run_stages", stopped)
        ran = medusa("train", "--recipe", place.recipe_file, "--out", place.folder / "never", *work(place))
        assert ran.code == 130
        assert ran.err.splitlines()[-1] == "medusa: stopped as asked; the same command goes on from here"
        assert not (place.folder / "never").exists()

    def test_a_recipe_can_be_changed_where_it_is_used(self, place: TinyData, medusa: Console) -> None:
        out = place.folder / "changed"
        changes = ["--set", "meta.runs=2", "--set", 'name="other"']
        ran = medusa("train", "--recipe", place.recipe_file, "--out", out, *changes, *work(place))
        assert ran.code == 0
        recipe = load_bundle(out).manifest.recipe
        assert (recipe["name"], recipe["meta"]["runs"]) == ("other", 2)

    def test_what_a_bundle_is_called_and_licensed_may_be_said(
        self, trained: Path, place: TinyData, medusa: Console
    ) -> None:
        out = place.folder / "named"
        medusa("train", "--config", place.recipe_file, "--out", out, "--name", "n", "--licence", "MIT", *work(place))
        manifest = load_bundle(out).manifest
        assert (manifest.name, manifest.licence) == ("n", "MIT")

    def test_figures_of_evaluations_go_into_the_model_card(
        self, trained: Path, place: TinyData, medusa: Console
    ) -> None:
        report = place.folder / "measured"
        assert medusa("evaluate", trained, "--corpus", LINES, "--report", report, *work(place)).code == 0
        out = place.folder / "with-figures"
        ran = medusa(
            "train", "--config", place.recipe_file, "--out", out, "--metrics", report / "figures.json", *work(place)
        )
        assert ran.code == 0, ran.err
        assert "| lines, as shipped | 18 | " in (out / "MODEL_CARD.md").read_text()

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"protocol": "x"}', '{"protocol": "x", "models": {"a": {}}}'])
    def test_what_holds_no_figures_is_refused_before_anything_is_trained(
        self, tiny: TinyData, tmp_path: Path, medusa: Console, content: str
    ) -> None:
        path = tmp_path / "report.json"
        path.write_text(content)
        out = tmp_path / "out"
        ran = medusa(
            "train",
            "--config",
            tiny.recipe_file,
            "--out",
            out,
            "--metrics",
            path,
            *tiny.options,
            "--work",
            tmp_path / "w",
        )
        assert ran.code == 2
        assert "report.json is no figures.json of medusa evaluate" in ran.err
        assert not (tmp_path / "w").exists()

    def test_another_recipe_in_the_same_work_folder_is_refused_in_one_line(
        self, trained: Path, place: TinyData, tmp_path: Path, medusa: Console
    ) -> None:
        other = tmp_path / "other.toml"
        other.write_text(place.recipe_file.read_text().replace("seed = 3", "seed = 4"))
        ran = medusa("train", "--config", other, "--out", tmp_path / "out", *work(place))
        assert ran.code == 1
        assert "holds a run of another recipe" in ran.err
        assert len(ran.err.splitlines()) == 1

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("seed = 3", "sead = 3", "sead: Extra inputs are not permitted"),
            ('modalities = ["text"]', 'modalities = ["txt"]', "member words reads ['txt']"),
            ("development_share = 0.4", "development_share = 4", "development_share: Input should be less than 1"),
            ("seed = 3", "seed = ", "at line 3"),
        ],
    )
    def test_a_recipe_that_is_wrong_is_said_in_one_line(
        self, tiny: TinyData, tmp_path: Path, medusa: Console, old: str, new: str, message: str
    ) -> None:
        recipe = tmp_path / "mine.toml"
        recipe.write_text(tiny.recipe_file.read_text().replace(old, new))
        ran = medusa("train", "--config", recipe, "--out", tmp_path / "out", *tiny.options, "--work", tmp_path / "w")
        assert ran.code == 1
        (line,) = ran.err.splitlines()
        assert line.startswith(f"medusa: error: {recipe}: ")
        assert message in line


class TestEvaluateAsShipped:
    def test_it_prints_every_model_and_says_whom_it_has_heard(
        self, trained: Path, place: TinyData, medusa: Console
    ) -> None:
        ran = medusa("evaluate", trained, "--corpus", VOICES, *work(place))
        assert ran.code == 0, ran.err
        said = ran.out.splitlines()
        assert said[0] == "voices, as shipped"
        assert said[-1] == "The bundle was trained on speakers of voices: this is no measure of new voices."
        for name in ("ensemble", "both", "voice", "words", "soft voting"):
            assert f"| {name} | 64 | " in ran.out

    def test_as_json_it_is_one_object(self, trained: Path, place: TinyData, medusa: Console) -> None:
        report = medusa("evaluate", trained, "--corpus", VOICES, *work(place), "--json").json
        assert list(report["models"]) == ["ensemble", "both", "voice", "words", "soft voting", "hard voting"]
        assert report["models"]["ensemble"]["macro_f1"] > 0.5
        assert report["notes"]

    def test_a_split_that_was_not_trained_on_needs_no_such_note(
        self, trained: Path, place: TinyData, medusa: Console
    ) -> None:
        report = medusa("evaluate", trained, "--corpus", COMMENTS, "--split", "test", *work(place), "--json").json
        assert report["protocol"] == "comments test, as shipped"
        assert not [note for note in report["notes"] if "trained" in note]
        assert report["models"]["ensemble"]["examples"] == 3
        assert report["text_only"]
        assert report["models"]["ensemble"]["ece"] > 0

    def test_one_that_was_does(self, trained: Path, place: TinyData, medusa: Console) -> None:
        report = medusa("evaluate", trained, "--corpus", COMMENTS, "--split", "train", *work(place), "--json").json
        assert (
            report["notes"][-1] == "The bundle was trained on speakers of comments: this is no measure of new voices."
        )

    def test_the_report_is_written(self, trained: Path, place: TinyData, tmp_path: Path, medusa: Console) -> None:
        shown = medusa("evaluate", trained, "--corpus", LINES, "--report", tmp_path / "r", *work(place), "--json").json
        assert json.loads((tmp_path / "r" / "figures.json").read_text()) == shown
        assert {"report.json", "report.md", "report.html", "confusion.png"} <= {
            p.name for p in (tmp_path / "r").iterdir()
        }

    def test_what_people_said_is_quoted_only_where_it_is_asked_for(
        self, trained: Path, place: TinyData, tmp_path: Path, medusa: Console
    ) -> None:
        corpora = shutil.copytree(place.corpora, tmp_path / "corpora")
        manifest = corpora / VOICES / "manifest.jsonl"
        manifest.write_text(manifest.read_text().replace('"label": "angry"', '"label": "sad"'))  # mistakes, surely
        asked = ["evaluate", trained, "--corpus", VOICES, *work(place), "--corpora", corpora]
        medusa(*asked, "--report", tmp_path / "silent")
        medusa(*asked, "--report", tmp_path / "quoting", "--show-text")
        for name in ("report.html", "report.json"):
            assert "what was said" not in (tmp_path / "silent" / name).read_text()
            assert "what was said" in (tmp_path / "quoting" / name).read_text()
        for name in ("figures.json", "report.md"):
            assert "what was said" not in (tmp_path / "quoting" / name).read_text()

    def test_a_bundle_that_does_not_say_its_recipe_is_refused_in_one_line(
        self, place: TinyData, tmp_path: Path, medusa: Console
    ) -> None:
        tiny_bundle(tmp_path / "silent")
        ran = medusa("evaluate", tmp_path / "silent", "--corpus", VOICES, *work(place))
        assert ran.code == 1
        assert len(ran.err.splitlines()) == 1
        assert "does not say which recipe it was trained with" in ran.err


class TestEvaluateAnew:
    @pytest.fixture
    def quick(self, place: TinyData) -> Path:
        """The same recipe with no epoch at all: how well is asked elsewhere."""
        path = place.folder / "quick.toml"
        lines = place.recipe_file.read_text().replace('name = "tiny"', 'name = "quick"').splitlines()
        path.write_text("\n".join("epochs = 0" if line.startswith("epochs") else line for line in lines))
        return path

    def test_in_folds_every_speaker_is_scored_once(self, place: TinyData, quick: Path, medusa: Console) -> None:
        ran = medusa("evaluate", quick, "--corpus", VOICES, "--folds", "2", *work(place), "--json")
        assert ran.code == 0, ran.err
        report = ran.json
        assert report["protocol"] == "voices, speaker-independent, 2 folds"
        assert report["notes"][0] == "Every speaker was scored by an ensemble trained without them."
        assert report["models"]["ensemble"]["examples"] == 64
        assert "fold 2 of 2: trained without 4 speakers of voices" in ran.err

    def test_left_out_a_corpus_is_scored_over_the_classes_it_has(
        self, place: TinyData, quick: Path, medusa: Console
    ) -> None:
        report = medusa("evaluate", quick, "--corpus", LINES, "--leave-out", *work(place), "--json").json
        assert report["protocol"] == "lines, left out of training"
        assert report["models"]["ensemble"]["labels"] == ["angry", "sad", "neutral"]

    def test_a_bundle_s_own_recipe_can_be_trained_anew(self, trained: Path, place: TinyData, medusa: Console) -> None:
        report = medusa("evaluate", trained, "--corpus", LINES, "--leave-out", *work(place), "--json").json
        assert list(report["models"]) == [
            *("ensemble", "both", "voice", "words"),
            *("single meta-classifier", "soft voting", "hard voting", "SVM on scores", "best member"),
        ]

    def test_features_of_a_corpus_the_recipe_does_not_train_on_are_extracted_too(
        self, place: TinyData, quick: Path, medusa: Console, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = place.folder / "without-lines.toml"
        recipe.write_text(quick.read_text().replace('"lines", ', "").replace('name = "quick"', 'name = "less"'))
        asked: list[tuple[list[str], tuple[str, ...]]] = []
        monkeypatch.setattr(
            evaluate_cli, "extract_missing", lambda *given, **_: asked.append((list(given[3]), given[4]))
        )
        assert medusa("evaluate", recipe, "--corpus", LINES, "--leave-out", *work(place)).code == 0
        assert asked == [([VOICES, COMMENTS], ("clean",)), ([LINES], ("clean",))]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--folds", "2", "--leave-out"], "--folds and --leave-out exclude each other"),
            (["--folds", "2", "--split", "test"], "--split goes with neither --folds nor --leave-out"),
            (["--leave-out", "--split", "test"], "--split goes with neither --folds nor --leave-out"),
            (["--folds", "1"], "1 is not in the range"),
            ([], "a recipe can only be evaluated with --folds or --leave-out"),
            (["--leave-out", "--show-text"], "--show-text goes with --report"),
            (["--leave-out", "--views", "clean,cellar"], "no view 'cellar'; there are clean, telephone"),
        ],
    )
    def test_what_does_not_go_together_is_misuse(
        self, place: TinyData, quick: Path, medusa: Console, options: list[str], message: str
    ) -> None:
        ran = medusa("evaluate", quick, "--corpus", VOICES, *options, *work(place))
        assert ran.code == 2
        assert message in ran.err
        assert len(ran.err.splitlines()) == 1

    def test_another_view_is_extracted_and_compared_with_the_first_by_one_training(
        self, place: TinyData, quick: Path, medusa: Console
    ) -> None:
        asked = ["evaluate", quick, "--corpus", LINES, "--leave-out", *work(place), "--json"]
        both = medusa(*asked, "--views", "clean,telephone")
        assert both.code == 0, both.err
        assert both.err.count("trained without lines") == 1
        telephone = both.json["views"]["telephone"]
        assert telephone["examples"] == 18
        assert telephone["reference_macro_f1"] == both.json["models"]["ensemble"]["macro_f1"]
        alone = medusa(*asked, "--views", "telephone").json
        assert (alone["protocol"], alone["view"]) == ("lines, left out of training, view telephone", "telephone")
        assert alone["models"] == telephone["models"]

    def test_packaged_recipes_are_found_by_name(self, place: TinyData, medusa: Console) -> None:
        ran = medusa("evaluate", "recipe:nothing", "--corpus", VOICES, "--leave-out", *work(place))
        assert ran.code == 1
        assert "no recipe nothing: give a TOML file, or one of the packaged ones (" in ran.err


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_help_has_an_example(medusa: Console, command: str) -> None:
    assert f"Example: medusa {command} " in " ".join(medusa(command, "--help").out.split())
