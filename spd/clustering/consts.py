"""Names of arrays and methods. The aliases of arrays are made when first asked for: importing this imports neither
torch nor numpy, so that a config is checked at once."""

from typing import TYPE_CHECKING, Any, Literal, get_args

from spd.errors import ConfigError

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

_ALIASES: dict[str, tuple[str, str, str]] = {
    "MergesArray": ("Int", "numpy.ndarray", "n_ens n_iters n_components"),
    "MergesAtIterArray": ("Int", "numpy.ndarray", "n_ens n_components"),
    "DistancesArray": ("Float", "numpy.ndarray", "n_iters n_ens n_ens"),
    "ActivationsTensor": ("Float", "torch.Tensor", "samples n_components"),
    "BoolActivationsTensor": ("Bool", "torch.Tensor", "samples n_components"),
    "ClusterCoactivationShaped": ("Float", "torch.Tensor", "k_groups k_groups"),
    "GroupIdxsTensor": ("Int", "torch.Tensor", "n_components"),
}

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    MergesArray = Int[np.ndarray, "n_ens n_iters n_components"]
    MergesAtIterArray = Int[np.ndarray, "n_ens n_components"]
    DistancesArray = Float[np.ndarray, "n_iters n_ens n_ens"]
    ActivationsTensor = Float[Tensor, "samples n_components"]
    BoolActivationsTensor = Bool[Tensor, "samples n_components"]
    ClusterCoactivationShaped = Float[Tensor, "k_groups k_groups"]
    GroupIdxsTensor = Int[Tensor, "n_components"]


def __getattr__(name: str) -> Any:
    if name in _ALIASES:
        import importlib

        import jaxtyping

        kind, array, shape = _ALIASES[name]
        module, _, class_name = array.rpartition(".")
        return getattr(jaxtyping, kind)[getattr(importlib.import_module(module), class_name), shape]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def checked_method(method: str) -> str:
    """The name of a method of distances.

    Raises:
        ConfigError: there is no such method.
    """
    if method not in DISTANCES_METHODS:
        raise ConfigError(f"unknown distances method {method!r}, known are {', '.join(DISTANCES_METHODS)}")
    return method
