"""The engine for CPUs: one ONNX graph in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.engines.base import EngineOutput
from models.errors import EngineError
from models.inputs import complete
from models.modalities import EngineInputs, Modality, TokenBatch
from models.numeric_threads import threads_each

OUTPUTS = ("probabilities", "attributes")

_SMALL_BYTES: Final = 200_000_000
"""Graphs up to here finish an operation sooner than a second thread wakes up: they compute rows in parallel instead."""

_Feed = Mapping[str, NDArray[Any]]


def feature_input(modality: str) -> str:
    """Name of a modality's features among the graph's inputs."""
    return f"{modality}_features"


def token_input(modality: str) -> str:
    """Name of a modality's tokens among the graph's inputs, where its text encoder is inside."""
    return f"{modality}_tokens"


def length_input(modality: str) -> str:
    """Name of a modality's lengths among the graph's inputs."""
    return f"{modality}_lengths"


class OnnxEngine:
    """Runs an exported graph; thread-safe, as ONNX Runtime sessions are."""

    name = "onnx"

    def __init__(self, graph: Path | bytes, modalities: tuple[Modality, ...], *, threads: int = 0) -> None:
        """Opens a graph.

        A small graph gives each of its threads some rows of a batch, and one thread alone to a single row; a large one
        gives all of them to each operation.

        Args:
            graph: an exported file or its content; see `models.compile`.
            modalities: the bundle's inputs.
            threads: CPU threads a call may use; 0 for as many as the process has processors.

        Raises:
            EngineError: ONNX Runtime cannot read it, or its inputs are not those of the bundle.
        """
        allowed = threads or threads_each(1)
        size = len(graph) if isinstance(graph, bytes) else graph.stat().st_size if graph.is_file() else 0
        rows_apart = size <= _SMALL_BYTES and allowed > 1
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1 if rows_apart else allowed
        options.log_severity_level = 3
        # Between segments the cores belong to the encoder and the decoder.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            source = graph if isinstance(graph, bytes) else str(graph)
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot open the graph: {error}") from error
        self.modalities = modalities
        found = {entry.name for entry in self._session.get_inputs()}
        self.reads_tokens = frozenset(m.name for m in modalities if token_input(m.name) in found)
        expected = {self._sequence_input(m.name) for m in modalities} | {length_input(m.name) for m in modalities}
        if found != expected:
            raise EngineError(f"the graph reads {sorted(found)}, the bundle gives {sorted(expected)}")
        self._threads = allowed
        self._pool = ThreadPoolExecutor(allowed - 1, thread_name_prefix="onnx-rows") if rows_apart else None

    def run(self, inputs: EngineInputs) -> EngineOutput:
        """Scores a batch; see `Engine.run`."""
        feed: dict[str, NDArray[Any]] = {}
        size = 0
        for name, batch in complete(inputs, self.modalities, self.reads_tokens).items():
            feed[self._sequence_input(name)] = batch.tokens if isinstance(batch, TokenBatch) else batch.features
            feed[length_input(name)] = batch.lengths
            size = len(batch)
        if self._pool is None or size == 1:
            return EngineOutput(*self._compute(feed))
        shares = [rows for rows in np.array_split(np.arange(size), self._threads) if rows.size]
        parts = [{name: array[rows[0] : rows[-1] + 1] for name, array in feed.items()} for rows in shares]
        others = [self._pool.submit(self._compute, part) for part in parts[1:]]
        answers = [self._compute(parts[0]), *(other.result() for other in others)]
        probabilities, attributes = (np.concatenate(column) for column in zip(*answers, strict=True))
        return EngineOutput(probabilities, attributes)

    def _compute(self, feed: _Feed) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        probabilities, attributes = self._session.run(list(OUTPUTS), feed)
        return np.asarray(probabilities), np.asarray(attributes)

    def _sequence_input(self, modality: str) -> str:
        return token_input(modality) if modality in self.reads_tokens else feature_input(modality)
