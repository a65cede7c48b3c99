"""Which layer groups are named where 8 bits move scores too far."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from models.bundle import Bundle
from models.engines.base import EngineOutput
from models.engines.torch import TorchEngine
from models.groups_to_keep import GroupsToKeep
from models.modalities import EngineInputs
from models.order import Order
from tests.fakes.bundles import tiny_bundle, tiny_clips


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("groups") / "tiny", check=tiny_clips(5))


class Moved(TorchEngine):
    """PyTorch, one score off by what the groups in 8 bits move it."""

    def __init__(self, bundle: Bundle, by: float) -> None:
        super().__init__(bundle)
        self._by = by

    def run(self, inputs: EngineInputs) -> EngineOutput:
        output = super().run(inputs)
        row = output.probabilities[0]
        row[row.argmin()] -= self._by
        return output


def advice(bundle: Bundle, moves: dict[str, float], keep_fp32: tuple[str, ...] = ()) -> tuple[str, list[set[str]]]:
    """And the sets of groups that were tried."""
    tried: list[set[str]] = []

    def keeping(groups: tuple[str, ...], _until: ExitStack) -> Moved:
        tried.append(set(groups))
        return Moved(bundle, sum(move for group, move in moves.items() if group not in groups))

    order = Order(bundle, "tensorrt_rtx", "int8", keep_fp32=keep_fp32)
    given: list[EngineInputs] = list(bundle.check_clips().inputs(bundle.modalities))
    wanted = [TorchEngine(bundle).run(batch) for batch in given]
    return GroupsToKeep(order, keeping)(given, wanted), tried


def test_the_ones_that_move_scores_most_are_named_until_the_rest_passes(bundle: Bundle) -> None:
    said, _ = advice(bundle, {"readers": 0.05, "head": 0.03, "first_fusion": 0.004, "second_fusion": 0.001})
    assert said.startswith("--keep-fp32 readers,head brings the graph to 0.0050 (on the worst rows each")
    assert "readers 0.0500, head 0.0300, first_fusion 0.0040, second_fusion 0.0010" in said


def test_what_is_kept_already_is_kept_and_named_again(bundle: Bundle) -> None:
    said, tried = advice(bundle, {"readers": 0.05, "head": 0.03, "first_fusion": 0.004}, ("head",))
    assert said.startswith("--keep-fp32 head,readers brings")
    assert all("head" in groups for groups in tried)


def test_where_no_group_bears_8_bits_another_precision_is_named(bundle: Bundle) -> None:
    said, _ = advice(bundle, dict.fromkeys(("readers", "head", "first_fusion", "second_fusion"), 0.05))
    assert said.startswith("none of its layer groups bears int8")
    assert said.endswith("compile in fp16")


def test_encoders_inside_are_tried_where_there_are_any(bundle: Bundle, tmp_path: Path) -> None:
    order = Order(bundle, "tensorrt_rtx", "int8")
    assert GroupsToKeep(order, lambda *_: TorchEngine(bundle)).groups == (
        "readers",
        "first_fusion",
        "second_fusion",
        "head",
    )
