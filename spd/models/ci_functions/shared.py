"""`global_shared_mlp`: one chain of layers from the inputs of all modules to the importances of all components.

    pre_sigmoid = chain(concat over modules of x_m), cut by module

Modules are sorted by path. Inputs are taken as they are, each sample alone.
"""

from collections.abc import Mapping

from torch import Tensor

from spd.models.ci_functions.base import GlobalFunctions, ModuleSizes, concatenated
from spd.models.ci_functions.layers import Chain


class GlobalSharedMLP(GlobalFunctions):
    """Checkpoint keys `layers.{0,2,...}.{W,b}`."""

    def __init__(self, modules: Mapping[str, ModuleSizes], hidden: list[int]) -> None:
        super().__init__(modules, sorted(modules))
        self.layers = Chain([self.width(self.order), *hidden, self.n_components(self.order)])

    def pre_sigmoid(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.cut(self.layers(concatenated(inputs, self.order)), self.order)
