"""All the stores that training reads: one per backbone and view, in one folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.backbones.registry import BackboneSpec, backbone
from models.modalities import grouped_width
from models.numeric_threads import threads_each
from models.weights import WeightsSettings
from trainer.augment import CLEAN, view
from trainer.corpora.manifest import Corpus, Utterance
from trainer.extraction import ExtractionReport, Progress, Target, extract
from trainer.extraction_jobs import ExtractionJobs
from trainer.extractors import Extractor, applies, open_extractor
from trainer.feature_policy import store_spec
from trainer.features import FeatureStore
from trainer.progress import ProgressFactory, no_progress
from trainer.workload import WHOLE, Part, longest_first

Load = Callable[[str, WeightsSettings | None], Extractor]
"""Opens a backbone by its name."""

DEFAULT_FOLDER: Final = Path("features")


class FeatureSource(Protocol):
    """What a recipe says of a modality."""

    @property
    def backbone(self) -> str:
        """Name in the backbone registry."""
        ...

    @property
    def stride(self) -> int:
        """Frames made one before they are stored."""
        ...

    @property
    def deviations(self) -> bool:
        """Whether their deviations are stored beside their means."""
        ...


class FeatureLibrary:
    """Stores by modality and view.

    Views are of the waveform: a linguistic modality has one store, which every view reads.
    """

    def __init__(
        self,
        root: Path,
        modalities: Mapping[str, FeatureSource],
        views: Sequence[str] = (CLEAN,),
        specs: Mapping[str, BackboneSpec] | None = None,
    ) -> None:
        """Opens the stores; those that do not exist yet are empty.

        Args:
            root: the folder of all stores.
            modalities: backbone and stride by modality.
            views: which waveform views.
            specs: the backbone of every modality, as a recipe reads it; None takes the registry's.

        Raises:
            FeatureError: a modality names no backbone.
            WeightsError: nothing fixes a backbone's weights before they are fetched, or a local folder is not what it
                should be.
            RecipeError: there is no such view.
            FeatureStoreError: a store was made under another policy, or is damaged.
        """
        self.root = root
        self.modalities = MappingProxyType(dict(modalities))
        self.views = tuple(dict.fromkeys(views))
        self._backbones = {name: backbone(m.backbone) for name, m in modalities.items()} if specs is None else {**specs}
        self._stores: dict[str, FeatureStore] = {}
        self._folders: dict[tuple[str, str], str] = {}
        for name, source in modalities.items():
            for viewed in self.views:
                spec = store_spec(
                    self._backbones[name], stride=source.stride, deviations=source.deviations, view=viewed
                )
                self._folders[name, viewed] = spec.folder
                if spec.folder not in self._stores:
                    self._stores[spec.folder] = FeatureStore.open(root / spec.folder, spec)

    @property
    def dims(self) -> dict[str, int]:
        """Features a frame, by modality."""
        return {
            name: grouped_width(spec.width, self.modalities[name].deviations) for name, spec in self._backbones.items()
        }

    @property
    def stores(self) -> Mapping[str, FeatureStore]:
        """The stores by the name of their folder."""
        return MappingProxyType(self._stores)

    def features(self, utterance: str, viewed: str = CLEAN) -> dict[str, NDArray[np.float16] | None]:
        """What training reads of one utterance.

        Args:
            utterance: its id.
            viewed: one of `views`.

        Returns:
            Per modality `[frames, dim]`, or None where it is missing.
        """
        found: dict[str, NDArray[np.float16] | None] = {}
        for name in self.modalities:
            store = self._stores[self._folders[name, viewed]]
            found[name] = store.get(utterance) if store.has(utterance) else None
        return found

    def extract(
        self,
        corpora: Sequence[Corpus],
        *,
        weights: WeightsSettings | None = None,
        progress: ProgressFactory = no_progress,
        load: Load | None = None,
        jobs: int = 1,
        device: str = "auto",
        part: Part = WHOLE,
    ) -> ExtractionReport:
        """Fills every store with what it lacks; backbones are loaded only where something is lacking.

        Args:
            corpora: whose utterances.
            weights: where the backbones' weights come from; None reads the configuration.
            progress: makes the display of each view's pass.
            load: opens a backbone by its name; None loads the real one.
            jobs: how many processes extract, each with as many threads as there are cores for it; one is this process.
                What is extracted is the same for any number of them, where NumPy computes with one thread.
            device: where transformers computes; `auto` takes a GPU where there is one.
            part: what this rank extracts of all; the other ranks do the rest, each with a library of its own.

        Returns:
            Counts by store, and every clip that could not be used.

        Raises:
            WeightsError: a backbone's weights cannot be had.
            FeatureStoreError: a store cannot be written.
            ExtractionError: one of several processes was killed.
        """
        report = ExtractionReport()
        shared = part.share([utterance for corpus in corpora for utterance in corpus.utterances])
        with ExitStack() as stack:
            stack.enter_context(self)
            fill = _Filler(self, weights, load, device)
            pool: ExtractionJobs | None = None
            for viewed in self.views:
                lacking = self._count(viewed, shared, report)
                audio_s = sum(utterance.duration_s or 0.0 for utterance in lacking)
                with progress(f"features, {viewed}", len(lacking), audio_s) as advance:
                    if jobs == 1 or not lacking:
                        report.add(fill(viewed, lacking, advance))
                        continue
                    if pool is None:
                        pool = stack.enter_context(ExtractionJobs(jobs, fill.with_threads(threads_each(jobs))))
                    report.add(pool.extract(viewed, lacking, advance))
        for store in self._stores.values():
            store.refresh()
        return report

    def targets(
        self, viewed: str, utterances: Sequence[Utterance], extractor: Callable[[BackboneSpec], Extractor]
    ) -> list[Target]:
        """The stores of a view that lack any of some utterances.

        Args:
            viewed: one of `views`.
            utterances: any.
            extractor: opens a backbone, asked for where something is lacking.
        """
        return [
            Target(self._stores[folder], spec, extractor(spec), source.stride, source.deviations)
            for folder, spec, source in self._of_view(viewed)
            if any(applies(spec, u) and not self._stores[folder].has(u.id) for u in utterances)
        ]

    def _count(self, viewed: str, utterances: Sequence[Utterance], report: ExtractionReport) -> list[Utterance]:
        """Utterances that some store of a view lacks; the others are counted."""
        lacking: dict[str, Utterance] = {}
        for folder, spec, _ in self._of_view(viewed):
            for utterance in utterances:
                if not applies(spec, utterance):
                    report.missing[folder] += 1
                elif self._stores[folder].has(utterance.id):
                    report.present[folder] += 1
                else:
                    lacking[utterance.id] = utterance
        return longest_first(list(lacking.values()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the same stores anew."""
        return FeatureLibrary, (self.root, dict(self.modalities), self.views, dict(self._backbones))

    def close(self) -> None:
        """Closes every store for writing."""
        for store in self._stores.values():
            store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _of_view(self, viewed: str) -> list[tuple[str, BackboneSpec, FeatureSource]]:
        """Folder, backbone and grouping of the stores that the pass over a view fills, each folder once."""
        first = self.views[0]
        chosen: dict[str, tuple[str, BackboneSpec, FeatureSource]] = {}
        for name, source in self.modalities.items():
            if self._backbones[name].kind == "acoustic" or viewed == first:
                folder = self._folders[name, viewed]
                chosen[folder] = (folder, self._backbones[name], source)
        return list(chosen.values())


class _Filler:
    """Fills the stores of a library, in whichever process; loads every backbone once."""

    def __init__(
        self,
        library: FeatureLibrary,
        weights: WeightsSettings | None,
        load: Load | None,
        device: str,
        threads: int = 0,
    ) -> None:
        self._library = library
        self._weights = weights
        self._load = load
        self._device = device
        self._threads = threads
        self._extractors: dict[tuple[str, bool], Extractor] = {}

    def with_threads(self, threads: int) -> _Filler:
        """The same for another process, where a backbone has so many threads."""
        return _Filler(self._library, self._weights, self._load, self._device, threads)

    def __call__(
        self, viewed: str, utterances: Sequence[Utterance], advance: Progress | None = None
    ) -> ExtractionReport:
        targets = self._library.targets(viewed, utterances, self._extractor)
        return extract(utterances, targets, view(viewed), advance)

    def _extractor(self, spec: BackboneSpec) -> Extractor:
        read_as = (spec.name, spec.stacked)
        if read_as not in self._extractors:
            if self._load is not None:
                self._extractors[read_as] = self._load(spec.name, self._weights)
            else:
                self._extractors[read_as] = open_extractor(
                    spec, self._weights, threads=self._threads, device=self._device
                )
        return self._extractors[read_as]
