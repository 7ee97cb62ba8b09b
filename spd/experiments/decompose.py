"""Stochastic Parameter Decomposition of a frozen target.

1. Warm-up: fit V U to the weights alone.
2. Each step: a batch, its importances, the losses of spd.experiments.losses, one AdamW step; the learning rate falls
   along a cosine, the exponent of importance minimality linearly.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spd.experiments.decomposition import Decomposition
from spd.experiments.losses import (
    Distance,
    Masking,
    importance_minimality,
    lower_leaky,
    reconstruction_losses,
    upper_leaky,
)

Report = Callable[[str], None]
"""Takes a line about the progress."""

ADAM_EPS = 1e-15
"""Far below the gradients: the losses of toy targets are so small (1e-5) that the usual 1e-8 would stall them."""


@dataclass(frozen=True)
class DecomposeConfig:
    """What a decomposition is trained with.

    Attributes:
        steps: optimiser steps.
        batch_size: items in a step's batch.
        learning_rate: of AdamW, at the start.
        final_learning_rate_fraction: what is left of it at the end of its cosine.
        importance_coeff: weight of importance minimality, sum of |g|^p.
        p_start, p_end: its exponent p at the first and at the last step, linear between.
        faithfulness_coeff: weight of the squared difference between the weights and the sums of their components.
        layerwise_coeff: weight of the reconstruction with one module masked at a time; 0 leaves it out.
        subset_share: share of the steps that mask a random subset of the modules, not all of them.
        bare_share: share of a batch's items that are reconstructed with the importances themselves as masks.
        frequency_coeff: how much more what is important often costs, see importance_minimality.
        warmup_steps: steps on faithfulness alone, before the first.
        warmup_learning_rate: of these.
        seed: of batches, masks and initial values.
        log_every: steps between two lines of progress.
    """

    steps: int
    batch_size: int
    learning_rate: float
    final_learning_rate_fraction: float
    importance_coeff: float
    p_start: float
    p_end: float
    faithfulness_coeff: float
    layerwise_coeff: float
    subset_share: float = 0.0
    bare_share: float = 0.0
    frequency_coeff: float = 0.0
    warmup_steps: int = 300
    warmup_learning_rate: float = 1e-2
    seed: int = 0
    log_every: int = 500


def decompose(
    model: Decomposition,
    draw_batch: Callable[[torch.Generator], Tensor],
    distance: Distance,
    config: DecomposeConfig,
    report: Report,
) -> None:
    """Train the components and importance functions of `model` in place.

    Args:
        draw_batch: gives a batch of the target's inputs.
        distance: between the output and the target's: squared_error or kl_divergence.
    """
    generator = torch.Generator().manual_seed(config.seed)
    fit_weights(model, config.warmup_steps, config.warmup_learning_rate)
    parameters = [*model.component_parameters(), *model.ci_functions.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0, eps=ADAM_EPS)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: cosine(step / config.steps, config.final_learning_rate_fraction)
    )
    for step in range(config.steps):
        p = config.p_start + (config.p_end - config.p_start) * step / config.steps
        loss, parts = _loss(model, draw_batch(generator), distance, config, p, generator)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
            values = ", ".join(f"{name} {float(value.detach()):.3g}" for name, value in parts.items())
            report(f"decomposition: step {step + 1} of {config.steps}: {values}")


def fit_weights(model: Decomposition, steps: int, learning_rate: float) -> None:
    """Minimise the weight error alone."""
    optimiser = torch.optim.AdamW(model.component_parameters(), lr=learning_rate, weight_decay=0.0, eps=ADAM_EPS)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.autograd.backward(model.weight_error())
        optimiser.step()


def cosine(fraction: float, final: float) -> float:
    """Factor of the learning rate: from 1 to `final` along half a cosine."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * fraction))


def _loss(
    model: Decomposition,
    batch: Tensor,
    distance: Distance,
    config: DecomposeConfig,
    p: float,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the losses, and what to report."""
    with torch.no_grad():
        target_output, inputs = model.run_and_record(batch)
    values = model.pre_sigmoid(inputs)
    lower = {path: lower_leaky(value) for path, value in values.items()}
    upper = {path: upper_leaky(value) for path, value in values.items()}
    with_subset = config.subset_share > 0 and float(torch.rand((), generator=generator)) < config.subset_share
    masking = Masking(config.layerwise_coeff > 0, with_subset, config.bare_share)
    together, apart = reconstruction_losses(model, batch, target_output, lower, distance, generator, masking)
    importance = importance_minimality(upper, p, config.frequency_coeff)
    weight_error = model.weight_error()
    loss = (
        together
        + config.layerwise_coeff * apart
        + config.importance_coeff * importance
        + config.faithfulness_coeff * weight_error
    )
    active = torch.stack([(value > 0.01).float().sum(-1).mean() for value in values.values()]).sum()
    reported = {
        "reconstruction": together,
        "layerwise": apart,
        "importance": importance,
        "weight error": weight_error,
        "active components": active,
    }
    return loss, reported
