"""Forward passes with some components switched off, many sets of them in one pass.

A set of components is a row of masks for each decomposed module. Each item of a batch has a set of its own, so groups,
their controls, and items are batched alike. All modules are replaced by their components, so that a set that switches
nothing off gives the target's output to the error of the reconstruction; everything is compared with that output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from spd.errors import ConfigError
from spd.models.component_model import ComponentModel

Divergence = Literal["kl", "mse"]


@dataclass(frozen=True, eq=False)
class MaskSets:
    """Masks of several sets of components.

    Attributes:
        masks: by module (n_sets, C), 0 where a component is switched off, else 1; every decomposed module.
    """

    masks: dict[str, Tensor]

    @classmethod
    def ablated(cls, model: ComponentModel, sets: Sequence[Mapping[str, Sequence[int]]]) -> Self:
        """The components of each set ({module: indices}) at 0, all others at 1.

        Raises:
            ConfigError: a set names a component that the model lacks.
        """
        return cls._filled(model, sets, keep=False)

    @classmethod
    def kept(cls, model: ComponentModel, sets: Sequence[Mapping[str, Sequence[int]]]) -> Self:
        """In the modules that a set names only its components at 1; modules that it does not name stay whole.

        Raises:
            ConfigError: a set names a component that the model lacks.
        """
        return cls._filled(model, sets, keep=True)

    @classmethod
    def _filled(cls, model: ComponentModel, sets: Sequence[Mapping[str, Sequence[int]]], *, keep: bool) -> Self:
        device = next(model.parameters()).device
        masks = {module: torch.ones(len(sets), count) for module, count in model.module_to_c.items()}
        for row, one in enumerate(sets):
            for module, indices in one.items():
                count = model.module_to_c.get(module, 0)
                if not all(0 <= index < count for index in indices):
                    raise ConfigError(f"module {module!r} has {count} components, the set names {sorted(indices)}")
                if keep:
                    masks[module][row] = 0.0
                masks[module][row, list(indices)] = 1.0 if keep else 0.0
        return cls({module: mask.to(device) for module, mask in masks.items()})

    @property
    def n_sets(self) -> int:
        return len(next(iter(self.masks.values())))


@torch.no_grad()
def masked_output(model: ComponentModel, batch: Tensor, sets: MaskSets, set_of: Tensor) -> Tensor:
    """The model's output where item i has the masks of set `set_of[i]`.

    Args:
        batch: (n, n_features), or tokens (n, seq), on the model's device.
        set_of: (n,) int64.

    Returns:
        (n, n_outputs) or (n, seq, vocabulary).
    """
    middle = [1] * (batch.ndim - 1 if not batch.is_floating_point() else batch.ndim - 2)
    masks = {module: mask[set_of].reshape(len(set_of), *middle, -1) for module, mask in sets.masks.items()}
    output: Tensor = model(batch, mask_infos=masks)
    return output


@torch.no_grad()
def whole_output(model: ComponentModel, batch: Tensor) -> Tensor:
    """The output with every component on: what masked outputs are compared with."""
    sets = MaskSets.ablated(model, [{}])
    return masked_output(model, batch, sets, torch.zeros(len(batch), dtype=torch.int64, device=batch.device))


def divergence(whole: Tensor, masked: Tensor, kind: Divergence) -> Tensor:
    """How far an output is from the whole one, a number for each sample: (n,) or (n, seq).

    `kl`: sum_t p_t (log p_t - log q_t) in nats, p the whole output's probabilities (softmax over the last axis), q the
    masked one's. `mse`: mean square over the outputs.
    """
    if kind == "mse":
        return (whole - masked).square().mean(-1)
    log_p, log_q = whole.log_softmax(-1), masked.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def output_change(whole: Tensor, masked: Tensor, kind: Divergence) -> Tensor:
    """By output what is lost: `kl`: probability, p - q; `mse`: the square of the difference."""
    if kind == "mse":
        return (whole - masked).square()
    return whole.softmax(-1) - masked.softmax(-1)
