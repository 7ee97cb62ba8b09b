"""Names of arrays and methods. The torch aliases are made when first asked for: importing this imports no torch."""

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

ComponentLabel = str
"""`"<module>:<index>"`."""
ComponentLabels = list[str]
MergePair = tuple[int, int]
"""Two group indices, the smaller first."""

DistancesMethod = Literal[
    "perm_invariant_hamming",
    "matching_dist",
    "pair_disagreement",
    "adjusted_rand",
    "variation_of_information",
    "adjusted_mutual_info",
]
DISTANCES_METHODS: tuple[str, ...] = get_args(DistancesMethod)

MergesArray = Int[np.ndarray, "n_ens n_iters n_components"]
MergesAtIterArray = Int[np.ndarray, "n_ens n_components"]
DistancesArray = Float[np.ndarray, "n_iters n_ens n_ens"]

_TORCH_ALIASES: dict[str, tuple[Any, str]] = {
    "ActivationsTensor": (Float, "samples n_components"),
    "BoolActivationsTensor": (Bool, "samples n_components"),
    "ClusterCoactivationShaped": (Float, "k_groups k_groups"),
    "GroupIdxsTensor": (Int, "n_components"),
}

if TYPE_CHECKING:
    from torch import Tensor

    ActivationsTensor = Float[Tensor, "samples n_components"]
    BoolActivationsTensor = Bool[Tensor, "samples n_components"]
    ClusterCoactivationShaped = Float[Tensor, "k_groups k_groups"]
    GroupIdxsTensor = Int[Tensor, "n_components"]


def __getattr__(name: str) -> Any:
    if name in _TORCH_ALIASES:
        from torch import Tensor

        dtype, shape = _TORCH_ALIASES[name]
        return dtype[Tensor, shape]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
