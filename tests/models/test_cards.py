"""Engines for cards that are fakes here: what an earlier build measured, and weights that change hands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models import cards
from models.cards import built_for_cards
from models.engines.store import EngineStore
from models.engines.tensorrt import BuiltEngine
from models.engines.tensorrt_file import EngineRecord, pack_engine, read_engine
from models.engines.tensorrt_library import Library
from models.engines.tensorrt_shapes import ShapeBucket, Sizes
from models.engines.tensorrt_weights import structure_sha256
from models.errors import EngineError
from models.graphs.ensemble import ensemble_graph
from tests.fakes.bundles import tiny_bundle

BUCKETS = (ShapeBucket(Sizes((1,), 1), {"acoustic": Sizes((8,), 8)}),)
WEIGHTS = b"engine with the weights of "


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Of two bundles that differ in their weights alone."""
    folder = tmp_path_factory.mktemp("bundles")
    return [ensemble_graph(tiny_bundle(folder / str(seed), seed=seed).ensemble()) for seed in (0, 1)]


def file_of(graph: bytes, content: bytes, *, refittable: bool = True, version: str = "1.0") -> bytes:
    record = EngineRecord(
        library="tensorrt",
        library_version=version,
        capabilities=("9.0",),
        precision="fp32",
        inputs=(),
        outputs=(),
        profiles=BUCKETS,
        layers={},
        graph_sha256="0" * 64,
        structure_sha256=structure_sha256(graph) if refittable else None,
        engine_bytes=len(content),
        build_s=1.0,
    )
    return pack_engine(record, content)


class Card:
    """Builds and refits, and remembers what it was asked."""

    def __init__(self, patch: pytest.MonkeyPatch, cache: Path) -> None:
        self.recalled: list[bytes | None] = []
        self.refits = 0
        self.fails = False
        patch.setenv("MEDUSA_CACHE", str(cache))
        patch.setattr(cards, "tensorrt_library", lambda _name: Library("tensorrt", "1.0", None, None))
        patch.setattr(cards, "build_engine", self._build)
        patch.setattr(cards, "refit_engine", self._refit)

    def _build(self, graph: bytes, _buckets: Any, *, refittable: bool, timing_cache: bytes | None, **_: Any) -> Any:
        self.recalled.append(timing_cache)
        content = file_of(graph, WEIGHTS + graph[-8:], refittable=refittable)
        return BuiltEngine(content, read_engine(content).record, b"times of build %d" % len(self.recalled))

    def _refit(self, content: bytes, graph: bytes, weights: Path | None) -> bytes:
        assert weights is None
        self.refits += 1
        if self.fails:
            raise EngineError("no GPU")
        assert read_engine(content).record.structure_sha256 == structure_sha256(graph)
        return file_of(graph, WEIGHTS + graph[-8:])


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    return Card(monkeypatch, tmp_path)


Build = Callable[..., bytes]


@pytest.fixture
def build(card: Card) -> Build:
    def one(name: str, graph: bytes, *, refittable: bool = True) -> bytes:
        store = EngineStore(f"base-tensorrt-fp32-{name}")
        content, capabilities = built_for_cards(graph, BUCKETS, store, refittable=refittable)
        assert capabilities == ("9.0",)
        store.keep(content, ".engine", {})
        return bytes(read_engine(content).engine)

    return one


def test_a_build_is_told_what_the_last_one_measured(card: Card, build: Build, graphs: list[bytes]) -> None:
    for name in "abc":
        build(name, graphs[0], refittable=False)
    assert card.recalled == [None, b"times of build 1", b"times of build 2"]


def test_a_bundle_trained_anew_is_given_to_the_engine_that_is_there(
    card: Card, build: Build, graphs: list[bytes]
) -> None:
    build("a", graphs[0])
    assert build("b", graphs[1]) == WEIGHTS + graphs[1][-8:]
    assert (len(card.recalled), card.refits) == (1, 1)


def test_an_engine_that_takes_no_other_weights_is_not_asked(card: Card, build: Build, graphs: list[bytes]) -> None:
    build("a", graphs[0], refittable=False)
    build("b", graphs[1])
    build("c", graphs[1], refittable=False)
    assert (len(card.recalled), card.refits) == (3, 0)


def test_an_engine_of_another_version_or_structure_is_not_asked(
    card: Card, build: Build, graphs: list[bytes], tmp_path: Path
) -> None:
    EngineStore("base-tensorrt-fp32-old").keep(file_of(graphs[0], b"x", version="0.9"), ".engine", {})
    other = tiny_bundle(tmp_path / "other", width=16)
    EngineStore("base-tensorrt-fp32-other").keep(file_of(ensemble_graph(other.ensemble()), b"x"), ".engine", {})
    EngineStore("base-tensorrt-fp32-torn").keep(b"no engine of ours", ".engine", {})
    build("a", graphs[0])
    assert (len(card.recalled), card.refits) == (1, 0)


def test_where_the_weights_are_not_taken_the_engine_is_built(card: Card, build: Build, graphs: list[bytes]) -> None:
    build("a", graphs[0])
    card.fails = True
    build("b", graphs[1])
    assert (len(card.recalled), card.refits) == (2, 1)
