"""The definitions, written from their description alone: sets and loops, no formula of the code under test.

Independent on purpose of tests/oracles/merge_definition.py, which has the cost formula that the code under test has: an
error in the formula is seen here, one in the code there.
"""

from itertools import combinations
from math import comb, log2

import numpy as np
from scipy.optimize import linear_sum_assignment

Groups = list[list[int]]


def activity(values: np.ndarray, groups: Groups) -> np.ndarray:
    """(samples, k) activity of each group: the probabilistic or of its components, for 0 and 1 their union."""
    return np.stack([1 - np.prod(1 - values[:, group], axis=1) for group in groups], axis=1)


def mdl(values: np.ndarray, groups: Groups, alpha: float) -> float:
    """Bits a sample: each active group costs its index, log2 k, and alpha times its size."""
    s = activity(values, groups).sum(axis=0)
    bits = [count * (log2(len(groups)) + alpha * len(group)) for count, group in zip(s, groups, strict=True)]
    return sum(bits) / len(values)


def merged(groups: Groups, low: int, high: int) -> Groups:
    joined = sorted(groups[low] + groups[high])
    return [joined if i == low else group for i, group in enumerate(groups) if i != high]


def costs(values: np.ndarray, groups: Groups, alpha: float) -> dict[tuple[int, int], float]:
    before = mdl(values, groups, alpha)
    return {(i, j): mdl(values, merged(groups, i, j), alpha) - before for i, j in combinations(range(len(groups)), 2)}


def group_idxs(groups: Groups, n: int) -> np.ndarray:
    idxs = np.empty(n, np.int64)
    for index, group in enumerate(groups):
        idxs[group] = index
    return idxs


def distance(a: np.ndarray, b: np.ndarray, method: str) -> float:
    """Between two partitions given by labels, which may skip values."""
    groups_a, groups_b = ([set(np.flatnonzero(x == label)) for label in np.unique(x)] for x in (a, b))
    if method == "pair_disagreement":
        together = [{p for g in groups for p in combinations(sorted(g), 2)} for groups in (groups_a, groups_b)]
        assert len(together[0]) == sum(comb(len(g), 2) for g in groups_a)
        return len(together[0] ^ together[1])
    if method == "perm_invariant_hamming":
        overlap = np.array([[len(g & h) for h in groups_b] for g in groups_a])
        return len(a) - overlap[linear_sum_assignment(overlap, maximize=True)].sum()
    assert method == "matching_dist"
    size = max(len(groups_a), len(groups_b))
    cost = np.ones((size, size))
    for i, g in enumerate(groups_a):
        for j, h in enumerate(groups_b):
            cost[i, j] = 1 - len(g & h) / len(g | h)
    return cost[linear_sum_assignment(cost)].sum()
