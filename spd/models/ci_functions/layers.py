"""Layers of causal importance functions, with the names of the checkpoint: affine ones, and chains of them."""

import itertools

import torch
from torch import Tensor, nn

RMS_EPS = 2**-23
"""torch's own default for float32: rms(x) = x / sqrt(mean(x^2) + RMS_EPS)."""


class Layer(nn.Module):
    """Weights W and b of one layer, named as in the checkpoint: x W + b."""

    def __init__(self, weight_shape: tuple[int, ...], bias_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.empty(weight_shape))
        self.b = nn.Parameter(torch.empty(bias_shape))

    def forward(self, x: Tensor) -> Tensor:
        """(..., a) -> (..., b), for a W of shape (a, b)."""
        return x @ self.W + self.b


def affine(d_in: int, d_out: int) -> Layer:
    """A layer (d_in) -> (d_out)."""
    return Layer((d_in, d_out), (d_out,))


class Chain(nn.ModuleDict):
    """Affine layers named 0, 2, 4, ... with exact GELU between them and nothing after the last.

    Args:
        widths: of the input, of what lies between the layers, of the output.
    """

    def __init__(self, widths: list[int]) -> None:
        super().__init__({str(2 * place): affine(*pair) for place, pair in enumerate(itertools.pairwise(widths))})

    def forward(self, x: Tensor) -> Tensor:
        """(..., widths[0]) -> (..., widths[-1])."""
        for place, layer in enumerate(self.values()):
            x = layer(nn.functional.gelu(x) if place else x)
        return x


def rms_norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """x / sqrt(mean(x^2) + RMS_EPS) over the last axis, times a factor for each channel where one is given."""
    return nn.functional.rms_norm(x, x.shape[-1:], weight, RMS_EPS)
