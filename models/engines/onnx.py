"""The engine for CPUs: one ONNX graph in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from models.engines.base import EngineOutput
from models.errors import EngineError
from models.inputs import complete
from models.modalities import Modality, PaddedBatch


def feature_input(modality: str) -> str:
    """Name of a modality's features among the graph's inputs."""
    return f"{modality}_features"


def length_input(modality: str) -> str:
    """Name of a modality's lengths among the graph's inputs."""
    return f"{modality}_lengths"


OUTPUTS = ("probabilities", "attributes")


class OnnxEngine:
    """Runs an exported graph; thread-safe, as ONNX Runtime sessions are."""

    name = "onnx"

    def __init__(self, graph: Path | bytes, modalities: tuple[Modality, ...], *, threads: int = 0) -> None:
        """Opens a graph.

        Args:
            graph: an exported file or its content; see `models.compile`.
            modalities: the bundle's inputs.
            threads: CPU threads a call may use; 0 lets ONNX Runtime choose.

        Raises:
            EngineError: ONNX Runtime cannot read it, or its inputs are not those of the bundle.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Between segments the cores belong to the encoder and the decoder.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            source = graph if isinstance(graph, bytes) else str(graph)
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot open the graph: {error}") from error
        self.modalities = modalities
        expected = {name(m.name) for m in modalities for name in (feature_input, length_input)}
        found = {entry.name for entry in self._session.get_inputs()}
        if found != expected:
            raise EngineError(f"the graph reads {sorted(found)}, the bundle gives {sorted(expected)}")

    def run(self, inputs: Mapping[str, PaddedBatch]) -> EngineOutput:
        """Scores a batch; see `Engine.run`."""
        feed: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32 | np.int64]]] = {}
        for name, batch in complete(inputs, self.modalities).items():
            feed[feature_input(name)] = batch.features
            feed[length_input(name)] = batch.lengths
        probabilities, attributes = self._session.run(list(OUTPUTS), feed)
        return EngineOutput(np.asarray(probabilities), np.asarray(attributes))
