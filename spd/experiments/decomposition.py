"""A frozen target with trainable components and causal importance functions: what the trainer optimises.

1. Every decomposed Linear has components V, U and a causal importance function, the modules of spd.models.
2. A hook on the Linear records its input, or puts in its place the masked sum of the components and, with a mask of its
   own, of the weight that they leave over (the delta).
3. `checkpoint()` names all tensors as a run's checkpoint does.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spd.models.ci_functions import CiFunction, Layer, build_ci_function
from spd.models.components import Components, build_components, weight_in_by_out

Mask = tuple[Tensor, Tensor | None]
"""(mask of the components (..., C), mask of the delta (...) or None for no delta)."""


class Decomposition(nn.Module):
    """Components and importance functions of the modules named in `n_components`, on top of a frozen target."""

    def __init__(
        self,
        target: nn.Module,
        n_components: Mapping[str, int],
        ci_fn_type: str,
        ci_fn_hidden_dims: list[int],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.target = target.requires_grad_(False)
        self.n_components = dict(n_components)
        self.components = nn.ModuleDict()
        self.ci_functions = nn.ModuleDict()
        self._masks: Mapping[str, Mask] = {}
        self._inputs: dict[str, Tensor] | None = None
        for path, count in self.n_components.items():
            module = target.get_submodule(path)
            components = build_components(module, count, path)
            ci_function = build_ci_function(ci_fn_type, count, components.V.shape[0], ci_fn_hidden_dims, False)
            _initialise_components(components, module, generator)
            _initialise_ci_function(ci_function, generator)
            self.components[_key(path)] = components
            self.ci_functions[_key(path)] = ci_function
            module.register_forward_hook(lambda _module, args, _output, path=path: self._hook(path, args[0]))

    def run(self, batch: Tensor, masks: Mapping[str, Mask] | None = None) -> Tensor:
        """The target's output, with each module named in `masks` replaced by its masked components."""
        self._masks = masks or {}
        try:
            return _first(self.target(batch))
        finally:
            self._masks = {}

    def run_and_record(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The target's own output, and the input of each decomposed module."""
        self._inputs = {}
        try:
            output = self.run(batch)
            return output, self._inputs
        finally:
            self._inputs = None

    def pre_sigmoid(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Causal importances before the sigmoid, (..., C) by module."""
        values = {}
        for path, x in inputs.items():
            function = self._ci_function(path)
            values[path] = function(self.parts(path).activations(x) if function.takes_component_activations else x)
        return values

    def parts(self, path: str) -> Components:
        """The components of a module."""
        components = self.components[_key(path)]
        assert isinstance(components, Components)
        return components

    def weight_error(self) -> Tensor:
        """Mean over all weights of the decomposed modules of (W - V U)^2."""
        deltas = [self._delta(path) for path in self.n_components]
        return torch.stack([delta.square().sum() for delta in deltas]).sum() / sum(delta.numel() for delta in deltas)

    def component_parameters(self) -> list[nn.Parameter]:
        """V and U of all modules; biases are the target's and stay."""
        return [p for path in self.n_components for p in (self.parts(path).V, self.parts(path).U)]

    def checkpoint(self) -> dict[str, Tensor]:
        """All tensors, under the names of a run's checkpoint."""
        named = {f"target_model.{name}": value for name, value in self.target.state_dict().items()}
        named |= {f"_components.{name}": value for name, value in self.components.state_dict().items()}
        named |= {f"_ci_fns.{name}": value for name, value in self.ci_functions.state_dict().items()}
        return {name: value.detach().clone() for name, value in named.items()}

    def _hook(self, path: str, x: Tensor) -> Tensor | None:
        if self._inputs is not None:
            self._inputs[path] = x
        if path not in self._masks:
            return None
        mask, delta_mask = self._masks[path]
        output = self.parts(path).output(x, mask)
        return output if delta_mask is None else output + delta_mask[..., None] * (x @ self._delta(path))

    def _delta(self, path: str) -> Tensor:
        return self.parts(path).weight_delta(self.target.get_submodule(path))

    def _ci_function(self, path: str) -> CiFunction:
        function = self.ci_functions[_key(path)]
        assert isinstance(function, CiFunction)
        return function


def start_at_neurons(model: Decomposition, by_output: Mapping[str, bool]) -> None:
    """Put one component on each neuron: V U is then the weight itself.

    Args:
        by_output: by module, whether neurons are its outputs (component i reads with row i of the weight) or its
            inputs (component i writes with column i). C must be their number.
    """
    with torch.no_grad():
        for path, is_output in by_output.items():
            parts = model.parts(path)
            weight = weight_in_by_out(model.target.get_submodule(path), parts.V)
            v, u = (weight, torch.eye(weight.shape[1])) if is_output else (torch.eye(weight.shape[0]), weight)
            assert v.shape == parts.V.shape
            # As large a V as U, so that one learning rate suits both.
            balance = (u.norm(dim=1) / v.norm(dim=0).clamp(min=1e-6)).sqrt()
            parts.V.copy_(v * balance)
            parts.U.copy_(u / balance[:, None].clamp(min=1e-6))


def _key(path: str) -> str:
    return path.replace(".", "-")


def _first(output: Any) -> Tensor:
    """The logits, of a target that gives (logits, loss)."""
    result = output[0] if isinstance(output, tuple) else output
    assert isinstance(result, Tensor)
    return result


def _initialise_components(components: Components, module: nn.Module, generator: torch.Generator) -> None:
    """Random directions: V of unit columns on average, U so that V U is about of unit norm per output."""
    with torch.no_grad():
        d_in, count = components.V.shape
        components.V.copy_(torch.randn(components.V.shape, generator=generator) / math.sqrt(d_in))
        components.U.copy_(torch.randn(components.U.shape, generator=generator) / math.sqrt(count))
        if components.bias is not None:
            assert isinstance(module.bias, Tensor)
            components.bias.copy_(module.bias)
            components.bias.requires_grad_(False)


_FIRST_IMPORTANCE = 0.3
"""Importance of every component at the start: within (0, 1), where the sigmoid has its full gradient."""


def _initialise_ci_function(function: CiFunction, generator: torch.Generator) -> None:
    """He's initialisation; the last layer's bias sets the importance that training starts from."""
    stages = function.stages()
    with torch.no_grad():
        for stage in stages:
            fan_in = stage.W.shape[-2]
            gain = 1.0 if stage is stages[-1] else math.sqrt(2.0)
            stage.W.copy_(torch.randn(stage.W.shape, generator=generator) * gain / math.sqrt(fan_in))
            _set_bias(stage, _FIRST_IMPORTANCE if stage is stages[-1] else 0.0)


def _set_bias(stage: Layer, value: float) -> None:
    stage.b.fill_(value)
