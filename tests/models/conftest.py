"""A tiny bundle, and the one export of it that the tests of engines share."""

from __future__ import annotations

import warnings

import pytest

from models.compile import Order, compile_engine
from tests.fakes.bundles import CompiledBundle, tiny_bundle


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> CompiledBundle:
    """Exported once, from no more members than are needed: it takes seconds. It must warn of nothing.

    One of its modalities is weighed layer by layer.
    """
    folder = tmp_path_factory.mktemp("compiled")
    members: dict[str, tuple[str, ...]] = {"all": ("acoustic", "prosody", "text"), "text": ("text",)}
    bundle = tiny_bundle(folder / "tiny", members=members, layers={"acoustic": 4})
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="error"):
        patch.setenv("MEDUSA_CACHE", str(folder / "cache"))
        return CompiledBundle(bundle, folder / "cache", compile_engine(Order(bundle)).report)
