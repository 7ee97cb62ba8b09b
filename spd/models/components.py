"""A decomposed module: its weight as a sum of rank-one components, sum_c V[:, c] U[c, :].

Layouts of the weight they stand for: Linear and identity (V U)^T, Embedding and transformers' Conv1D V U.
"""

from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from spd.errors import RunFormatError
from spd.models.run_info import ModuleInfo

IDENTITY_SUFFIX = ".pre_identity"


class Components(nn.Module):
    """V (d_in, C), U (C, d_out), and the module's own bias (d_out) where it has one."""

    def __init__(self, d_in: int, d_out: int, n_components: int, has_bias: bool, is_embedding: bool = False) -> None:
        super().__init__()
        self.is_embedding = is_embedding
        self.V = nn.Parameter(torch.empty(d_in, n_components))
        self.U = nn.Parameter(torch.empty(n_components, d_out))
        self.bias = nn.Parameter(torch.empty(d_out)) if has_bias else None

    def activations(self, module_input: Tensor) -> Tensor:
        """x V (..., C); for an embedding the rows V[token]."""
        return self.V[module_input] if self.is_embedding else module_input @ self.V

    def output(self, module_input: Tensor, mask: Tensor, delta: Tensor | None = None) -> Tensor:
        """The module's output with each component's contribution multiplied by its mask: ((x V) * mask) U + bias.

        Args:
            module_input: (..., d_in), or tokens (...) for an embedding.
            mask: (..., C), or anything that broadcasts to it.
            delta: None, or the part of the weight that no component holds (weight_delta), added unmasked.
        """
        output = (self.activations(module_input) * mask) @ self.U
        if delta is not None:
            output = output + (delta[module_input] if self.is_embedding else module_input @ delta)
        return output if self.bias is None else output + self.bias

    def weight_delta(self, target: nn.Module | None) -> Tensor:
        """(d_in, d_out): the target module's weight (None: an identity's) less V U."""
        return weight_in_by_out(target, self.V) - self.V @ self.U


def weight_in_by_out(module: nn.Module | None, like: Tensor) -> Tensor:
    """A module's weight as (d_in, d_out); for None, an inserted identity, the unit matrix of `like`'s first size."""
    if module is None:
        return torch.eye(like.shape[0], dtype=like.dtype, device=like.device)
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.T if isinstance(module, nn.Linear) else weight


def build_components(module: nn.Module, n_components: int, where: str) -> Components:
    """Components without weights that fit a target module; `where` (file and module) opens the error message.

    Raises:
        RunFormatError: the module is of a kind that has no components.
    """
    if isinstance(module, nn.Embedding):
        return Components(module.num_embeddings, module.embedding_dim, n_components, False, is_embedding=True)
    d_in, d_out = _linear_sizes(module, where)
    return Components(d_in, d_out, n_components, module.bias is not None)


def build_identity_components(module: nn.Module, n_components: int, where: str) -> Components:
    """Components without weights of an identity inserted before `module`: square, of its input's size."""
    d_in, _ = _linear_sizes(module, where)
    return Components(d_in, d_in, n_components, False)


def match_modules(target: nn.Module, patterns: list[ModuleInfo], where: str) -> dict[str, int]:
    """Number of components by path of each module that a pattern matches, in the order of the patterns.

    Raises:
        RunFormatError: a pattern matches nothing, or a module is matched twice.
    """
    names = [name for name, _ in target.named_modules() if name]
    matched: dict[str, str] = {}
    counts: dict[str, int] = {}
    for info in patterns:
        found = [name for name in names if fnmatchcase(name, info.module_pattern)]
        if not found:
            leaves = [name for name, module in target.named_modules() if name and not any(module.children())]
            shown = ", ".join(leaves[:12]) + (", ..." if len(leaves) > 12 else "")
            raise RunFormatError(
                f"{where}: the pattern {info.module_pattern!r} matches no module of the target, which has {shown}"
            )
        for name in found:
            if name in matched:
                raise RunFormatError(
                    f"{where}: module {name!r} is matched twice, by {matched[name]!r} and {info.module_pattern!r}"
                )
            matched[name] = info.module_pattern
            counts[name] = info.C
    return counts


def _linear_sizes(module: nn.Module, where: str) -> tuple[int, int]:
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D" and type(module).__module__ == "transformers.pytorch_utils":
        weight = module.weight
        assert isinstance(weight, Tensor)
        return weight.shape[0], weight.shape[1]
    raise RunFormatError(
        f"{where} is a {type(module).__name__}: expected a Linear, an Embedding or a transformers Conv1D"
        " (before an identity: no Embedding)"
    )
