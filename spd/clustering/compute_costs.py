"""The description length (MDL) of a partition and the cost of every merge, straight from the definition.

These two functions are what the engine in `merge.py` must equal, and what plots show. They build k x k matrices, so
they are for a look at one state, not for every iteration of a long run.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from spd.clustering.math.arrays import as_numpy
from spd.clustering.math.merge_matrix import GroupMerge

if TYPE_CHECKING:
    from torch import Tensor


def compute_merge_costs(
    coact: "np.ndarray | Tensor", merges: GroupMerge, alpha: int | float = 1.0
) -> Float64[np.ndarray, "k_groups k_groups"]:
    """The change of the MDL that each possible merge would bring.

    With s = diag(coact), s_ij = s_i + s_j - coact_ij, r_i the components in group i, S = sum_i s_i:

        F(i, j) = (S - s_i - s_j) log2((k-1)/k) + s_ij log2(k-1) - (s_i + s_j) log2(k)
                  + alpha (s_ij (r_i + r_j) - s_i r_i - s_j r_j)

    Args:
        coact: (k, k) how often two groups are active together, the diagonal how often each one is. The costs are in
            its units: divide counts by the number of samples for costs per sample.
        merges: the partition, for the number of components in each group.
        alpha: weight of a group's rank against its index.

    Returns:
        (k, k) float64, symmetric. The diagonal has no meaning. NaN for k = 1, where nothing can be merged.

    Raises:
        ValueError: coact is not (k, k) for the k groups of `merges`.
    """
    matrix = _checked(coact, (merges.k_groups, merges.k_groups), "coact")
    k = merges.k_groups
    if k < 2:
        return np.full((k, k), np.nan)
    s = np.diagonal(matrix)
    r = merges.components_per_group.astype(np.float64)
    s_sum = s[:, None] + s[None, :]
    s_union = s_sum - matrix
    ranks = s * r
    # Sums of the two groups first: subtracting one after the other rounds (i, j) and (j, i) differently.
    rank_change = s_union * (r[:, None] + r[None, :]) - (ranks[:, None] + ranks[None, :])
    return (
        (s.sum() - s_sum) * np.log2((k - 1) / k)
        + s_union * np.log2(k - 1)
        - s_sum * np.log2(k)
        + float(alpha) * rank_change
    )


def compute_mdl_cost(acts: "np.ndarray | Tensor", merges: GroupMerge, alpha: int | float = 1.0) -> float:
    """The description length of the activations: sum_i acts_i (log2 k + alpha r_i).

    Args:
        acts: (k,) how often each group is active: counts give the loss, counts / n_samples the loss per sample.
        merges: the partition, for the number of components r_i in each group.
        alpha: weight of a group's rank against its index.

    Raises:
        ValueError: acts is not (k,) for the k groups of `merges`.
    """
    k = merges.k_groups
    s = _checked(acts, (k,), "acts")
    return float((s * (np.log2(max(k, 1)) + float(alpha) * merges.components_per_group)).sum())


def _checked(array: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    values = as_numpy(array).astype(np.float64)
    if values.shape != shape:
        raise ValueError(f"{name} must be of shape {shape} for {shape[0]} groups, got {values.shape}")
    return values
