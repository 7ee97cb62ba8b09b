"""The merge by its plain definition, in float64: a full cost matrix at every iteration, nothing kept between them.

Independent on purpose of tests/acceptance/plain.py, which has no cost formula and takes the difference of two
description lengths: neither may be written by means of the other.
"""

from collections.abc import Iterator

import numpy as np


def group_activations(x: np.ndarray, group_idxs: np.ndarray) -> np.ndarray:
    """(samples, k): 1 - prod over the group's components of (1 - x); for 0/1 values, whether any is active."""
    k = int(group_idxs.max()) + 1
    return np.stack([1 - np.prod(1 - x[:, group_idxs == g], axis=1) for g in range(k)], axis=1)


def coactivations(active: np.ndarray) -> np.ndarray:
    """(k, k) sums of products, the sum of each column on the diagonal."""
    matrix = active.T @ active
    np.fill_diagonal(matrix, active.sum(axis=0))
    return matrix


def cost_matrix(coact: np.ndarray, sizes: np.ndarray, alpha: float) -> np.ndarray:
    """F(i, j) pair by pair, as the definition says; infinity on the diagonal. In the units of coact."""
    k = len(sizes)
    total = float(np.trace(coact))
    costs = np.full((k, k), np.inf)
    for i in range(k):
        for j in range(k):
            if i == j:
                continue
            s_i, s_j = coact[i, i], coact[j, j]
            s_ij = s_i + s_j - coact[i, j]
            costs[i, j] = (
                (total - s_i - s_j) * np.log2((k - 1) / k)
                + s_ij * np.log2(k - 1)
                - (s_i + s_j) * np.log2(k)
                + alpha * (s_ij * (sizes[i] + sizes[j]) - s_i * sizes[i] - s_j * sizes[j])
            )
    return costs


def description_length(coact: np.ndarray, sizes: np.ndarray, alpha: float) -> float:
    """sum_i s_i (log2 k + alpha r_i)."""
    return float((np.diagonal(coact) * (np.log2(len(sizes)) + alpha * sizes)).sum())


def merged(group_idxs: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    """The partition after a merge: the smaller index stays, indices above the larger move down."""
    low, high = pair
    groups = np.where(group_idxs == high, low, group_idxs)
    return np.where(groups > high, groups - 1, groups)


def replay(
    x: np.ndarray, pairs: np.ndarray, alpha: float
) -> Iterator[tuple[tuple[int, int], np.ndarray, np.ndarray, float]]:
    """For each merge: the pair, the coactivations and the costs before it, the MDL after it; all per sample."""
    n_samples = len(x)
    group_idxs = np.arange(x.shape[1])
    for low, high in pairs:
        coact = coactivations(group_activations(x, group_idxs)) / n_samples
        costs = cost_matrix(coact, np.bincount(group_idxs), alpha)
        group_idxs = merged(group_idxs, (int(low), int(high)))
        after = coactivations(group_activations(x, group_idxs)) / n_samples
        yield (int(low), int(high)), coact, costs, description_length(after, np.bincount(group_idxs), alpha)
