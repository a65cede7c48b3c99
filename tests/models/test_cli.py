"""`medusa weights` and `medusa compile`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.compile_cli import _told
from models.console import main
from models.engine_report import CompiledEngine, EngineReport
from models.order import Order
from tests.fakes.bundles import hearing_bundle, own_checkpoint, tiny_bundle
from tests.fakes.checkpoints import tiny_checkpoint
from tests.fakes.corpora import write_tone
from tests.fakes.weights import LOOSE, MODEL, register_toy, write_files


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, filled from a folder that holds the toy."""
    register_toy(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDUSA_WEIGHTS__CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDUSA_WEIGHTS__SOURCES", "folder")
    monkeypatch.setenv("MEDUSA_WEIGHTS__FOLDER", str(write_files(tmp_path / "mine" / "toy").parent))
    return tmp_path / "cache"


def states(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()]


def test_fetch_brings_everything_and_list_shows_it(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    assert main(["weights", "list", "--json"]) == 0
    assert states(capsys) == ["absent"]
    assert main(["weights", "fetch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "toy", "folder": str(cache / "toy")}
    assert main(["weights", "list", "--json"]) == 0
    assert states(capsys) == ["ready"]


def test_fetch_leaves_the_large_profile_until_it_is_asked_for(
    capsys: pytest.CaptureFixture[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_toy(monkeypatch, LOOSE)
    assert main(["weights", "fetch", "--json"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["weights", "fetch", "--profile", "large", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "toy", "folder": str(cache / "toy")}


def test_list_says_who_pins_what(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    main(["weights", "list"])
    assert "  pinned by this release\n" in capsys.readouterr().out
    register_toy(monkeypatch, LOOSE)
    main(["weights", "list"])
    assert "  model.bin pinned by this release; config.json to be pinned on first use\n" in capsys.readouterr().out
    main(["weights", "fetch", "toy"])
    main(["weights", "list"])
    assert "  model.bin pinned by this release; config.json pinned on first use\n" in capsys.readouterr().out


def test_verify_fails_on_damage_and_names_the_file(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    main(["weights", "fetch"])
    (cache / "toy" / "model.bin").write_bytes(MODEL.upper())
    capsys.readouterr()
    assert main(["weights", "verify"]) == 1
    captured = capsys.readouterr()
    assert "model.bin has SHA-256" in captured.out
    assert captured.err == "medusa: error: weights are damaged or absent; run medusa weights fetch\n"


@pytest.mark.parametrize(("names", "code"), [([], 0), (["toy"], 1)])
def test_absent_weights_fail_verification_only_when_named(names: list[str], code: int) -> None:
    assert main(["weights", "verify", *names]) == code


def test_the_config_file_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.toml").write_text("[weights]\ncahce = ''\n")
    assert main(["weights", "list", "--config", str(tmp_path / "other.toml")]) == 1
    assert capsys.readouterr().err.endswith("other.toml:2: [weights] cahce: unknown key; did you mean cache?\n")


@pytest.mark.parametrize(
    "command", [["weights"], ["weights", "list"], ["weights", "fetch"], ["weights", "verify"], ["compile"]]
)
def test_every_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    assert f"Example: medusa {command[0]}" in capsys.readouterr().out


class TestCompile:
    @pytest.fixture(autouse=True)
    def without_text_encoders(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Their weights are not those of this module's registry."""
        monkeypatch.setattr("models.backbones.text_source.text_sources", lambda *_, **__: {})

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Order, bool]]:
        """What the compiler was asked for; it answers at once, since its work has tests of its own."""
        asked: list[tuple[Order, bool]] = []

        def compiled(order: Order, *, force: bool, progress: object) -> CompiledEngine:
            asked.append((order, force))
            difference = None if order.target == "tensorrt" else 2e-7
            agreement = None if order.target == "tensorrt" else 1.0
            report = EngineReport(
                order.target, order.precision, "its/file", 9, difference, agreement, 212, 200, 3.0, cached=not force,
                capabilities=tuple(order.capabilities),
            )  # fmt: skip
            return CompiledEngine(b"", report)

        monkeypatch.setattr("models.compile.compile_engine", compiled)
        return asked

    def test_every_target_is_compiled_in_every_precision(
        self, asked: list[tuple[Order, bool]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tiny_bundle(tmp_path / "tiny").folder
        targets = ["--target", "tensorrt, tensorrt_rtx", "--precision", "fp32,fp16", "--capability", "8.6, 8.9"]
        assert main(["compile", "--bundle", str(folder), *targets, "--force"]) == 0
        assert [(o.bundle.manifest.name, o.target, o.precision, o.capabilities, force) for o, force in asked] == [
            ("tiny", t, p, ("8.6", "8.9"), True) for t in ("tensorrt", "tensorrt_rtx") for p in ("fp32", "fp16")
        ]
        assert capsys.readouterr().out.splitlines()[:2] == [
            "tensorrt fp32: compiled in 3.0 s; for compute capability 8.6, 8.9; no GPU here runs it, so that it is "
            "checked where it is first used",
            "  its/file",
        ]

    def test_speech_encoders_that_are_at_hand_go_inside(
        self, asked: list[tuple[Order, bool]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        kinds = {"wavlm-large": "wavlm", "hubert-large": "hubert", "whisper-large-v3": "clap"}
        own = {name: own_checkpoint(tiny_checkpoint(kind, tmp_path / kind), kind) for name, kind in kinds.items()}
        folder = hearing_bundle(tmp_path / "bundle", backbones=own).folder
        for targets in ("onnx", "tensorrt"):
            assert main(["compile", "--bundle", str(folder), "--target", targets]) == 0
        assert [order.hearing.keys() for order, _ in asked] == [{"wavlm", "hubert"}] * 2
        told = capsys.readouterr().err
        assert "whisper (whisper-large-v3) stays outside the engine: clap is not written as a graph" in told

    def test_audio_to_calibrate_with_is_read_from_a_folder(
        self, asked: list[tuple[Order, bool]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number in range(4):
            write_tone(tmp_path / "speech" / f"{number}.wav", seconds=1)
        command = ["compile", "--bundle", str(tiny_bundle(tmp_path / "tiny").folder), "--target", "tensorrt"]
        assert main([*command, "--precision", "int8,fp8", "--calibration", str(tmp_path / "speech")]) == 0
        assert [len(order.audio.pieces) for order, _ in asked if order.audio is not None] == [4, 4]
        assert main([*command, "--calibration", str(tmp_path / "nowhere")]) == 1
        assert "nowhere: no such folder" in capsys.readouterr().err

    def test_a_check_of_the_graph_is_no_check_of_the_engine(self) -> None:
        report = EngineReport(
            "tensorrt", "int8", "its/file", 9, None, None, 0, 0, 3.0, cached=False, capabilities=("8.9",),
            calibration="0" * 64, graph_difference=0.004, graph_label_agreement=0.995, graph_rows=200,
        )  # fmt: skip
        assert _told(report, checked=False).splitlines()[0] == (
            "tensorrt int8: compiled in 3.0 s; for compute capability 8.9; no GPU here runs it, so that it is checked "
            "where it is first used; checked as a graph, not as an engine: largest difference from PyTorch 4.0e-03, "
            "labels agree in 99.5% of 200 rows"
        )

    @pytest.mark.usefixtures("asked")
    def test_what_was_checked_is_told_in_figures(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["compile", "--bundle", str(tiny_bundle(tmp_path / "tiny").folder)]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "onnx fp32: from the cache; largest difference from PyTorch 2.0e-07, labels agree in 100.0% of 212 "
            "rows, 200 of them clips",
            "  its/file",
        ]

    @pytest.mark.usefixtures("asked")
    def test_the_report_is_an_object_a_line(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = tiny_bundle(tmp_path / "tiny").folder
        assert main(["compile", "--bundle", str(folder), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["engine"], report["cached"], report["largest_difference"]) == ("onnx", True, 2e-7)

    def test_an_engine_is_looked_into_and_checked_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path / "cache"))
        bundle = ["--bundle", str(tiny_bundle(tmp_path / "tiny").folder)]
        assert main(["compile", *bundle, "--check"]) == 1
        assert "is in the cache: compile it first" in capsys.readouterr().err
        (tmp_path / "cache").write_text("in the way")
        assert main(["compile", *bundle]) == 1
        assert "cannot be kept in" in capsys.readouterr().err
        (tmp_path / "cache").unlink()
        assert main(["compile", *bundle, "--inspect"]) == 0
        told = capsys.readouterr().out
        assert "probabilities        float32  ['batch', 7]" in told
        assert "MatMul" in told
        assert main(["compile", *bundle, "--check", "--json", "--inspect"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["largest_difference"] < 1e-5
        assert report["inspection"]["layers"]["MatMul"] > 10

    @pytest.mark.parametrize(
        ("options", "code", "reason"),
        [
            (["--target", "onnx,"], 2, "has an empty name between its commas"),
            (["--target", "onyx"], 1, "cannot compile to onyx"),
            (["--bundle", "nowhere/at/all"], 1, "nowhere/at/all: no such bundle"),
        ],
    )
    def test_what_cannot_be_compiled_is_said_in_a_line(
        self, options: list[str], code: int, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tiny_bundle(tmp_path / "tiny").folder
        assert main(["compile", "--bundle", str(folder), *options]) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("medusa: error: ")
        assert reason in line
