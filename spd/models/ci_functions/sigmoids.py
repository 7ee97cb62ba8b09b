"""From a function's output to an importance: sigmoids, elementwise and last of all."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

Sigmoid = Callable[[Tensor], Tensor]

_LEAK = 0.01
_SWISH_SHARPNESS = 10.0


def _hard(x: Tensor) -> Tensor:
    return x.clamp(0, 1)


def _upper_leaky_hard(x: Tensor) -> Tensor:
    return torch.where(x > 1, 1 + _LEAK * (x - 1), x.clamp(0, 1))


def _leaky_hard(x: Tensor) -> Tensor:
    return torch.where(x < 0, _LEAK * x, x.clamp(max=1))


def _swish_hard(x: Tensor) -> Tensor:
    """x s(10 x) - (x - 1) s(10 (x - 1)), s the logistic function: a smooth `hard` that overshoots a little."""
    return x * torch.sigmoid(_SWISH_SHARPNESS * x) - (x - 1) * torch.sigmoid(_SWISH_SHARPNESS * (x - 1))


SIGMOIDS: dict[str, Sigmoid] = {
    "normal": torch.sigmoid,
    "hard": _hard,
    "leaky_hard": _leaky_hard,
    "upper_leaky_hard": _upper_leaky_hard,
    "lower_leaky_hard": _hard,  # it leaks in the gradient only
    "swish_hard": _swish_hard,
}


def importance_sigmoids(sigmoid_type: str) -> tuple[Sigmoid, Sigmoid]:
    """(lower leaky, upper leaky) variants of a run's sigmoid: two functions for `leaky_hard`, else the same twice."""
    if sigmoid_type == "leaky_hard":
        return SIGMOIDS["lower_leaky_hard"], SIGMOIDS["upper_leaky_hard"]
    return SIGMOIDS[sigmoid_type], SIGMOIDS[sigmoid_type]


class CIOutputs:
    """Causal importances by module, each (..., C), in the order of execution; a variant is computed when asked for.

    `lower_leaky` is the bounded one. `upper_leaky` differs for the sigmoid `leaky_hard` only: it grows slowly above 1.
    """

    def __init__(self, pre_sigmoid: dict[str, Tensor], sigmoid_type: str) -> None:
        self.pre_sigmoid = pre_sigmoid
        self._lower, self._upper = importance_sigmoids(sigmoid_type)

    @cached_property
    def lower_leaky(self) -> dict[str, Tensor]:
        return {module: self._lower(value) for module, value in self.pre_sigmoid.items()}

    @cached_property
    def upper_leaky(self) -> dict[str, Tensor]:
        return {module: self._upper(value) for module, value in self.pre_sigmoid.items()}
