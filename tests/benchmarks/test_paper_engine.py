"""The paper's fourteen members, built by TensorRT ahead of time for cards that are not here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.shapes import PAPER14
from models.engines.tensorrt_shapes import sized_by

pytest.importorskip("tensorrt_rtx", reason="the wheel of TensorRT for RTX is for Linux on x86-64")

# A process of its own: half a billion weights are given back when it ends.
PROGRAM = """
import sys
import numpy as np
from benchmarks.shapes import load_shape
from models.engines.tensorrt import build_engine, inspect_engine
from models.engines.tensorrt_shapes import default_buckets
from models.graphs.ensemble import ensemble_graph

shape = load_shape(sys.argv[1])
modalities = shape.ensemble.modalities
graph = ensemble_graph(shape.ensemble, kind=np.float16)
del shape
built = build_engine(graph, default_buckets(modalities), capabilities=sys.argv[2:])
del graph
print(inspect_engine(built.content).record.model_dump_json())
"""


def test_fourteen_members_are_built_for_four_capabilities_on_a_machine_without_a_gpu() -> None:
    asked = ("SM80", "SM86", "SM89", "SM120")
    done = subprocess.run([sys.executable, "-c", PROGRAM, PAPER14, *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads(done.stdout)
    assert record["capabilities"] == ["8.0", "8.6", "8.9", "12.0"]
    assert record["precision"] == "fp16"
    inputs = {entry["name"]: (entry["dtype"], entry["shape"]) for entry in record["inputs"]}
    modalities = {"wavlm", "hubert", "whisper", "clap", "roberta", "modernbert"}
    assert {sized_by(name) for name in inputs} == modalities
    assert inputs["whisper_features"] == ("float32", [-1, -1, 1280])
    assert inputs["whisper_lengths"] == ("int64", [-1])
    assert {e["name"]: (e["dtype"], e["shape"]) for e in record["outputs"]} == {
        "probabilities": ("float32", [-1, 8]),
        "attributes": ("float32", [-1, 3]),
    }
    (profile,) = record["profiles"]
    assert profile["batch"]["steps"] == [1, 8, 32, 128]
    assert profile["times"].keys() == modalities
    # Half a billion weights, two bytes each.
    assert 0.8e9 < record["engine_bytes"] < 1.2e9
    halves = sum(kinds.get("float16", 0) for kinds in record["layers"].values())
    assert record["layers"]["matrix_multiply"].keys() >= {"float16"}
    assert halves > 300
