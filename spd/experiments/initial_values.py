"""What causal importance functions start their training from."""

import math

import torch
from torch import nn

from spd.models.ci_functions import CiFunctions, Layer
from spd.models.ci_functions.layers import Chain
from spd.models.ci_functions.layerwise import CiFunction, LayerwiseFunctions
from spd.models.ci_functions.shared import GlobalSharedMLP
from spd.models.ci_functions.transformer import GlobalSharedTransformer

_FIRST_IMPORTANCE = 0.3
"""Importance of every component at the start: within (0, 1), where the sigmoid has its full gradient."""

_SMALL = 0.3
"""Size of what a transformer's blocks add to their stream at the start, and of what its head reads."""


@torch.no_grad()
def initialise_ci_functions(functions: CiFunctions, generator: torch.Generator) -> None:
    """He's initialisation; the last layer's bias sets the importance that training starts from."""
    if isinstance(functions, LayerwiseFunctions):
        for function in functions.by_module().values():
            assert isinstance(function, CiFunction)
            _initialise_chain(function.stages(), generator)
            function.stages()[-1].b.fill_(_FIRST_IMPORTANCE)
    elif isinstance(functions, GlobalSharedMLP):
        stages = _stages(functions.layers)
        _initialise_chain(stages, generator)
        stages[-1].b.fill_(_FIRST_IMPORTANCE)
    else:
        assert isinstance(functions, GlobalSharedTransformer), "the trainer has no initial values for this kind"
        _initialise_transformer(functions, generator)


def _initialise_transformer(functions: GlobalSharedTransformer, generator: torch.Generator) -> None:
    for module in functions.modules():
        if isinstance(module, nn.Linear):
            scale = 1 / math.sqrt(module.in_features)
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * scale)
        elif isinstance(module, Chain):
            stages = _stages(module)
            _initialise_chain(stages, generator)
            stages[-1].W.mul_(_SMALL)
    _initialise_chain([functions._input_projector], generator)
    _initialise_chain([functions._output_head], generator)
    functions._output_head.W.mul_(_SMALL)
    functions._output_head.b.fill_(_FIRST_IMPORTANCE)


def _initialise_chain(stages: list[Layer], generator: torch.Generator) -> None:
    """Layers with GELU between them; biases 0."""
    for stage in stages:
        gain = 1.0 if stage is stages[-1] else math.sqrt(2.0)
        draw = torch.randn(stage.W.shape, generator=generator)
        stage.W.copy_(draw * gain / math.sqrt(stage.W.shape[-2]))
        stage.b.fill_(0.0)


def _stages(chain: Chain) -> list[Layer]:
    return [layer for layer in chain.values() if isinstance(layer, Layer)]
