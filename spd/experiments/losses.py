"""The losses of Stochastic Parameter Decomposition (Bushnaq, Braun, Sharkey 2025, arXiv:2506.20790).

With g the causal importances of a batch, a mask is m = g + (1 - g) u, u uniform in [0, 1): a component of no importance
may be switched off by any amount, and the output must not change.

- stochastic reconstruction: distance of the output with all modules masked from the target's output;
- layerwise: the same with one module masked at a time, mean over modules;
- importance minimality: sum over components of |g|^p, mean over the batch;
- faithfulness: mean squared difference of the weights from the sum of their components.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spd.experiments.decomposition import Decomposition, Mask

LEAK = 0.01
"""Slope of the sigmoid where it is flat."""

Distance = Callable[[Tensor, Tensor], Tensor]
"""(output, the target's output) -> scalar."""


class _LowerLeaky(torch.autograd.Function):
    """clamp(x, 0, 1) whose gradient below 0 leaks when it would raise x, so that a dead component can come back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        inside = torch.where(x <= 1, gradient, torch.zeros_like(gradient))
        return torch.where(x < 0, LEAK * gradient.clamp(max=0), inside)


def lower_leaky(x: Tensor) -> Tensor:
    """The importances that masks are made of."""
    result = _LowerLeaky.apply(x)
    assert isinstance(result, Tensor)
    return result


def upper_leaky(x: Tensor) -> Tensor:
    """The importances that are kept small: above 1 they still have a gradient down."""
    return torch.where(x > 1, 1 + LEAK * (x - 1), x.clamp(min=0))


def stochastic_masks(
    importances: Mapping[str, Tensor], generator: torch.Generator, bare_share: float = 0.0
) -> dict[str, Mask]:
    """m = g + (1 - g) u for the components, and u' for the delta, which counts as a component of no importance.

    Args:
        bare_share: share of the items of the batch (its first ones) for which u = u' = 0, in all modules: what has no
            importance is off altogether, a corner that independent draws of many components hardly ever come near.
    """
    masks: dict[str, Mask] = {}
    for path, g in importances.items():
        free, delta = torch.rand(g.shape, generator=generator), torch.rand(g.shape[:-1], generator=generator)
        n_bare = round(bare_share * len(g))
        free[:n_bare], delta[:n_bare] = 0.0, 0.0
        masks[path] = (g + (1 - g) * free, delta)
    return masks


@dataclass(frozen=True)
class Masking:
    """What a step masks.

    Attributes:
        with_layerwise: also one module at a time.
        with_subset: a random subset of the modules only, and the others stay whole.
        bare_share: see stochastic_masks.
    """

    with_layerwise: bool = False
    with_subset: bool = False
    bare_share: float = 0.0


def reconstruction_losses(
    model: Decomposition,
    batch: Tensor,
    target_output: Tensor,
    importances: Mapping[str, Tensor],
    distance: Distance,
    generator: torch.Generator,
    masking: Masking,
) -> tuple[Tensor, Tensor]:
    """(stochastic reconstruction, layerwise; 0 where it is not asked for)."""
    masks = stochastic_masks(importances, generator, masking.bare_share)
    if masking.with_subset:
        masks = {path: masks[path] for path in random_subset(masks, generator)}
    together = distance(model.run(batch, masks), target_output)
    if not masking.with_layerwise:
        return together, torch.zeros(())
    masks = stochastic_masks(importances, generator)
    apart = [distance(model.run(batch, {path: mask}), target_output) for path, mask in masks.items()]
    return together, torch.stack(apart).mean()


def random_subset(paths: Iterable[str], generator: torch.Generator) -> set[str]:
    """Some of the modules: their number uniform from one to all, then any of that number."""
    found = list(paths)
    size = int(torch.randint(1, len(found) + 1, (), generator=generator))
    return {found[place] for place in torch.randperm(len(found), generator=generator)[:size].tolist()}


def importance_minimality(importances: Mapping[str, Tensor], p: float, frequency_coeff: float = 0.0) -> Tensor:
    """sum over modules and components of s (1 + b log2(1 + n s)), s the mean of |g|^p over the n items of the batch.

    With b = frequency_coeff above 0 what is important everywhere costs more than what is important now and then.
    """
    total = torch.zeros(())
    for g in importances.values():
        each = (g + 1e-12).pow(p).flatten(0, -2)
        size = each.mean(0)
        if frequency_coeff > 0:
            size = size * (1 + frequency_coeff * torch.log2(1 + len(each) * size))
        total = total + size.sum()
    return total


def squared_error(output: Tensor, target_output: Tensor) -> Tensor:
    """Mean squared error, for toy targets."""
    return (output - target_output).square().mean()


def kl_divergence(output: Tensor, target_output: Tensor) -> Tensor:
    """KL(target || output) in nats per token, of logits (..., vocabulary)."""
    expected, got = target_output.log_softmax(-1), output.log_softmax(-1)
    return (expected.exp() * (expected - got)).sum(-1).mean()
