"""The encoder inside a Whisper that was converted for CTranslate2, read out of its `model.bin`.

CTranslate2 runs an encoder as a whole and hands out its last layer alone. Members read a layer in the middle, so the
encoder is written as a graph of our own from the very weights that CTranslate2 decodes with.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import ValidationError

from models.errors import WeightsError
from models.graphs.checkpoint import Array, Weights
from models.graphs.whisper import WhisperGraph, WhisperShape

MODEL_FILE: Final = "model.bin"

_VERSION: Final = 6
"""Of the format; see `python/ctranslate2/specs/model_spec.py` of CTranslate2 4."""
_SPECIFICATION: Final = "WhisperSpec"
_TYPES: Final[Mapping[int, type[np.generic]]] = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_ENCODER: Final = "encoder/"
_HEADS: Final = "num_heads"
_PROJECTIONS: Final = ("q_proj", "k_proj", "v_proj")
_PARTS: Final = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
_LAYER_PARTS: Final = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
"""What is called what: in CTranslate2 and on the hub."""


def read_whisper_file(folder: Path) -> WhisperGraph:
    """Reads the encoder of a converted Whisper; its decoder is skipped.

    Args:
        folder: with `model.bin`, its weights in float16 or float32.

    Raises:
        WeightsError: there is no such file, it is damaged, quantised, of another format or of another model.
    """
    path = folder / MODEL_FILE
    try:
        content = np.memmap(path, dtype=np.uint8, mode="r")
        return _as_on_the_hub(folder, dict(_encoder_tensors(content.data)))
    except (OSError, ValueError, KeyError, IndexError, struct.error, ValidationError) as error:
        # A name that is missing, a size that does not fit: the file is not what its first bytes say.
        raise WeightsError(f"no Whisper encoder can be read from {path}: {error}") from error


def _encoder_tensors(content: memoryview) -> Iterator[tuple[str, Array]]:
    place = 0

    def number(kind: str) -> int:
        nonlocal place
        (found,) = struct.unpack_from(f"<{kind}", content, place)
        place += struct.calcsize(kind)
        return int(found)

    def text() -> str:
        nonlocal place
        size = number("H")
        place += size
        return bytes(content[place - size : place - 1]).decode()

    version, specification = number("I"), text()
    if (version, specification) != (_VERSION, _SPECIFICATION):
        raise ValueError(f"it is a {specification} of version {version}, expected {_SPECIFICATION} of {_VERSION}")
    number("I")  # the specification's revision
    for _ in range(number("I")):
        name = text()
        shape = tuple(number("I") for _ in range(number("B")))
        kind, size = number("B"), number("I")
        if name.startswith(_ENCODER):
            array = np.frombuffer(content[place : place + size], dtype=_TYPES[kind]).reshape(shape)
            yield name.removeprefix(_ENCODER), array
        place += size


def _as_on_the_hub(folder: Path, tensors: Mapping[str, Array]) -> WhisperGraph:
    """Renamed, and queries, keys and values parted."""
    named: dict[str, Array] = {"encoder.embed_positions.weight": tensors["position_encodings/encodings"]}

    def rename(theirs: str, ours: str) -> None:
        for part, own in _PARTS.items():
            if f"{theirs}/{part}" in tensors:
                named[f"encoder.{ours}.{own}"] = tensors[f"{theirs}/{part}"]

    for outer in ("conv1", "conv2", "layer_norm"):
        rename(outer, outer)
    layers = sum(name.endswith("/ffn/layer_norm/gamma") for name in tensors)
    for layer in range(layers):
        for theirs, ours in _LAYER_PARTS.items():
            rename(f"layer_{layer}/{theirs}", f"layers.{layer}.{ours}")
        together = f"layer_{layer}/self_attention/linear_0"
        for part in ("weight", "bias"):
            shares = np.split(tensors[f"{together}/{part}"], len(_PROJECTIONS))
            for projection, share in zip(_PROJECTIONS, shares, strict=True):
                named[f"encoder.layers.{layer}.self_attn.{projection}.{part}"] = share
    quantised = [name for name, array in named.items() if array.dtype not in {np.dtype("float16"), np.dtype("float32")}]
    if quantised:
        raise ValueError(f"{quantised[0]} is quantised; convert the model with float16 or float32 weights")
    places, width = tensors["position_encodings/encodings"].shape
    shape = WhisperShape(
        model_type="whisper",
        d_model=width,
        encoder_attention_heads=int(tensors[_HEADS]),
        encoder_layers=layers,
        max_source_positions=places,
        num_mel_bins=tensors["conv1/weight"].shape[1],
    )
    return WhisperGraph(shape, Weights(folder, named), layers=1, stacked=False)
