"""All the stores that training reads: one per backbone and view, in one folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.backbones.registry import BackboneSpec, backbone
from models.weights import WeightsSettings
from trainer.augment import CLEAN, view
from trainer.corpora.manifest import Corpus, Utterance
from trainer.extraction import ExtractionReport, Target, extract
from trainer.extractors import Extractor, applies, open_extractor
from trainer.feature_policy import store_spec
from trainer.features import FeatureStore
from trainer.progress import ProgressFactory, no_progress

DEFAULT_FOLDER: Final = Path("features")


class FeatureSource(Protocol):
    """What a recipe says of a modality."""

    @property
    def backbone(self) -> str:
        """Name in the backbone registry."""
        ...

    @property
    def stride(self) -> int:
        """Frames averaged into one before they are stored."""
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
                spec = store_spec(self._backbones[name], stride=source.stride, view=viewed)
                self._folders[name, viewed] = spec.folder
                if spec.folder not in self._stores:
                    self._stores[spec.folder] = FeatureStore.open(root / spec.folder, spec)

    @property
    def dims(self) -> dict[str, int]:
        """Features a frame, by modality."""
        return {name: spec.width for name, spec in self._backbones.items()}

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
        load: Callable[[str, WeightsSettings | None], Extractor] | None = None,
    ) -> ExtractionReport:
        """Fills every store with what it lacks; backbones are loaded only where something is lacking.

        Args:
            corpora: whose utterances.
            weights: where the backbones' weights come from; None reads the configuration.
            progress: makes the display of each view's pass.
            load: opens a backbone by its name; None loads the real one.

        Returns:
            Counts by store, and every clip that could not be used.

        Raises:
            WeightsError: a backbone's weights cannot be had.
            FeatureStoreError: a store cannot be written.
        """
        report = ExtractionReport()
        extractors: dict[tuple[str, bool], Extractor] = {}
        for viewed in self.views:
            targets = []
            lacking: dict[str, Utterance] = {}
            with ExitStack() as stack:
                for folder, spec, stride in self._of_view(viewed):
                    store = stack.enter_context(self._stores[folder])
                    wanted = self._count(folder, spec, corpora, report)
                    if not wanted:
                        continue
                    lacking.update((utterance.id, utterance) for utterance in wanted)
                    read_as = (spec.name, spec.stacked)
                    if read_as not in extractors:
                        extractors[read_as] = load(spec.name, weights) if load else open_extractor(spec, weights)
                    targets.append(Target(store, spec, extractors[read_as], stride))
                audio_s = sum(u.duration_s or 0.0 for u in lacking.values())
                with progress(f"features, {viewed}", len(lacking), audio_s) as advance:
                    report.add(extract(list(lacking.values()), targets, view(viewed), advance))
        return report

    def _count(
        self, folder: str, spec: BackboneSpec, corpora: Sequence[Corpus], report: ExtractionReport
    ) -> list[Utterance]:
        """Utterances that a store lacks; the others are counted."""
        lacking = []
        for utterance in (u for corpus in corpora for u in corpus.utterances):
            if not applies(spec, utterance):
                report.missing[folder] += 1
            elif self._stores[folder].has(utterance.id):
                report.present[folder] += 1
            else:
                lacking.append(utterance)
        return lacking

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

    def _of_view(self, viewed: str) -> list[tuple[str, BackboneSpec, int]]:
        """Folder, backbone and stride of the stores that the pass over a view fills, each folder once."""
        first = self.views[0]
        chosen: dict[str, tuple[str, BackboneSpec, int]] = {}
        for name, source in self.modalities.items():
            if self._backbones[name].kind == "acoustic" or viewed == first:
                folder = self._folders[name, viewed]
                chosen[folder] = (folder, self._backbones[name], source.stride)
        return list(chosen.values())
