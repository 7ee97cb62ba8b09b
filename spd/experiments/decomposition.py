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

from spd.experiments.initial_values import initialise_ci_functions
from spd.models.ci_config import CiConfig
from spd.models.ci_functions import ModuleSizes, build_ci_functions
from spd.models.ci_functions.layerwise import LayerwiseFunctions
from spd.models.components import Components, build_components, weight_in_by_out

Mask = tuple[Tensor, Tensor | None]
"""(mask of the components (..., C), mask of the delta (...) or None for no delta)."""


class Decomposition(nn.Module):
    """Components and importance functions of the modules named in `n_components`, on top of a frozen target."""

    def __init__(
        self, target: nn.Module, n_components: Mapping[str, int], ci_config: CiConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.target = target.requires_grad_(False)
        self.n_components = dict(n_components)
        self.components = nn.ModuleDict()
        self._masks: Mapping[str, Mask] = {}
        self._inputs: dict[str, Tensor] | None = None
        sizes = {}
        for path, count in self.n_components.items():
            module = target.get_submodule(path)
            components = build_components(module, count, path)
            _initialise_components(components, module, generator)
            self.components[_key(path)] = components
            sizes[path] = ModuleSizes(components.V.shape[0], count)
            module.register_forward_hook(lambda _module, args, _output, path=path: self._hook(path, args[0]))
        self.ci_functions = build_ci_functions(ci_config, sizes, "decomposition")
        initialise_ci_functions(self.ci_functions, generator)

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
        if self.ci_functions.takes_component_activations:
            inputs = {path: self.parts(path).activations(x) for path, x in inputs.items()}
        return self.ci_functions(inputs)

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
        if isinstance(self.ci_functions, LayerwiseFunctions):
            for path, function in self.ci_functions.by_module().items():
                named |= {f"_ci_fns.{_key(path)}.{name}": value for name, value in function.state_dict().items()}
        else:
            named |= {f"ci_fn._global_ci_fn.{name}": value for name, value in self.ci_functions.state_dict().items()}
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


def start_exactly(model: Decomposition, generator: torch.Generator) -> None:
    """Random directions on the smaller side of each weight, and on the other what makes V U the weight itself.

    With d_in <= d_out the columns of V are random and U = V^+ W; else the rows of U are, and V = W U^+. C must be at
    least the smaller side.
    """
    with torch.no_grad():
        for path in model.n_components:
            parts = model.parts(path)
            weight = weight_in_by_out(model.target.get_submodule(path), parts.V)
            count = parts.U.shape[0]
            assert count >= min(weight.shape)
            if weight.shape[0] <= weight.shape[1]:
                v = torch.randn(weight.shape[0], count, generator=generator)
                u = torch.linalg.pinv(v) @ weight
            else:
                u = torch.randn(count, weight.shape[1], generator=generator)
                v = weight @ torch.linalg.pinv(u)
            # As large a V as U, so that one learning rate suits both.
            balance = (u.norm(dim=1) / v.norm(dim=0).clamp(min=1e-6)).sqrt().clamp(min=1e-3)
            parts.V.copy_(v * balance)
            parts.U.copy_(u / balance[:, None])


def absorb_rest(model: Decomposition) -> None:
    """Give what is left of each weight, W - V U, to its components, by the least change of U or of V.

    As in start_exactly the side of the larger dimension changes: U by V^+ (W - V U), or V by (W - V U) U^+.
    """
    with torch.no_grad():
        for path in model.n_components:
            parts = model.parts(path)
            rest = parts.weight_delta(model.target.get_submodule(path))
            if rest.shape[0] <= rest.shape[1]:
                parts.U.add_(torch.linalg.pinv(parts.V) @ rest)
            else:
                parts.V.add_(rest @ torch.linalg.pinv(parts.U))


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
