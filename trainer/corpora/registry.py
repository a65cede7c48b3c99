"""Every corpus by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from trainer.corpora import crema_d, emobox, emodb, emotale, goemotions, iemocap, meld, msp_podcast, ravdess, tess
from trainer.corpora.generic import MANIFESTS
from trainer.corpora.manifest import Corpus
from trainer.corpora.prepared import find_manifest, load_prepared
from trainer.errors import CorpusError
from trainer.progress import ProgressFactory, no_progress


class Importer(Protocol):
    """Reads a corpus as its authors distribute it."""

    def __call__(self, folder: Path, *, progress: ProgressFactory = no_progress) -> Corpus:
        """Reads what is in `folder`; raises `CorpusError` if nothing there can be used."""


@dataclass(frozen=True, slots=True)
class CorpusSpec:
    """A corpus we can import, described without reading it."""

    name: str
    """Also the name of its folder among the corpora."""
    holds: str
    """What is in it, in a few words."""
    licence: str
    citation: str
    load: Importer


CORPORA: Final[Mapping[str, CorpusSpec]] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            CorpusSpec(
                ravdess.NAME,
                "acted English, 24 actors, 1,440 clips, 8 emotions",
                ravdess.LICENCE,
                ravdess.CITATION,
                ravdess.load_ravdess,
            ),
            CorpusSpec(
                tess.NAME,
                "acted English, 2 actors, 2,800 clips, 7 emotions",
                tess.LICENCE,
                tess.CITATION,
                tess.load_tess,
            ),
            CorpusSpec(
                emodb.NAME,
                "acted German, 10 actors, 535 clips, 7 emotions",
                emodb.LICENCE,
                emodb.CITATION,
                emodb.load_emodb,
            ),
            CorpusSpec(
                goemotions.NAME,
                "English comments, no audio, 54,263 texts, 28 labels",
                goemotions.LICENCE,
                goemotions.CITATION,
                goemotions.load_goemotions,
            ),
            CorpusSpec(
                crema_d.NAME,
                "acted English, 91 actors, 7,442 clips, votes on 6 emotions",
                crema_d.LICENCE,
                crema_d.CITATION,
                crema_d.load_crema_d,
            ),
            CorpusSpec(
                msp_podcast.NAME,
                "natural English from podcasts, votes on 8 emotions, attributes",
                msp_podcast.LICENCE,
                msp_podcast.CITATION,
                msp_podcast.load_msp_podcast,
            ),
            CorpusSpec(
                iemocap.NAME,
                "acted English dialogue, 10 actors, 10,039 turns, votes, attributes",
                iemocap.LICENCE,
                iemocap.CITATION,
                iemocap.load_iemocap,
            ),
            CorpusSpec(
                meld.NAME,
                "English television dialogue, 13,708 utterances, 7 emotions",
                meld.LICENCE,
                meld.CITATION,
                meld.load_meld,
            ),
            CorpusSpec(
                emotale.NAME,
                "acted Danish and English, 18 speakers, 800 clips, votes, attributes",
                emotale.LICENCE,
                emotale.CITATION,
                emotale.load_emotale,
            ),
            CorpusSpec(
                emobox.NAME,
                "metadata of 32 corpora in 14 languages; audio from their authors",
                emobox.LICENCE,
                emobox.CITATION,
                emobox.load_emobox,
            ),
        )
    }
)


def load_corpus(name: str, folder: Path) -> Corpus:
    """Reads one corpus.

    Args:
        name: any for a folder with a manifest (see `trainer.corpora.prepared`), or else one of `CORPORA` for its
            official distribution.
        folder: the corpus's own folder.

    Raises:
        CorpusError: the folder is missing, or holds nothing that can be used.
    """
    if find_manifest(folder) is not None:
        return load_prepared(name, folder)
    spec = CORPORA.get(name)
    if spec is None:
        raise CorpusError(
            f"corpus {name}: not one of {', '.join(CORPORA)}, and no {' or '.join(MANIFESTS)} in {folder}"
        )
    return spec.load(folder)


def load_corpora(names: Sequence[str], root: Path) -> tuple[Corpus, ...]:
    """Reads corpora that lie side by side, each in a folder of its own name.

    Args:
        names: which.
        root: the folder that holds their folders.

    Raises:
        CorpusError: as in `load_corpus`; all corpora that fail are named.
    """
    loaded: list[Corpus] = []
    failures: list[str] = []
    for name in names:
        try:
            loaded.append(load_corpus(name, root / name))
        except CorpusError as error:
            failures.append(str(error))
    if failures:
        raise CorpusError("; ".join(failures))
    return tuple(loaded)
