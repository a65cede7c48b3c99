"""What a run leaves on disk: whole or not there, and never taken up by another run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.fakes.runs import TinyData
from trainer import artefacts as module
from trainer.artefacts import Artefacts
from trainer.assembly import Excluded, RunSpec
from trainer.errors import RecipeError

WEIGHTS = {"layer.weight": torch.arange(6, dtype=torch.float32).view(2, 3).t(), "scale": torch.tensor(0.1)}


@pytest.fixture
def spec(tiny: TinyData, tmp_path: Path) -> RunSpec:
    return replace(tiny.spec("unused"), folder=tmp_path / "run")


def test_what_was_saved_comes_back_bit_for_bit(spec: RunSpec) -> None:
    Artefacts(spec).save("stage1", "a", WEIGHTS, {"best_epoch": 3})
    again = Artefacts(spec)
    assert again.has("stage1", "a")
    found = again.weights("stage1", "a")
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)
    assert again.report("stage1", "a") == {"best_epoch": 3}


def test_what_was_not_saved_is_not_there(spec: RunSpec) -> None:
    artefacts = Artefacts(spec)
    artefacts.save("stage1", "a", WEIGHTS, {})
    assert not artefacts.has("stage1", "b")
    assert not artefacts.has("stage2", "a")
    with pytest.raises(RecipeError, match=r"a\.safetensors is missing: run the stages before it first"):
        artefacts.weights("stage2", "a")


@pytest.mark.parametrize("written", [0, 1])
def test_a_model_whose_saving_was_interrupted_is_not_there(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    artefacts, whole, calls = Artefacts(spec), module._write, []

    def interrupted(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) > written:
            path.with_name(f".{path.name}.new").write_bytes(content[: len(content) // 2])
            raise KeyboardInterrupt
        whole(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            artefacts.save("stage1", "a", WEIGHTS, {})
    assert not artefacts.has("stage1", "a")
    artefacts.save("stage1", "a", WEIGHTS, {})
    assert torch.equal(artefacts.weights("stage1", "a")["scale"], WEIGHTS["scale"])


class TestBelonging:
    def test_the_same_run_may_open_its_folder_again(self, spec: RunSpec) -> None:
        Artefacts(spec)
        Artefacts(replace(spec, corpora=Path("moved")))

    @pytest.mark.parametrize("change", [{"seed": 4}, {"stage1": {"learning_rate": 0.5, "epochs": 1}}])
    def test_another_recipe_is_refused(self, spec: RunSpec, change: dict[str, object]) -> None:
        Artefacts(spec)
        other = type(spec.recipe).model_validate({**spec.recipe.model_dump(), **change})
        with pytest.raises(RecipeError, match=r"holds a run of another recipe.*another --work folder, or delete it"):
            Artefacts(replace(spec, recipe=other))

    @pytest.mark.parametrize("excluded", [(Excluded("voices"),), (Excluded("voices", ("voices/s1",)),)])
    def test_the_run_without_others_is_refused(self, spec: RunSpec, excluded: tuple[Excluded, ...]) -> None:
        Artefacts(spec)
        with pytest.raises(RecipeError, match="one without other speakers"):
            Artefacts(replace(spec, excluded=excluded))

    def test_other_data_is_refused(self, spec: RunSpec) -> None:
        Artefacts(spec).claim("one")
        Artefacts(spec).claim("one")
        with pytest.raises(RecipeError, match="holds a run on other data, since corpora or features have changed"):
            Artefacts(spec).claim("other")

    def test_the_recipe_can_be_read_in_the_folder(self, spec: RunSpec) -> None:
        Artefacts(spec)
        described = json.loads((spec.folder / "run.json").read_text())
        assert described["recipe"]["name"] == "tiny"
