"""A corpus as a portable manifest: written once from the official distribution, read as any corpus of one's own."""

from __future__ import annotations

import json
import os
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainer.corpora.generic import MANIFESTS, UNKNOWN_LICENCE, load_manifest
from trainer.corpora.manifest import Corpus, Utterance
from trainer.corpora.ratings import NO_AGREEMENT
from trainer.errors import CorpusError

DESCRIPTION: Final = "corpus.toml"
MANIFEST: Final = "manifest.jsonl"
_CODE_LETTERS: Final = 2
_ENGLISH: Final = "en"


class _Description(BaseModel):
    """`corpus.toml`, which may lie next to a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    licence: str = UNKNOWN_LICENCE
    citation: str = ""
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")] = _ENGLISH


def find_manifest(folder: Path) -> Path | None:
    """The manifest in a folder, if it holds one."""
    return next((folder / file for file in MANIFESTS if (folder / file).is_file()), None)


def load_prepared(name: str, folder: Path) -> Corpus:
    """Reads a folder with a manifest and, if there is one, a `corpus.toml` with `licence`, `citation` and `language`.

    Args:
        name: what to call the corpus.
        folder: its own folder.

    Raises:
        CorpusError: no manifest, or nothing in it that can be used.
    """
    manifest = find_manifest(folder)
    if manifest is None:
        raise CorpusError(f"corpus {name}: no {' or '.join(MANIFESTS)} in {folder}")
    described = _description(folder / DESCRIPTION)
    return load_manifest(
        manifest,
        name=name,
        licence=described.licence,
        citation=described.citation,
        language=described.language,
    )


def write_prepared(corpus: Corpus, folder: Path) -> None:
    """Writes what `load_prepared` reads back as the very same utterances, under whatever name.

    Args:
        corpus: what to write.
        folder: where to; made where it is missing. Clips below it or beside it are told by their way from there, so
            that the folders may be moved together; all others by their full path.

    Raises:
        CorpusError: an utterance cannot be told in a manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    rows = (json.dumps(_row(utterance, folder), ensure_ascii=False) + "\n" for utterance in corpus.utterances)
    replace_file(folder / MANIFEST, rows)
    described = {"licence": corpus.licence, "citation": corpus.citation, "language": _language(corpus)}
    # A TOML string is written as a JSON string is.
    replace_file(folder / DESCRIPTION, (f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in described.items()))


def replace_file(path: Path, lines: Iterable[str]) -> None:
    """Writes a text file that is there only when it is whole."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)
    fresh.replace(path)


def bare_id(utterance: Utterance) -> str:
    """What identifies an utterance within its corpus."""
    return utterance.id.removeprefix(f"{utterance.corpus}/")


def _row(utterance: Utterance, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"id": bare_id(utterance), "language": utterance.language}
    if row["id"] != row["id"].strip():
        raise CorpusError(f"{utterance.id!r}: an id must neither begin nor end with a space")
    if utterance.audio is not None:
        row["audio"] = _way(utterance.audio, folder)
    if utterance.text:
        row["transcript"] = utterance.text
    if utterance.votes is not None:
        row["votes"] = dict(utterance.votes)
    else:
        weights = zip(utterance.labels, utterance.target.tolist(), strict=True)
        row["target"] = {name: weight for name, weight in weights if weight}
    row["label"] = utterance.consensus or NO_AGREEMENT
    if utterance.speaker != utterance.id:
        if not utterance.speaker.startswith(f"{utterance.corpus}/"):
            raise CorpusError(f"{utterance.id}: the speaker {utterance.speaker} must begin with the corpus's name")
        row["speaker"] = utterance.speaker.removeprefix(f"{utterance.corpus}/")
    if utterance.attributes is not None:
        row["attributes"] = {
            "arousal": utterance.attributes.arousal,
            "valence": utterance.attributes.valence,
            "dominance": utterance.attributes.dominance,
        }
    stated = {"gender": utterance.gender, "split": utterance.split, "duration_s": utterance.duration_s}
    return row | {key: value for key, value in stated.items() if value is not None}


def _way(audio: Path, folder: Path) -> str:
    audio = audio.absolute()
    return Path(os.path.relpath(audio, folder)).as_posix() if audio.is_relative_to(folder.parent) else audio.as_posix()


def _language(corpus: Corpus) -> str:
    spoken = Counter(u.language for u in corpus.utterances if len(u.language) == _CODE_LETTERS)
    return max(spoken, key=spoken.__getitem__, default=_ENGLISH)


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
