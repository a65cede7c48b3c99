"""The loss by hand, and MixUp that mixes everything alike."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer.errors import RecipeError
from trainer.objectives import (
    MixUp,
    Objective,
    attribute_error,
    class_weights,
    restricted,
    soft_cross_entropy,
    supervised_contrast,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestTargets:
    SOFT = torch.tensor([[0.6, 0.4, 0.0, 0.0], [0.0, 0.25, 0.5, 0.25]])

    def test_soft_targets_are_learnt_as_they_are(self) -> None:
        assert torch.equal(Objective().targets(self.SOFT), self.SOFT)

    def test_hard_ones_are_the_strongest_class_alone(self) -> None:
        found = Objective(hard=True).targets(self.SOFT)
        assert torch.equal(found, torch.tensor([[1.0, 0, 0, 0], [0, 0, 1.0, 0]]))

    def test_smoothing_spreads_its_share_evenly(self) -> None:
        found = Objective(label_smoothing=0.2).targets(self.SOFT)
        torch.testing.assert_close(found, 0.8 * self.SOFT + 0.05)
        torch.testing.assert_close(found.sum(dim=1), torch.ones(2))


class TestClassesThatACorpusLacks:
    POSSIBLE = torch.tensor([[1.0, 1, 0, 0], [1.0, 1, 1, 1]])

    def test_they_are_left_no_probability_and_the_others_keep_their_ratios(self) -> None:
        logits = torch.tensor([[1.0, 2.0, 5.0, 0.0], [1.0, 2.0, 5.0, 0.0]])
        told = restricted(logits, self.POSSIBLE).softmax(dim=1)
        torch.testing.assert_close(told[0], torch.cat([logits[0, :2].softmax(dim=0), torch.zeros(2)]))
        torch.testing.assert_close(told[1], logits[1].softmax(dim=0))

    def test_nothing_is_learnt_of_them(self) -> None:
        logits = torch.randn(2, 4, generator=generator(), requires_grad=True)
        targets = torch.tensor([[0.7, 0.3, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
        nothing = torch.zeros(2, 3)
        loss = Objective(label_smoothing=0.1)(
            logits,
            Objective(label_smoothing=0.1).targets(targets, self.POSSIBLE),
            predicted=nothing,
            attributes=nothing,
            known=torch.zeros(2),
            possible=self.POSSIBLE,
        )
        loss.backward()
        assert logits.grad is not None
        assert (logits.grad[0, 2:] == 0).all()
        assert (logits.grad[0, :2] != 0).all()
        assert (logits.grad[1] != 0).all()

    def test_smoothing_spreads_over_what_is_possible(self) -> None:
        soft = torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0]])
        found = Objective(label_smoothing=0.2).targets(soft, self.POSSIBLE)
        torch.testing.assert_close(found, torch.tensor([[0.9, 0.1, 0, 0], [0.85, 0.05, 0.05, 0.05]]))

    def test_a_mixture_may_be_of_what_either_part_may_be_of(self) -> None:
        mixed = MixUp(probability=1.0)((torch.zeros(2, 3), self.POSSIBLE), generator())[1]
        logits = torch.zeros(2, 4)
        for row, share in enumerate(mixed):
            told = restricted(logits, mixed)[row].softmax(dim=0)
            assert ((told > 0) == (share > 0)).all()


class TestContrast:
    CLASSES = torch.eye(2)[torch.tensor([0, 0, 1, 1])]

    def test_it_is_what_the_paper_of_khosla_et_al_sums(self) -> None:
        latent = torch.randn(4, 5, generator=generator())
        directions = latent / latent.norm(dim=1, keepdim=True)
        total = 0.0
        for anchor, partner in ((0, 1), (1, 0), (2, 3), (3, 2)):
            others = [i for i in range(4) if i != anchor]
            scores = directions[anchor] @ directions[others].T / 0.5
            total -= float(torch.log_softmax(scores, dim=0)[others.index(partner)])
        found = supervised_contrast(latent, self.CLASSES, 0.5)
        assert float(found) == pytest.approx(total / 4, rel=1e-5)

    def test_classes_that_stand_apart_cost_less(self) -> None:
        apart = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]])
        mixed = apart[[0, 2, 1, 3]]
        assert supervised_contrast(apart, self.CLASSES, 0.1) < supervised_contrast(mixed, self.CLASSES, 0.1)

    @pytest.mark.parametrize("rows", [1, 2])
    def test_without_a_partner_it_asks_for_nothing_and_gradients_stay_finite(self, rows: int) -> None:
        latent = torch.randn(rows, 3, requires_grad=True)
        (supervised_contrast(latent, torch.eye(2)[:rows], 0.1) + 0 * latent.sum()).backward()
        assert latent.grad is not None
        assert torch.isfinite(latent.grad).all()

    def test_with_partners_gradients_are_finite(self) -> None:
        latent = torch.randn(4, 3, requires_grad=True)
        supervised_contrast(latent, torch.eye(3)[torch.tensor([0, 0, 1, 2])], 0.1).backward()
        assert latent.grad is not None
        assert torch.isfinite(latent.grad).all()

    def test_an_objective_asks_for_it_by_its_weight(self) -> None:
        latent = torch.randn(4, 5, generator=generator())
        assert float(Objective().on_latent(latent, self.CLASSES)) == 0
        weighted = Objective(contrastive=0.3, contrastive_temperature=0.5).on_latent(latent, self.CLASSES)
        torch.testing.assert_close(weighted, 0.3 * supervised_contrast(latent, self.CLASSES, 0.5))


class TestClassWeights:
    # Four examples over two classes with soft counts 3 and 1: N / (C * f_c) is 4 / 6 and 4 / 2.
    TARGETS = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.75, 0.25], [0.25, 0.75]])

    def test_by_hand(self) -> None:
        torch.testing.assert_close(class_weights(self.TARGETS), torch.tensor([(4 / 6) ** 0.5, 2.0**0.5]))

    def test_the_power_goes_from_no_balance_to_full(self) -> None:
        torch.testing.assert_close(class_weights(self.TARGETS, 0.0), torch.ones(2))
        torch.testing.assert_close(class_weights(self.TARGETS, 1.0), torch.tensor([4 / 6, 2.0]))

    def test_a_class_that_never_occurs_weighs_as_much_as_the_rarest_that_does(self) -> None:
        weights = class_weights(torch.tensor([[1.0, 0.0, 0.0]] * 3 + [[0.0, 1.0, 0.0]]))
        assert weights[2] == weights[1] > weights[0]
        assert torch.isfinite(weights).all()

    def test_no_target_at_all_is_refused(self) -> None:
        with pytest.raises(RecipeError, match="no training example has a target"):
            class_weights(torch.zeros(0, 3))


class TestSoftCrossEntropy:
    LOGITS = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]]))
    TARGETS = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])

    def test_by_hand(self) -> None:
        halves = torch.log(torch.tensor([2.0, 4.0])).mean()
        expected = (halves - torch.log(torch.tensor(0.8))) / 2
        torch.testing.assert_close(soft_cross_entropy(self.LOGITS, self.TARGETS), expected)

    def test_a_weight_counts_where_its_class_is_meant(self) -> None:
        weights = torch.tensor([2.0, 0.0, 5.0])
        expected = (2 * 0.5 * torch.log(torch.tensor(2.0)) - 2 * torch.log(torch.tensor(0.8))) / 2
        torch.testing.assert_close(soft_cross_entropy(self.LOGITS, self.TARGETS, weights), expected)

    def test_with_one_class_meant_it_is_the_usual_cross_entropy(self) -> None:
        classes = torch.tensor([2, 0])
        hard = torch.nn.functional.one_hot(classes, 3).float()
        expected = torch.nn.functional.cross_entropy(self.LOGITS, classes)
        torch.testing.assert_close(soft_cross_entropy(self.LOGITS, hard), expected)


class TestAttributeError:
    PREDICTED = torch.tensor([[4.0, 4.0, 4.0], [1.0, 1.0, 1.0]])

    def test_by_hand(self) -> None:
        targets = torch.tensor([[4.0, 4.0, 7.0], [1.0, 3.0, 1.0]])
        torch.testing.assert_close(
            attribute_error(self.PREDICTED, targets, torch.ones(2)), torch.tensor((9 / 3 + 4 / 3) / 2)
        )

    def test_what_is_not_known_does_not_count(self) -> None:
        targets = torch.tensor([[4.0, 4.0, 7.0], [0.0, 0.0, 0.0]])
        torch.testing.assert_close(
            attribute_error(self.PREDICTED, targets, torch.tensor([1.0, 0.0])), torch.tensor(3.0)
        )

    def test_where_nothing_is_known_there_is_no_error_and_no_gradient(self) -> None:
        predicted = self.PREDICTED.clone().requires_grad_()
        loss = attribute_error(predicted, torch.zeros(2, 3), torch.zeros(2))
        torch.autograd.backward(loss)
        assert loss == 0
        assert predicted.grad is not None
        assert torch.equal(predicted.grad, torch.zeros(2, 3))

    def test_an_unknown_partner_does_not_pull_a_mixed_example_off_the_scale(self) -> None:
        # Attributes of 6, mixed at 0.25 with an example nobody rated: the target stays 6, at a quarter of the weight.
        mixed, known = torch.full((1, 3), 0.25 * 6.0), torch.tensor([0.25])
        assert attribute_error(torch.full((1, 3), 6.0), mixed, known) == 0
        torch.testing.assert_close(attribute_error(torch.full((1, 3), 4.0), mixed, known), torch.tensor(0.25 * 4.0))


class TestObjective:
    def parts(self) -> dict[str, Tensor]:
        return {
            "predicted": torch.tensor([[4.0, 4.0, 4.0]]),
            "attributes": torch.tensor([[4.0, 4.0, 7.0]]),
            "known": torch.ones(1),
        }

    def test_by_default_it_weighs_classes_and_attributes_as_the_paper_does(self) -> None:
        logits, targets = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
        torch.testing.assert_close(
            Objective()(logits, targets, **self.parts()), 1.5 * torch.log(torch.tensor(2.0)) + 0.4 * 3.0
        )

    def test_without_attributes_only_classes_count(self) -> None:
        logits, targets = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
        loss = Objective(1.0, 0.0)(logits, targets, **{**self.parts(), "predicted": torch.full((1, 3), torch.nan)})
        torch.testing.assert_close(loss, torch.log(torch.tensor(2.0)))


class TestMixUp:
    # Row i holds i in one column and i squared in another tensor of another shape: both tell partner and lambda.
    ROWS = torch.arange(16, dtype=torch.float32)

    def mixed(self, seed: int = 0, *, probability: float = 1.0, alpha: float = 1.0) -> tuple[Tensor, ...]:
        identity = torch.eye(16)
        return MixUp(probability, alpha)((identity, self.ROWS, self.ROWS.square().view(16, 1, 1)), generator(seed))

    def test_every_tensor_is_mixed_with_the_same_partners_and_lambdas(self) -> None:
        identity, rows, squares = self.mixed()
        # The identity shows the shares themselves.
        torch.testing.assert_close(identity @ self.ROWS, rows)
        torch.testing.assert_close(identity @ self.ROWS.square(), squares[:, 0, 0])

    def test_every_example_keeps_a_share_and_takes_the_rest_from_one_partner(self) -> None:
        shares, _, _ = self.mixed()
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(16))
        assert ((shares > 0).sum(dim=1) <= 2).all()
        assert (shares >= 0).all()

    def test_partners_are_a_permutation(self) -> None:
        shares, _, _ = self.mixed()
        own = torch.diagonal(shares)
        others = shares - torch.diag(own)
        moved = own < 1
        assert (others[moved] > 0).sum(dim=0).max() == 1

    def test_each_example_has_a_lambda_of_its_own(self) -> None:
        shares, _, _ = self.mixed()
        own = torch.diagonal(shares)
        assert own[own < 1].unique().numel() == int((own < 1).sum()) > 8

    def test_lambdas_follow_the_beta_distribution(self) -> None:
        alpha, rows = 0.2, 4096
        # Where a 0 meets a 1, what comes out is lambda, or 1 - lambda, which is spread alike.
        marks = torch.cat([torch.zeros(rows // 2), torch.ones(rows // 2)])
        mixed = MixUp(1.0, alpha)((marks,), generator(1))[0]
        between = mixed[(mixed != 0) & (mixed != 1)]
        assert between.mean() == pytest.approx(0.5, abs=0.03)
        # Variance of Beta(a, a): 1 / (4 (2 a + 1)).
        assert between.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)

    def test_chance_comes_from_the_generator_alone(self) -> None:
        torch.manual_seed(1)
        first = self.mixed(seed=3)
        torch.manual_seed(2)
        again = self.mixed(seed=3)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not torch.equal(first[1], self.mixed(seed=4)[1])

    @pytest.mark.parametrize("seed", range(5))
    def test_with_probability_0_nothing_is_mixed(self, seed: int) -> None:
        assert torch.equal(self.mixed(seed, probability=0.0)[0], torch.eye(16))

    @pytest.mark.parametrize("seed", range(5))
    def test_with_probability_1_every_batch_is_mixed(self, seed: int) -> None:
        assert not torch.equal(self.mixed(seed)[0], torch.eye(16))

    def test_between_them_about_that_share_of_batches_is_mixed(self) -> None:
        shared, mixup = generator(), MixUp(0.3, 1.0)
        untouched = [torch.equal(mixup((self.ROWS,), shared)[0], self.ROWS) for _ in range(400)]
        assert sum(untouched) == pytest.approx(280, abs=40)

    def test_an_example_alone_has_no_partner(self) -> None:
        assert torch.equal(MixUp(1.0)((torch.tensor([[3.0]]),), generator())[0], torch.tensor([[3.0]]))

    @settings(deadline=None, max_examples=40)
    @given(st.integers(2, 12), st.floats(1e-3, 5), st.integers(0, 1000))
    def test_distributions_stay_distributions_however_extreme_the_lambdas(
        self, batch: int, alpha: float, seed: int
    ) -> None:
        targets = torch.softmax(torch.randn(batch, 4, generator=generator(seed)), dim=1)
        mixed = MixUp(1.0, alpha)((targets,), generator(seed))[0]
        assert torch.isfinite(mixed).all()
        assert (mixed >= 0).all()
        torch.testing.assert_close(mixed.sum(dim=1), torch.ones(batch))
