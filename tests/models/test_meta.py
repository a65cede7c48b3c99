"""The meta-classifier and the soup."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.errors import FeatureError
from models.meta import MetaClassifier, fill_silent, member_answers, soup

MEMBERS, LABELS = 3, 4


def answers(rows: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.softmax(torch.randn(rows, MEMBERS, LABELS, generator=generator), dim=-1)
    return probabilities, 1 + 6 * torch.rand(rows, MEMBERS, 3, generator=generator)


def test_it_reads_every_members_posterior_and_attributes_side_by_side() -> None:
    probabilities, attributes = answers()
    found = member_answers(probabilities, attributes)
    assert found.shape == (5, MEMBERS * (LABELS + 3))
    assert torch.equal(found[:, :LABELS], probabilities[:, 0])
    torch.testing.assert_close(found[:, LABELS : LABELS + 3], (attributes[:, 0] - 4) / 3)


class TestSilence:
    READS = torch.tensor([[True, False, True], [True, True, True], [False, False, True], [False] * 3, [True] * 3])

    def test_silent_members_say_the_mean_of_those_that_speak(self) -> None:
        probabilities, attributes = answers()
        for given, found in zip(
            (probabilities, attributes), fill_silent(probabilities, attributes, self.READS), strict=True
        ):
            torch.testing.assert_close(found[0, 1], given[0, [0, 2]].mean(dim=0))
            torch.testing.assert_close(found[2, :2], given[2, 2].expand(2, -1))

    def test_those_that_speak_are_not_changed(self) -> None:
        probabilities, attributes = answers()
        filled = fill_silent(probabilities, attributes, self.READS)
        assert torch.equal(filled[0][self.READS], probabilities[self.READS])
        assert torch.equal(filled[1][self.READS], attributes[self.READS])

    def test_where_all_are_silent_nothing_is_favoured(self) -> None:
        probabilities, attributes = fill_silent(*answers(), self.READS)
        torch.testing.assert_close(probabilities[3], torch.full((MEMBERS, LABELS), 1 / LABELS))
        torch.testing.assert_close(attributes[3], torch.full((MEMBERS, 3), 4.0))


def test_it_is_made_of_linear_maps_alone() -> None:
    kinds = {type(module) for module in MetaClassifier(MEMBERS, LABELS).modules()}
    assert kinds == {MetaClassifier, nn.Linear}


def test_negative_logits_stay_negative() -> None:
    meta = MetaClassifier(MEMBERS, LABELS)
    nn.init.constant_(meta.to_logits.bias, -50.0)
    logits, _ = meta(member_answers(*answers()))
    assert (logits < -40).all()


def test_logits_are_linear_in_the_answers() -> None:
    torch.manual_seed(0)
    meta = MetaClassifier(MEMBERS, LABELS)
    nn.init.normal_(meta.to_logits.weight)
    nn.init.normal_(meta.to_logits.bias)
    first, second = torch.randn(2, 5, MEMBERS * (LABELS + 3))
    mixed = meta(0.3 * first + 0.7 * second)[0]
    torch.testing.assert_close(mixed, 0.3 * meta(first)[0] + 0.7 * meta(second)[0], atol=1e-5, rtol=1e-5)


def test_before_training_it_votes_softly() -> None:
    probabilities, attributes = answers(rows=50)
    logits, found = MetaClassifier(MEMBERS, LABELS)(member_answers(probabilities, attributes))
    assert torch.equal(logits.argmax(dim=1), probabilities.mean(dim=1).argmax(dim=1))
    assert (found - attributes.mean(dim=1)).abs().max() < 1.0


def test_kept_from_attributes_logits_learn_from_posteriors_alone() -> None:
    meta = MetaClassifier(members=2, labels=3)
    meta.keep_attributes_from_logits()
    optimiser = torch.optim.SGD(meta.parameters(), lr=1.0)
    before = meta.to_logits.weight.detach().clone()
    logits, attributes = meta(torch.randn(5, 2 * (3 + 3)))
    torch.autograd.backward(logits[:, 0].sum() + attributes.sum())
    optimiser.step()
    moved = (meta.to_logits.weight - before).view(3, 2, 3 + 3) != 0
    assert bool(moved[0, :, :3].all())
    assert not bool(moved[:, :, 3:].any())
    assert bool((meta.to_attributes.weight.grad != 0).all())


def test_attributes_stay_on_their_scale() -> None:
    meta = MetaClassifier(MEMBERS, LABELS)
    nn.init.constant_(meta.to_attributes.bias, 100.0)
    _, attributes = meta(member_answers(*answers()))
    assert attributes.max() <= 7


def test_fusing_hands_the_answers_on_for_mixup() -> None:
    rows = member_answers(*answers())
    found = MetaClassifier(MEMBERS, LABELS).fuse({"answers": rows[:, None]}, {})
    assert torch.equal(found, rows)


def test_answers_of_another_number_of_members_are_refused() -> None:
    with pytest.raises(FeatureError, match="reads 3 members with 4 labels, got answers of width 14"):
        MetaClassifier(MEMBERS, LABELS)(torch.zeros(1, 14))


def test_a_soup_is_the_mean_of_its_ingredients() -> None:
    states = [{"weight": torch.full((2, 2), value), "bias": torch.tensor([value])} for value in (1.0, 2.0, 6.0)]
    found = soup(states)
    assert torch.equal(found["weight"], torch.full((2, 2), 3.0))
    assert torch.equal(found["bias"], torch.tensor([3.0]))
    assert torch.equal(states[0]["bias"], torch.tensor([1.0]))


def test_a_soup_of_linear_models_answers_with_their_mean() -> None:
    torch.manual_seed(0)
    runs = [MetaClassifier(MEMBERS, LABELS) for _ in range(4)]
    for run in runs:
        nn.init.normal_(run.to_logits.weight)
    rows = member_answers(*answers())
    expected = torch.stack([run(rows)[0] for run in runs]).mean(dim=0)
    cooked = MetaClassifier(MEMBERS, LABELS)
    cooked.load_state_dict(soup([run.state_dict() for run in runs]))
    torch.testing.assert_close(cooked(rows)[0], expected)


@pytest.mark.parametrize("odd", [{"bias": torch.zeros(2)}, {"weight": torch.zeros(3)}, {}])
def test_ingredients_that_differ_are_refused(odd: dict[str, Tensor]) -> None:
    good = {"weight": torch.zeros(2)}
    with pytest.raises(FeatureError, match="ingredient 3"):
        soup([good, good, odd])


def test_a_soup_of_nothing_is_refused() -> None:
    with pytest.raises(FeatureError, match="at least one ingredient"):
        soup([])
