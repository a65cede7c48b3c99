"""Text encoders as graphs that run, and tiny checkpoints in which every weight has a say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.graphs.graph import Graph
from models.graphs.text import TextGraph, emit_text_encoder
from models.modalities import TokenBatch
from tests.fakes.checkpoints import stirred, tiny_checkpoint

_SPREAD: Final = 0.3
"""A product over 16 features then gives about as much as it is given."""


def lively_checkpoint(architecture: str, folder: Path, **changes: Any) -> Path:
    """As `tiny_checkpoint`, but for weights, which are small at first: what each of them does is seen."""
    return stirred(tiny_checkpoint(architecture, folder, **changes), spread=_SPREAD)


def encoded(text: TextGraph, batch: TokenBatch) -> NDArray[np.float32]:
    """What an encoder's graph gives, `[batch, time - 2, dim]`."""
    graph = Graph("text")
    tokens = graph.input("tokens", np.int64, ("batch", "time"))
    lengths = graph.input("lengths", np.int64, ("batch",))
    graph.output("features", emit_text_encoder(graph, text, tokens, lengths), np.float32, ("batch", "inner", text.dim))
    session = onnxruntime.InferenceSession(graph.serialise(), providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"tokens": batch.tokens, "lengths": batch.lengths})
    return np.asarray(features)
