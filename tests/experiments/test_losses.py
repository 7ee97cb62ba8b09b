"""The losses: values by hand, and gradients where the sigmoids are flat."""

import math

import pytest
import torch

from spd.experiments.losses import (
    importance_minimality,
    kl_divergence,
    lower_leaky,
    random_subset,
    stochastic_masks,
    upper_leaky,
)


def test_lower_leaky_lets_only_the_gradient_that_revives_through() -> None:
    for wanted, expected in ((-1.0, [-0.01, -1.0, 0.0]), (1.0, [0.0, 1.0, 0.0])):
        x = torch.tensor([-0.5, 0.5, 1.5], requires_grad=True)
        value = lower_leaky(x)
        value.backward(torch.full((3,), wanted))
        assert value.tolist() == [0.0, 0.5, 1.0]
        assert x.grad is not None
        assert x.grad.tolist() == pytest.approx(expected)


def test_upper_leaky_has_a_gradient_down_above_one() -> None:
    x = torch.tensor([-0.5, 0.5, 2.0], requires_grad=True)
    value = upper_leaky(x)
    value.sum().backward()
    assert value.tolist() == pytest.approx([0.0, 0.5, 1.01])
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([0.0, 1.0, 0.01])


def test_masks_lie_between_the_importance_and_one() -> None:
    generator = torch.Generator().manual_seed(0)
    importance = torch.rand(100, 7, generator=generator)
    mask, delta_mask = stochastic_masks({"m": importance}, generator)["m"]
    assert (mask >= importance).all()
    assert (mask <= 1).all()
    assert delta_mask is not None
    assert delta_mask.shape == (100,)
    certain, _ = stochastic_masks({"m": torch.ones(3, 2)}, generator)["m"]
    assert (certain == 1).all()


def test_bare_items_have_the_importances_as_masks() -> None:
    importance = torch.rand(8, 5, 7, generator=torch.Generator().manual_seed(1))
    mask, delta_mask = stochastic_masks({"m": importance}, torch.Generator().manual_seed(0), bare_share=0.25)["m"]
    assert delta_mask is not None
    assert torch.equal(mask[:2], importance[:2])
    assert not delta_mask[:2].any()
    assert (mask[2:] > importance[2:]).all()
    assert (delta_mask[2:] > 0).all()


def test_subsets_have_every_size_and_every_module() -> None:
    generator = torch.Generator().manual_seed(0)
    found = [random_subset("abcd", generator) for _ in range(400)]
    assert {len(subset) for subset in found} == {1, 2, 3, 4}
    for size in range(1, 5):
        assert sum(len(subset) == size for subset in found) > 60
    assert all(sum(name in subset for subset in found) > 200 for name in "abcd")


def test_importance_minimality_by_hand() -> None:
    importances = {"m": torch.tensor([[1.0, 0.0], [0.25, 0.0]]), "n": torch.tensor([[0.0], [1.0]])}
    assert float(importance_minimality(importances, 0.5)) == pytest.approx((1.0 + 0.5) / 2 + 1 / 2, abs=1e-5)


def test_what_is_important_often_costs_more() -> None:
    often, now_and_then = torch.tensor([[1.0, 0.0]] * 4), torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 2)
    assert float(importance_minimality({"m": often}, 1.0)) == pytest.approx(1.0)
    assert float(importance_minimality({"m": now_and_then}, 1.0)) == pytest.approx(1.0)
    assert float(importance_minimality({"m": often}, 1.0, 0.5)) == pytest.approx(1 + 0.5 * math.log2(5))
    assert float(importance_minimality({"m": now_and_then}, 1.0, 0.5)) == pytest.approx(1 + 0.5 * math.log2(3))


def test_kl_divergence_by_hand() -> None:
    target, output = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    expected = 0.5 * math.log(2.0) + 0.5 * math.log(0.5 / 0.75)
    assert float(kl_divergence(output, target)) == pytest.approx(expected, abs=1e-6)
    assert float(kl_divergence(target, target)) == pytest.approx(0.0, abs=1e-7)
