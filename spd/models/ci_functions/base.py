"""What all kinds of causal importance functions have in common: inputs of modules in, values before the sigmoid out."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spd.errors import ConfigError, RunFormatError
from spd.models.checkpoint import Checkpoint, assign_weights
from spd.models.ci_functions.attention import take_frequencies


class ModuleSizes(NamedTuple):
    """Sizes of a decomposed module.

    Attributes:
        d_in: width of its input; of an embedding the number of words.
        n_components: C.
        is_embedding: whether its input is tokens.
    """

    d_in: int
    n_components: int
    is_embedding: bool = False

    @property
    def width(self) -> int:
        """How many numbers it brings into a function for all modules: d_in; of an embedding V[token], C numbers."""
        return self.n_components if self.is_embedding else self.d_in


class CiFunctions(nn.Module):
    """The causal importance functions of all decomposed modules.

    Attributes:
        takes_component_activations: whether a module's input to its function is its components' activations (..., C);
            else it is the module's input (..., d_in), except for an embedding, whose input is always V[token].
    """

    takes_component_activations = False

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values before the sigmoid.

        Args:
            inputs: by module path (..., d), float32.

        Returns:
            (..., C) by module, in the order of `inputs`.
        """
        raise NotImplementedError

    def assign(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint's weights in.

        Raises:
            RunFormatError: they do not fit; names the first that does not.
        """
        raise NotImplementedError


class GlobalFunctions(CiFunctions):
    """One function of the inputs of all modules together.

    Attributes:
        order: the modules, as their inputs are concatenated and the outputs cut.
    """

    def __init__(self, modules: Mapping[str, ModuleSizes], order: list[str]) -> None:
        super().__init__()
        assert sorted(order) == sorted(modules)
        self.order = order
        self._sizes = dict(modules)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See CiFunctions.

        Raises:
            ConfigError: the input of a module is missing.
        """
        missing = [module for module in self.order if module not in inputs]
        if missing:
            raise ConfigError(
                f"the inputs of {', '.join(missing)} are missing: this run has one causal importance function, of the"
                " inputs of all modules together"
            )
        values = self.pre_sigmoid(inputs)
        return {module: values[module] for module in inputs}

    def pre_sigmoid(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Like forward, all modules given, in any order."""
        raise NotImplementedError

    def assign(self, checkpoint: Checkpoint) -> None:
        if checkpoint.ci_functions:
            raise RunFormatError(
                f"{checkpoint.path}: holds a causal importance function for each module, but ci_config says that there"
                " is one for all (mode: global)"
            )
        self.check_version(checkpoint.global_ci_function, str(checkpoint.path))
        where = f"{checkpoint.path}: ci_fn._global_ci_fn"
        assign_weights(self, take_frequencies(self, checkpoint.global_ci_function, where), where)

    def check_version(self, weights: Mapping[str, Tensor], where: str) -> None:
        """Refuse weights of a version that computes something else; `where` (a file) opens the error message.

        Raises:
            RunFormatError: they are.
        """

    def width(self, modules: list[str]) -> int:
        """How many numbers these modules bring in."""
        return sum(self._sizes[module].width for module in modules)

    def n_components(self, modules: list[str]) -> int:
        """How many components these modules have."""
        return sum(self._sizes[module].n_components for module in modules)

    def cut(self, values: Tensor, modules: list[str]) -> dict[str, Tensor]:
        """(..., sum of C) to (..., C) by module."""
        counts = [self._sizes[module].n_components for module in modules]
        return dict(zip(modules, values.split(counts, dim=-1), strict=True))


def concatenated(inputs: Mapping[str, Tensor], modules: list[str]) -> Tensor:
    """Inputs (..., d) of these modules, side by side."""
    return torch.cat([inputs[module] for module in modules], dim=-1)
