"""Exact probabilities of the samplers, pair by pair, and of whole runs, by enumeration."""

import numpy as np

from tests.oracles import merge_definition as oracle

Partition = tuple[int, ...]


def pair_probabilities(costs: np.ndarray, method: str, parameter: float) -> dict[tuple[int, int], float]:
    """The probability of each unordered pair with a finite cost."""
    k = len(costs)
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k) if np.isfinite(costs[i, j])]
    values = np.array([costs[pair] for pair in pairs])
    if method == "range":
        slack = 1e-9 * max(1.0, np.abs(values).max())
        weights = (values <= values.min() + parameter * np.ptp(values) + slack).astype(float)
    elif method == "mcmc":
        weights = np.exp((values.min() - values) / parameter)
    else:
        weights = np.empty(len(values))
        weights[np.argsort(np.round(values, 9), kind="stable")] = np.exp(-parameter * np.arange(len(values)))
    return dict(zip(pairs, weights / weights.sum(), strict=True))


def costs_of(x: np.ndarray, group_idxs: np.ndarray, alpha: float, need_active: bool = False) -> np.ndarray:
    """(k, k) costs per sample of merging groups of this partition."""
    coact = oracle.coactivations(oracle.group_activations(x, group_idxs)) / len(x)
    costs = oracle.cost_matrix(coact, np.bincount(group_idxs), alpha)
    return np.where(coact > 0, costs, np.inf) if need_active else costs


def run_probabilities(
    x: np.ndarray, alpha: float, method: str, parameter: float, n_merges: int
) -> dict[Partition, float]:
    """The probability of each partition after n_merges merges."""
    states = {tuple(range(x.shape[1])): 1.0}
    for _ in range(n_merges):
        following: dict[Partition, float] = {}
        for state, probability in states.items():
            costs = costs_of(x, np.array(state), alpha)
            for pair, share in pair_probabilities(costs, method, parameter).items():
                after = tuple(oracle.merged(np.array(state), pair).tolist())
                following[after] = following.get(after, 0.0) + probability * share
        states = following
    return states
