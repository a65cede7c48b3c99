"""Extraction in several processes: each has its share of the processor, its own backbones, its own shards to write."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Protocol, Self

from models.numeric_threads import environment_of, threads_each
from trainer.corpora.manifest import Utterance
from trainer.errors import ExtractionError
from trainer.extraction import ExtractionReport, Progress
from trainer.workload import chunks


class Filler(Protocol):
    """What a process does; handed over to it, so it must be possible to pickle."""

    def __call__(self, viewed: str, utterances: Sequence[Utterance]) -> ExtractionReport:
        """Extracts what the stores of a view lack of some utterances."""
        ...


class ExtractionJobs:
    """Processes that extract, started as there is work for them."""

    def __init__(self, jobs: int, filler: Filler) -> None:
        """Starts nothing yet.

        Args:
            jobs: most processes.
            filler: what each of them does.
        """
        self._pool = ProcessPoolExecutor(
            max_workers=jobs,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(filler,),
        )
        self._threads = threads_each(jobs)

    def extract(self, viewed: str, utterances: Sequence[Utterance], advance: Progress) -> ExtractionReport:
        """Fills the stores of a view.

        Args:
            viewed: the view's name.
            utterances: in the order they are to be taken.
            advance: told of utterances as they are done.

        Returns:
            What was stored, and what could not be used, by id.

        Raises:
            ExtractionError: a process was killed; what had been stored until then is kept.
            FeatureStoreError: a store cannot be written.
            WeightsError: a backbone's weights cannot be had.
        """
        report = ExtractionReport()
        try:
            with _environment(environment_of(self._threads)):
                futures = {self._pool.submit(_fill, viewed, chunk): chunk for chunk in chunks(utterances)}
                for future in as_completed(futures):
                    report.add(future.result())
                    done = futures[future]
                    advance(len(done), sum(utterance.duration_s or 0.0 for utterance in done))
        except BrokenProcessPool as error:
            raise ExtractionError(
                "a process that extracted features was killed, perhaps because memory ran out; what it had stored is "
                "kept: run the same again, with fewer --jobs if memory was the reason"
            ) from error
        report.failures.sort(key=lambda problem: (problem.where, problem.what))
        return report

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """For the processes started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_filler: Filler | None = None


def _begin(filler: Filler) -> None:
    global _filler  # noqa: PLW0603 - the one thing a process of a pool can keep between its tasks
    _filler = filler
    # Ctrl-C goes to all; the parent answers it, and lets what is being stored be stored.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's processes would wait for ever for tasks of a parent that was killed, and keep their shards."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _fill(viewed: str, utterances: Sequence[Utterance]) -> ExtractionReport:
    if _filler is None:
        raise ExtractionError("this process was not told what to extract")
    return _filler(viewed, utterances)
