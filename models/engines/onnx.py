"""The engine for CPUs: one ONNX graph in ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.engines.base import EngineOutput
from models.engines.graph_inputs import (
    ALL_LANES,
    ANSWERS_OUTPUT,
    GIVEN_INPUT,
    LANE_INPUT,
    LANES_NOTE,
    OUTPUTS,
    Reading,
    told_hearing,
)
from models.errors import EngineError
from models.modalities import EngineInputs, Modality
from models.numeric_threads import threads_each

_SMALL_BYTES: Final = 200_000_000
"""Graphs up to here finish an operation sooner than a second thread wakes up: their threads compute lanes or rows."""

_WEIGHTS_FOLDER: Final = "session.model_external_initializers_file_folder_path"
"""ONNX Runtime's setting of where the files lie that a graph names."""

_Feed = Mapping[str, NDArray[Any]]
_Scores = tuple[NDArray[np.float32], NDArray[np.float32]]
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Lanes:
    """How a graph can be computed in parts."""

    places: tuple[NDArray[np.int64], ...]
    """The members of each lane."""
    members: int
    width: int
    """Numbers a member says."""

    @classmethod
    def of(cls, session: onnxruntime.InferenceSession) -> _Lanes | None:
        """As the graph says; None where it is computed as a whole."""
        if LANE_INPUT not in {entry.name for entry in session.get_inputs()}:
            return None
        shapes = {entry.name: entry.shape for entry in session.get_outputs()}
        note = session.get_modelmeta().custom_metadata_map.get(LANES_NOTE)
        try:
            _, members, width = shapes[ANSWERS_OUTPUT]
            places = tuple(np.array(own, dtype=np.int64) for own in json.loads(note or "null"))
            whole = sorted(int(place) for own in places for place in own) == list(range(members))
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(f"the graph does not say which members its lanes compute: {error!r}") from error
        if not whole:
            raise EngineError(f"the graph's lanes compute members {note}, not each of {members} once")
        return cls(places, members, width)

    def nothing(self, rows: int) -> NDArray[np.float32]:
        """What is given where no member has been computed."""
        return np.zeros((rows, self.members, self.width), dtype=np.float32)


class OnnxEngine:
    """Runs an exported graph; thread-safe, as ONNX Runtime sessions are."""

    name = "onnx"

    def __init__(
        self,
        graph: Path | bytes,
        modalities: tuple[Modality, ...],
        *,
        threads: int = 0,
        weights: Path | None = None,
        as_written: bool = False,
    ) -> None:
        """Opens a graph.

        The threads of a small graph compute its lanes beside each other where it has any, else some rows of a batch
        each, and one thread alone a single row; a large graph gives all of them to each operation.

        Args:
            graph: an exported file or its content; see `models.compile`.
            modalities: the bundle's inputs.
            threads: CPU threads a call may use; 0 for as many as the process has processors.
            weights: the file that holds the graph's weights, where they are none of the content.
            as_written: see `open_session`.

        Raises:
            EngineError: ONNX Runtime cannot read it, its inputs are not those of the bundle, or it does not say what
                its lanes are.
        """
        allowed = threads or threads_each(1)
        size = len(graph) if isinstance(graph, bytes) else _size(graph)
        if weights is not None:
            size += _size(weights)
        parts_apart = size <= _SMALL_BYTES and allowed > 1
        self._session = open_session(
            graph, threads=1 if parts_apart else allowed, weights=weights, as_written=as_written
        )
        self.modalities = modalities
        shapes = {entry.name: entry.shape for entry in self._session.get_inputs()}
        shapes = {name: shape for name, shape in shapes.items() if name not in {LANE_INPUT, GIVEN_INPUT}}
        hears = told_hearing(self._session.get_modelmeta().custom_metadata_map)
        self._reading = Reading.of(modalities, shapes, hears)
        self.reads_tokens = self._reading.tokens
        self.reads_audio = self._reading.audio
        self.reads_mel = self._reading.mel
        self._lanes = _Lanes.of(self._session)
        self._threads = allowed
        self._pool = ThreadPoolExecutor(allowed - 1, thread_name_prefix="onnx") if parts_apart else None

    def run(self, inputs: EngineInputs) -> EngineOutput:
        """Scores a batch; see `Engine.run`."""
        feed, size = self._reading.feed(inputs)
        if self._pool is None:
            return EngineOutput(*self._scores(feed, size))
        # An encoder inside makes one lane longer than the others; rows for every thread leave less to wait for.
        encodes = self.reads_tokens or self.reads_audio or self.reads_mel
        if self._lanes is None or (encodes and size > self._threads):
            return EngineOutput(*self._in_rows(self._pool, feed, size))
        return EngineOutput(*self._in_lanes(self._pool, self._lanes, feed, size))

    def _in_rows(self, pool: ThreadPoolExecutor, feed: _Feed, size: int) -> _Scores:
        """Each share of the rows by itself."""
        shares = _deal(size, self._threads)
        found = _beside(pool, [partial(self._scores, _of(feed, rows), rows.stop - rows.start) for rows in shares])
        probabilities, attributes = (np.concatenate(column) for column in zip(*found, strict=True))
        return probabilities, attributes

    def _in_lanes(self, pool: ThreadPoolExecutor, lanes: _Lanes, feed: _Feed, size: int) -> _Scores:
        """Each lane of each share of the rows by itself, then the scores of all of them together."""
        nothing, answers = lanes.nothing(size), lanes.nothing(size)

        def compute(lane: int, rows: slice) -> None:
            asked = {**_of(feed, rows), LANE_INPUT: np.array(lane, dtype=np.int64), GIVEN_INPUT: nothing[rows]}
            (said,) = self._session.run([ANSWERS_OUTPUT], asked)
            own = lanes.places[lane]
            answers[rows, own] = np.asarray(said)[:, own]

        count = len(lanes.places)
        shares = _deal(size, max(1, self._threads // count))
        _beside(pool, [partial(compute, lane, rows) for rows in shares for lane in range(count)])
        # A lane that there is none of: everything is given.
        return self._scores(feed, size, count, answers)

    def _scores(
        self, feed: _Feed, size: int, lane: int = ALL_LANES, given: NDArray[np.float32] | None = None
    ) -> _Scores:
        if self._lanes is not None:
            own = self._lanes.nothing(size) if given is None else given
            feed = {**feed, LANE_INPUT: np.array(lane, dtype=np.int64), GIVEN_INPUT: own}
        probabilities, attributes = self._session.run(list(OUTPUTS), feed)
        return np.asarray(probabilities), np.asarray(attributes)


def open_session(
    graph: Path | bytes, *, threads: int = 0, weights: Path | None = None, as_written: bool = False
) -> onnxruntime.InferenceSession:
    """A graph, opened on the CPU.

    Args:
        graph: an exported file or its content.
        threads: that an operation may use; 0 for as many as the process has processors.
        weights: the file that holds the graph's weights, where they are none of the content.
        as_written: whether every operation is computed by itself, in the order and precision of the graph. Between
            steps of quantisation ONNX Runtime computes otherwise than other engines, and of 8-bit floating point its
            optimiser makes something else.

    Raises:
        EngineError: ONNX Runtime cannot read it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or threads_each(1)
    options.log_severity_level = 3
    # Between segments the cores belong to the encoder and the decoder.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if weights is not None:
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(weights.parent))
    try:
        source = graph if isinstance(graph, bytes) else str(graph)
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"ONNX Runtime cannot open the graph: {error}") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _beside(pool: ThreadPoolExecutor, tasks: Sequence[Callable[[], _Result]]) -> list[_Result]:
    """Runs tasks on the threads of a pool and on this one.

    This thread takes what none of the others has begun: it waits for running tasks only, however many callers there
    are.
    """
    others = [pool.submit(task) for task in tasks[1:]]
    first = tasks[0]()
    rest = zip(tasks[1:], others, strict=True)
    return [first, *(task() if other.cancel() else other.result() for task, other in rest)]


def _deal(rows: int, shares: int) -> list[slice]:
    """Rows in so many shares of about one size, or in fewer, so that none is empty."""
    count = max(1, min(shares, rows))
    bounds = [rows * share // count for share in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def _of(feed: _Feed, rows: slice) -> _Feed:
    return {name: array[rows] for name, array in feed.items()}
