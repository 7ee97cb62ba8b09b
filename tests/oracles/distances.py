"""Distances of two partitions, straight from their definitions: dense tables, scipy and scikit-learn."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn import metrics


def contingency(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(k_a, k_b) counts n_ij."""
    a = np.unique(a, return_inverse=True)[1].reshape(-1)
    b = np.unique(b, return_inverse=True)[1].reshape(-1)
    table = np.zeros((a.max(initial=-1) + 1, b.max(initial=-1) + 1), np.int64)
    np.add.at(table, (a, b), 1)
    return table


def perm_invariant_hamming(a: np.ndarray, b: np.ndarray) -> float:
    table = contingency(a, b)
    return len(a) - table[linear_sum_assignment(table, maximize=True)].sum()


def matching_dist(a: np.ndarray, b: np.ndarray) -> float:
    table = contingency(a, b)
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    cost = 1 - table / union
    return cost[linear_sum_assignment(cost)].sum() + abs(table.shape[0] - table.shape[1])


def pair_disagreement(a: np.ndarray, b: np.ndarray) -> float:
    differs = (a[:, None] == a[None, :]) != (b[:, None] == b[None, :])
    return differs.sum() / 2


def variation_of_information(a: np.ndarray, b: np.ndarray) -> float:
    shared = contingency(a, b) / max(len(a), 1)
    p, q = np.broadcast_arrays(shared.sum(1, keepdims=True), shared.sum(0, keepdims=True))
    seen = shared > 0
    return -(shared[seen] * (np.log(shared[seen] / p[seen]) + np.log(shared[seen] / q[seen]))).sum()


def adjusted_rand(a: np.ndarray, b: np.ndarray) -> float:
    return 1 - metrics.adjusted_rand_score(a, b)


def adjusted_mutual_info(a: np.ndarray, b: np.ndarray) -> float:
    return 1 - metrics.adjusted_mutual_info_score(a, b)


ORACLES = {
    "perm_invariant_hamming": perm_invariant_hamming,
    "matching_dist": matching_dist,
    "pair_disagreement": pair_disagreement,
    "adjusted_rand": adjusted_rand,
    "variation_of_information": variation_of_information,
    "adjusted_mutual_info": adjusted_mutual_info,
}


def distances(array: np.ndarray, method: str) -> np.ndarray:
    """(n_iters, n_ens, n_ens), strictly lower triangle, from labels (n_ens, n_iters, n_components)."""
    n_ens, n_iters, _ = array.shape
    result = np.full((n_iters, n_ens, n_ens), np.nan)
    for t in range(n_iters):
        for i in range(n_ens):
            for j in range(i):
                result[t, i, j] = ORACLES[method](array[i, t], array[j, t])
    return result


def random_merges(n: int, n_merges: int, rng: np.random.Generator) -> np.ndarray:
    """(n_merges, 2) least components (kept, absorbed) of uniformly drawn pairs of groups."""
    alive = list(range(n))
    merges = np.zeros((n_merges, 2), np.int64)
    for t in range(n_merges):
        low, high = sorted(rng.choice(len(alive), 2, replace=False))
        merges[t] = alive[low], alive[high]
        del alive[high]
    return merges


def planted_merges(group_of: np.ndarray, n_merges: int, rng: np.random.Generator, noise: float) -> np.ndarray:
    """Merges that mostly stay inside planted groups; a share `noise` of them joins any two groups."""
    alive = list(range(len(group_of)))
    merges = np.zeros((n_merges, 2), np.int64)
    for t in range(n_merges):
        first = int(rng.integers(len(alive)))
        inside = [i for i in range(len(alive)) if i != first and group_of[alive[i]] == group_of[alive[first]]]
        others = inside if inside and rng.random() > noise else [i for i in range(len(alive)) if i != first]
        low, high = sorted((first, int(rng.choice(others))))
        merges[t] = alive[low], alive[high]
        del alive[high]
    return merges


def absorbing_merges(n: int, n_merges: int, rng: np.random.Generator) -> np.ndarray:
    """One group takes in one component after another, in random order."""
    order = rng.permutation(n)
    least = np.minimum.accumulate(order)
    pairs = np.stack([least[:-1], order[1:]], axis=1)[:n_merges]
    return np.sort(pairs, axis=1)


def labels_after(merges: np.ndarray, n: int) -> np.ndarray:
    """(n_merges, n) the least component of each component's group after each merge."""
    labels = np.arange(n)
    rows = np.zeros((len(merges), n), np.int64)
    for t, (kept, absorbed) in enumerate(merges):
        labels = np.where(labels == labels[absorbed], labels[kept], labels)
        rows[t] = labels
    return rows
