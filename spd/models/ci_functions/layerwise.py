"""Causal importance functions: how important is each component of a module for this input?

    importance = sigmoid(network(input)),   networks of linear layers with exact GELU between them:

1. `mlp`: one network a component, on that component's activation (x V)_c, a scalar.
2. `vector_mlp`: one network a component, on the module's whole input vector.
3. `shared_mlp`: one network for all components, on the module's input vector.

Values: x (..., d) -> (..., C), before the sigmoid. Layer i of the checkpoint is `layers.<2 i>`.
"""

import itertools
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from spd.errors import RunFormatError

Sigmoid = Callable[[Tensor], Tensor]

_LEAK = 0.01
_CHUNK_NUMBERS_CPU = 2**20
_CHUNK_NUMBERS_GPU = 2**27
_SWISH_SHARPNESS = 10.0


class Layer(nn.Module):
    """Weights W and b of one layer, named as in the checkpoint."""

    def __init__(self, weight_shape: tuple[int, ...], bias_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.empty(weight_shape))
        self.b = nn.Parameter(torch.empty(bias_shape))


class CiFunction(nn.Module):
    """One module's causal importance function: layers at even places, GELU between them."""

    takes_component_activations = False
    """Whether its input is the components' activations (..., C); else it is the module's input (..., d_in)."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({str(2 * place): layer for place, layer in enumerate(layers)})

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
        super().__init__([Layer((a, b), (b,)) for a, b in itertools.pairwise([d_in, *hidden, n_components])])

    def forward(self, x: Tensor) -> Tensor:
        *others, last = self.stages()
        for layer in others:
            x = nn.functional.gelu(x @ layer.W + layer.b)
        return x @ last.W + last.b


def _layers_per_component(n_components: int, widths: list[int]) -> list[Layer]:
    return [Layer((n_components, a, b), (n_components, b)) for a, b in itertools.pairwise(widths)]


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
    """A causal importance function without weights.

    Raises:
        RunFormatError: an embedding has no input vector, so only `mlp` can stand for it.
    """
    if kind == "mlp":
        return ComponentMLP(n_components, hidden)
    if is_embedding:
        raise RunFormatError(f"ci_fn_type: an embedding can only have functions of type mlp, got {kind!r}")
    return {"vector_mlp": VectorMLP, "shared_mlp": SharedMLP}[kind](n_components, hidden, d_in)


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
