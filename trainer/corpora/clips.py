"""Finding a corpus's clips in its folder, each checked to be audio before it is believed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.audio_files import SUFFIXES
from models.emotions import MSP8
from trainer.audio import probe_duration_s
from trainer.corpora.manifest import Corpus, Problem, Utterance
from trainer.errors import CorpusError
from trainer.progress import ProgressFactory, no_progress

PROBES: Final = 4
"""Clips opened at a time: it takes a third of a millisecond from a warm disk, and much longer over a network."""


def one_hot(label: str) -> NDArray[np.float32]:
    """The target of a clip whose actor, or all of whose raters, meant one class, `[labels]` over MSP's eight."""
    target = np.zeros(len(MSP8), dtype=np.float32)
    target[MSP8.index(label)] = 1.0
    return target


def require_folder(folder: Path, name: str) -> None:
    """Says where a corpus was looked for when it is not there.

    Raises:
        CorpusError: `folder` is no folder.
    """
    if not folder.is_dir():
        raise CorpusError(f"corpus {name}: no folder {folder}; put the corpus there, or leave it out of the recipe")


@dataclass(slots=True)
class Collector:
    """Gathers the utterances and problems of one folder of clips."""

    name: str
    folder: Path
    progress: ProgressFactory = no_progress
    utterances: dict[str, Utterance] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def clips(self) -> Iterator[Path]:
        """Every audio file under the folder, in a fixed order.

        Raises:
            CorpusError: there is no folder, or no audio file in it.
        """
        require_folder(self.folder, self.name)
        found = sorted(p for p in self.folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise CorpusError(f"corpus {self.name}: no audio file under {self.folder}")
        with self.progress(f"{self.name}: clips", len(found), 0.0) as advance:
            for path in found:
                yield path
                advance(1, 0.0)

    def problem(self, where: Path | str, what: str) -> None:
        """Notes something that could not be used; paths in the folder are written relative to it."""
        if isinstance(where, Path):
            where = (where.relative_to(self.folder) if where.is_relative_to(self.folder) else where).as_posix()
        self.problems.append(Problem(where, what))

    def add(
        self,
        path: Path,
        *,
        label: str,
        text: str,
        language: str,
        speaker: str,
        gender: str,
    ) -> None:
        """Takes a clip in under its file name, or notes why it cannot be used."""
        clip = f"{self.name}/{path.stem}"
        if clip in self.utterances:
            first = self.utterances[clip].audio
            shown = first.relative_to(self.folder).as_posix() if first is not None else clip
            self.problem(path, f"left out: the same clip as {shown}")
            return
        try:
            duration_s = probe_duration_s(path)
        except CorpusError as error:
            self.problem(path, f"left out: {str(error).removeprefix(f'{path}: ')}")
            return
        self.utterances[clip] = Utterance(
            id=clip,
            corpus=self.name,
            audio=path,
            text=text,
            language=language,
            target=one_hot(label),
            speaker=f"{self.name}/{speaker}",
            gender=gender,
            duration_s=duration_s,
        )

    def take(self, utterance: Utterance) -> None:
        """Takes an utterance in whose clip `measure` will open, unless its id is taken already."""
        if utterance.id in self.utterances:
            self.problem(utterance.id, "left out: this id stands twice")
        else:
            self.utterances[utterance.id] = utterance

    def leave_out(self, utterance: Utterance, why: str) -> None:
        """Gives an utterance up again, and says why."""
        del self.utterances[utterance.id]
        self.problem(utterance.audio or utterance.id, f"left out: {why}")

    def measure(self) -> None:
        """Opens the clips of all utterances taken in, several at a time; those that are no audio are left out."""
        waiting = [u for u in self.utterances.values() if u.audio is not None and u.duration_s is None]
        with self.progress(f"{self.name}: clips", len(waiting), 0.0) as advance, ThreadPoolExecutor(PROBES) as pool:
            for utterance, found in zip(waiting, pool.map(_duration_or_reason, waiting), strict=True):
                if isinstance(found, str):
                    self.leave_out(utterance, found)
                else:
                    self.utterances[utterance.id] = replace(utterance, duration_s=found)
                advance(1, 0.0)

    def corpus(self, *, licence: str, citation: str) -> Corpus:
        """What was gathered.

        Raises:
            CorpusError: no clip could be used.
        """
        if not self.utterances:
            first = f"; first: {self.problems[0]}" if self.problems else ""
            raise CorpusError(f"corpus {self.name}: none of the clips under {self.folder} can be used{first}")
        return Corpus(self.name, licence, citation, tuple(self.utterances.values()), tuple(self.problems))


def _duration_or_reason(utterance: Utterance) -> float | str | None:
    """Seconds, None where the container does not say, or why the clip cannot be used."""
    if utterance.audio is None:
        return None
    try:
        return probe_duration_s(utterance.audio)
    except CorpusError as error:
        return str(error).removeprefix(f"{utterance.audio}: ")
