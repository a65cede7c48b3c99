"""Corpora, feature stores and a recipe so small that all four stages run in a second, and still something to learn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.backbones.registry import BACKBONES
from tests.fakes.corpora import write_tone
from trainer.artefacts import Artefacts
from trainer.assembly import RunSpec
from trainer.feature_policy import store_spec
from trainer.features import FeatureStore
from trainer.recipe import Recipe, load_recipe
from trainer.stages import TrainedEnsemble

LABELS: Final = ("angry", "sad", "happy", "neutral")
MEMBERS: Final = ("both", "voice", "words")
MODELS: Final = (
    *((stage, name) for stage in ("stage1", "stage2") for name in MEMBERS),
    *(("stage3", f"run-{run}") for run in range(3)),
    ("stage4", "soup"),
)
"""Stage and name of everything a run of the recipe below leaves."""
MODALITIES: Final = {"prosody": ("prosody", 8), "text": ("minilm-l6", 1)}
"""Backbone and stride by modality."""
VOICES, LINES, COMMENTS = "voices", "lines", "comments"
LICENCES: Final = {VOICES: "CC0-1.0", LINES: "ODbL-1.0", COMMENTS: "MIT"}
CLIP_S: Final = 0.1
NOISE: Final = 1.5
"""Deviation of a frame from its class; so much that every stage finds something to better."""

RECIPE: Final = """
name = "tiny"
seed = 3
labels = ["angry", "sad", "happy", "neutral"]
corpora = ["voices", "lines", "comments"]
development_share = 0.4

[quota]
comments = 30

[modalities.prosody]
backbone = "prosody"
stride = 8

[modalities.text]
backbone = "minilm-l6"

[speaker.prosody]
weight_frames = 4
memory_frames = 40

[[members]]
name = "both"
modalities = ["prosody", "text"]
width = 8
feed_forward = 16

[[members]]
name = "voice"
modalities = ["prosody"]
width = 8
feed_forward = 16

[[members]]
name = "words"
modalities = ["text"]
width = 8
feed_forward = 16

[stage1]
learning_rate = 1e-2
warmup_steps = 4
epochs = 2
batch = 8
modality_drop = 0.2

[stage2]
learning_rate = 1e-2
warmup_steps = 0
epochs = 3
batch = 16

[meta]
runs = 3
attributes_as_evidence = false

[meta.full]
anchor = 1.0
keep = "last"
learning_rate = 5e-2
warmup_steps = 0
epochs = 4
mixup = 1.0

[meta.balanced]
anchor = 1.0
keep = "last"
learning_rate = 1e-3
warmup_steps = 0
epochs = 1
mixup = 1.0
"""


@dataclass(frozen=True)
class TinyData:
    """Where everything lies."""

    folder: Path
    recipe_file: Path
    ids: dict[str, list[str]] = field(default_factory=dict)
    """By corpus."""

    @property
    def corpora(self) -> Path:
        return self.folder / "corpora"

    @property
    def features(self) -> Path:
        return self.folder / "features"

    def spec(self, work: str, recipe: Recipe | None = None) -> RunSpec:
        """A run on this data, its artefacts in a folder of that name."""
        return RunSpec(recipe or load_recipe(self.recipe_file), self.corpora, self.features, self.folder / work)

    @property
    def options(self) -> list[str]:
        """Where the console commands find it."""
        return ["--corpora", str(self.corpora), "--features", str(self.features)]


@dataclass(frozen=True)
class TinyRun:
    """A run that went through without a stop."""

    spec: RunSpec
    trained: TrainedEnsemble
    told: list[tuple[str, int, int, float]]
    """Everything it announced."""


def assert_same_run(one: RunSpec, other: RunSpec) -> None:
    """Whether two runs left the same weights, bit for bit."""
    mine, theirs = weights_of(one), weights_of(other)
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


def weights_of(spec: RunSpec) -> dict[str, torch.Tensor]:
    """Every tensor a run left, by stage, model and name."""
    artefacts = Artefacts(spec)
    return {
        f"{stage}/{name}/{key}": value
        for stage, name in MODELS
        for key, value in artefacts.weights(stage, name).items()
    }


def tiny_data(folder: Path, *, sign: str = "-") -> TinyData:
    """Eight speakers with words, three without, and comments nobody spoke; features tell the class, and the speaker.

    Nobody agreed on some of each; some comments are set aside for testing.

    Args:
        folder: where to.
        sign: between speaker and number in the ids of clips.
    """
    rng = np.random.default_rng(0)
    recipe = folder / "tiny.toml"
    recipe.write_text(RECIPE)
    data = TinyData(folder, recipe)
    directions = {
        name: np.random.default_rng(7).normal(size=(len(LABELS), BACKBONES[backbone].dim))
        for name, (backbone, _) in MODALITIES.items()
    }
    stores = {
        name: FeatureStore.open(data.features / spec.folder, spec)
        for name, spec in ((n, store_spec(b, stride=stride)) for n, (b, stride) in MODALITIES.items())
    }
    for corpus, rows in (
        (VOICES, list(_spoken(8, LABELS, words=True, sign=sign))),
        (LINES, list(_spoken(3, ("angry", "sad", "neutral"), words=False, sign=sign))),
        (COMMENTS, list(_written(40))),
    ):
        place = data.corpora / corpus
        write_tone(place / "tone.wav", seconds=CLIP_S)
        (place / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (place / "corpus.toml").write_text(f'licence = "{LICENCES[corpus]}"\ncitation = "Whoever made {corpus}"\n')
        data.ids[corpus] = [f"{corpus}/{row['id']}" for row in rows]
        shifts: dict[str, np.ndarray] = {}
        for row in rows:
            meant = class_of(row)
            for name, has in (("prosody", "audio" in row), ("text", "transcript" in row)):
                if not has:
                    continue
                dim = directions[name].shape[1]
                values = directions[name][meant] + rng.normal(scale=NOISE, size=(int(rng.integers(2, 5)), dim))
                if name == "prosody":
                    values += 3 * shifts.setdefault(row.get("speaker", ""), rng.normal(size=dim))
                stores[name].append(f"{corpus}/{row['id']}", values.astype(np.float32))
    for store in stores.values():
        store.close()
    return data


def class_of(row: dict[str, Any]) -> int:
    """Index of the class a row's features tell of."""
    return LABELS.index(row["label"]) if "label" in row else LABELS.index(max(row["votes"], key=row["votes"].get))


def _spoken(speakers: int, labels: tuple[str, ...], *, words: bool, sign: str) -> Iterator[dict[str, Any]]:
    for speaker in range(speakers):
        for number, label in enumerate([*labels, *labels, "unclear"]):
            row: dict[str, Any] = {"id": f"s{speaker}{sign}{number}", "audio": "tone.wav", "speaker": f"s{speaker}"}
            row |= {"votes": {"angry": 1, "sad": 1}} if label == "unclear" else {"label": label}
            if words:
                row["transcript"] = "what was said"
            yield row


def _written(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        row: dict[str, Any] = {"id": f"c{number}", "transcript": "what was written"}
        row |= {"votes": {"happy": 1, "sad": 1}} if number % 8 == 7 else {"label": LABELS[number % len(LABELS)]}
        yield {**row, "split": "test" if number % 10 == 9 else "train"}
