"""A bundle over speech encoders of checkpoints, from a file to emotions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.console import main
from tests.fakes.bundles import hearing_bundle, own_checkpoint
from tests.fakes.checkpoints import tiny_checkpoint

pytestmark = pytest.mark.weights

CLIP = Path(__file__).parents[1] / "data" / "librispeech" / "1688-142285-0002.flac"
VOCABULARY = 20_001
"""Tokens that engines are checked with."""


def test_it_says_the_same_with_encoders_inside_the_engine_and_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {"wavlm-large": "wavlm", "hubert-large": "hubert", "whisper-large-v3": "whisper"}
    own = {name: own_checkpoint(tiny_checkpoint(kind, tmp_path / kind), kind) for name, kind in kinds.items()}
    text = tiny_checkpoint("roberta", tmp_path / "text", vocab_size=VOCABULARY)
    own["roberta-large"] = own_checkpoint(text, "roberta")
    bundle = hearing_bundle(tmp_path / "bundle", backbones=own).folder
    monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path / "cache"))
    config = tmp_path / "config.toml"
    found = []
    for engine in ("onnx", "torch"):
        config.write_text(f'[ensemble]\nbundle = "{bundle}"\nengine = "{engine}"\n')
        assert main(["analyze", str(CLIP), "--json", "--config", str(config)]) == 0
        found.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    inside, outside = found
    assert len(inside) == len(outside) > 0
    for one, other in zip(inside, outside, strict=True):
        assert one["text"] == other["text"] != ""
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-3)
