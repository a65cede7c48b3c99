"""Every corpus by its name."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainer.corpora import emodb, goemotions, ravdess, tess
from trainer.corpora.generic import MANIFESTS, UNKNOWN_LICENCE, load_manifest
from trainer.corpora.manifest import Corpus
from trainer.errors import CorpusError

DESCRIPTION: Final = "corpus.toml"


@dataclass(frozen=True, slots=True)
class CorpusSpec:
    """A corpus we can import, described without reading it."""

    name: str
    """Also the name of its folder among the corpora."""
    licence: str
    citation: str
    load: Callable[[Path], Corpus]


CORPORA: Final[Mapping[str, CorpusSpec]] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            CorpusSpec(ravdess.NAME, ravdess.LICENCE, ravdess.CITATION, ravdess.load_ravdess),
            CorpusSpec(tess.NAME, tess.LICENCE, tess.CITATION, tess.load_tess),
            CorpusSpec(emodb.NAME, emodb.LICENCE, emodb.CITATION, emodb.load_emodb),
            CorpusSpec(goemotions.NAME, goemotions.LICENCE, goemotions.CITATION, goemotions.load_goemotions),
        )
    }
)


class _Description(BaseModel):
    """`corpus.toml`, which may lie next to a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    licence: str = UNKNOWN_LICENCE
    citation: str = ""
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")] = "en"


def load_corpus(name: str, folder: Path) -> Corpus:
    """Reads one corpus.

    Args:
        name: one of `CORPORA`, or any other for a folder with a manifest (see `trainer.corpora.generic`) and, if
            there is one, a `corpus.toml` with `licence`, `citation` and `language`.
        folder: the corpus's own folder.

    Raises:
        CorpusError: the folder is missing, or holds nothing that can be used.
    """
    spec = CORPORA.get(name)
    if spec is not None:
        return spec.load(folder)
    manifest = next((folder / file for file in MANIFESTS if (folder / file).is_file()), None)
    if manifest is None:
        raise CorpusError(
            f"corpus {name}: not one of {', '.join(CORPORA)}, and no {' or '.join(MANIFESTS)} in {folder}"
        )
    described = _description(folder / DESCRIPTION)
    return load_manifest(
        manifest,
        name=name,
        licence=described.licence,
        citation=described.citation,
        language=described.language,
    )


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


def _description(path: Path) -> _Description:
    try:
        return _Description.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return _Description()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise CorpusError(f"{path}: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise CorpusError(f"{path}: {wrong}") from error
