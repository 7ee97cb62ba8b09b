"""One causal importance function for each module: networks of affine layers with exact GELU between them.

1. `mlp`: one network a component, on that component's activation (x V)_c, a scalar.
2. `vector_mlp`: one network a component, on the module's whole input vector.
3. `shared_mlp`: one network for all components, on the module's input vector.

Values: x (..., d) -> (..., C), before the sigmoid. Layer i of the checkpoint is `layers.<2 i>`.
"""

import itertools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from spd.errors import RunFormatError
from spd.models.checkpoint import Checkpoint, assign_weights
from spd.models.ci_config import LayerwiseCiConfig
from spd.models.ci_functions.base import CiFunctions, ModuleSizes
from spd.models.ci_functions.layers import Chain, Layer

_CHUNK_NUMBERS_CPU = 2**20
_CHUNK_NUMBERS_GPU = 2**27


class CiFunction(nn.Module):
    """One module's causal importance function: layers at even places, GELU between them.

    Attributes:
        takes_component_activations: whether its input is the components' activations (..., C); else it is the
            module's input (..., d_in).
        layers: by their place, as in the checkpoint.
    """

    takes_component_activations = False

    def __init__(self, layers: nn.ModuleDict) -> None:
        super().__init__()
        self.layers = layers

    def stages(self) -> list[Layer]:
        """The layers, first to last."""
        return [layer for layer in self.layers.values() if isinstance(layer, Layer)]


class ComponentMLP(CiFunction):
    """`mlp`: x is the components' activations (..., C); W of layer i is (C, width_i, width_i+1), the first width 1."""

    takes_component_activations = True

    def __init__(self, n_components: int, hidden: list[int]) -> None:
        super().__init__(_layers_per_component(n_components, [1, *hidden, 1]))

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.stages()
        weight = first.W[:, 0]
        return _in_chunks(lambda rows: _run(torch.addcmul(first.b, rows[..., None], weight), others), x, self.stages())


class VectorMLP(CiFunction):
    """`vector_mlp`: x is the module's input (..., d_in); W of layer i is (C, width_i, width_i+1), the first d_in."""

    def __init__(self, n_components: int, hidden: list[int], d_in: int) -> None:
        super().__init__(_layers_per_component(n_components, [d_in, *hidden, 1]))

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.stages()
        n_components, d_in, width = first.W.shape
        weight = first.W.transpose(0, 1).reshape(d_in, n_components * width)

        def run(rows: Tensor) -> Tensor:
            return _run((rows @ weight).unflatten(-1, (n_components, width)) + first.b, others)

        return _in_chunks(run, x, self.stages())


class SharedMLP(CiFunction):
    """`shared_mlp`: x is the module's input (..., d_in); W of layer i is (width_i, width_i+1), the last width C."""

    def __init__(self, n_components: int, hidden: list[int], d_in: int) -> None:
        super().__init__(Chain([d_in, *hidden, n_components]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class LayerwiseFunctions(CiFunctions):
    """A CiFunction for each module."""

    def __init__(self, modules: Mapping[str, ModuleSizes], config: LayerwiseCiConfig) -> None:
        """Build without weights.

        Raises:
            RunFormatError: see build_ci_function.
        """
        super().__init__()
        self.takes_component_activations = config.fn_type == "mlp"
        self._paths = list(modules)
        self._functions = nn.ModuleList(
            build_ci_function(config.fn_type, sizes.n_components, sizes.d_in, config.hidden_dims, sizes.is_embedding)
            for sizes in modules.values()
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        functions = self.by_module()
        return {module: functions[module](x) for module, x in inputs.items()}

    def by_module(self) -> dict[str, nn.Module]:
        """The function of each module, by its path."""
        return dict(zip(self._paths, self._functions, strict=True))

    def assign(self, checkpoint: Checkpoint) -> None:
        path = checkpoint.path
        if checkpoint.global_ci_function:
            raise RunFormatError(
                f"{path}: holds one causal importance function for all modules, but ci_config says that each has its"
                " own (mode: layerwise)"
            )
        for module in checkpoint.ci_functions:
            if module not in self._paths:
                raise RunFormatError(f"{path}: holds ci functions of module {module!r}, which the config does not name")
        for module, function in zip(self._paths, self._functions, strict=True):
            assign_weights(function, checkpoint.ci_functions.get(module, {}), f"{path}: ci function of {module}")


def _layers_per_component(n_components: int, widths: list[int]) -> nn.ModuleDict:
    pairs = enumerate(itertools.pairwise(widths))
    return nn.ModuleDict({str(2 * place): Layer((n_components, a, b), (n_components, b)) for place, (a, b) in pairs})


def _in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, layers: list[Layer]) -> Tensor:
    """`function` on a few samples of x at a time: (..., d) -> (..., C).

    Hidden values take C x width numbers a sample. On a CPU they stay in its cache this way, on a GPU within bounds.
    """
    widest = max(layer.b.numel() for layer in layers)
    limit = _CHUNK_NUMBERS_CPU if x.device.type == "cpu" else _CHUNK_NUMBERS_GPU
    n_rows = max(1, limit // widest)
    outputs = torch.cat([function(chunk) for chunk in x.reshape(-1, x.shape[-1]).split(n_rows)])
    return outputs.reshape(*x.shape[:-1], outputs.shape[-1])


def _run(hidden: Tensor, layers: list[Layer]) -> Tensor:
    """The layers after the first, each component with its own: (..., C, width) -> (..., C)."""
    for layer in layers:
        hidden = nn.functional.gelu(hidden)
        if layer.W.shape[-1] == 1:
            hidden = (hidden * layer.W[..., 0]).sum(-1, keepdim=True) + layer.b
        else:
            hidden = torch.einsum("...ci,cio->...co", hidden, layer.W) + layer.b
    return hidden[..., 0]


def build_ci_function(kind: str, n_components: int, d_in: int, hidden: list[int], is_embedding: bool) -> CiFunction:
    """A module's causal importance function without weights.

    Raises:
        RunFormatError: an embedding has no input vector, so only `mlp` can stand for it.
    """
    if kind == "mlp":
        return ComponentMLP(n_components, hidden)
    if is_embedding:
        raise RunFormatError(f"ci_config.fn_type: an embedding can only have functions of type mlp, got {kind!r}")
    return {"vector_mlp": VectorMLP, "shared_mlp": SharedMLP}[kind](n_components, hidden, d_in)
