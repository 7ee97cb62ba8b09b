"""Co-association and what follows from it, as dense matrices and plain loops."""

import itertools

import numpy as np


def coassociation(partitions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, n) share of members together, of those where both are alive (0: none), and the number of these."""
    n = partitions.shape[1]
    together, both = np.zeros((n, n)), np.zeros((n, n))
    for labels in partitions:
        alive = labels >= 0
        both += alive[:, None] & alive[None, :]
        together += (labels[:, None] == labels[None, :]) & alive[:, None] & alive[None, :]
    return np.divide(together, both, out=np.zeros((n, n)), where=both > 0), both


def average_linkage(partitions: np.ndarray, threshold: float) -> set[frozenset[int]]:
    """Join the two groups with the highest mean co-association while it is at least the threshold."""
    values, both = coassociation(partitions)
    values = np.where(both >= (len(partitions) + 1) // 2, values, 0)
    groups = [[i] for i in range(partitions.shape[1])]
    while len(groups) > 1:
        means = {
            (a, b): values[np.ix_(groups[a], groups[b])].mean()
            for a, b in itertools.combinations(range(len(groups)), 2)
        }
        best = max(means, key=lambda pair: means[pair])
        if means[best] < threshold - 1e-9:
            break
        groups[best[0]] += groups.pop(best[1])
    return {frozenset(group) for group in groups}


def heights_are_distinct(partitions: np.ndarray, threshold: float) -> bool:
    """Whether no tie decides the linkage: all means above the threshold differ from the others at their step."""
    values, both = coassociation(partitions)
    values = np.where(both >= (len(partitions) + 1) // 2, values, 0)
    groups = [[i] for i in range(partitions.shape[1])]
    while len(groups) > 1:
        pairs = list(itertools.combinations(range(len(groups)), 2))
        means = np.array([values[np.ix_(groups[a], groups[b])].mean() for a, b in pairs])
        best = int(means.argmax())
        if means[best] < threshold - 1e-9:
            return True
        ties = [pairs[k] for k in np.flatnonzero(np.abs(means - means[best]) < 1e-6)]
        touched = [group for pair in ties for group in pair]
        if means[best] < 1 and len(set(touched)) < len(touched):
            return False
        groups[pairs[best][0]] += groups.pop(pairs[best][1])
    return True


def as_sets(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}
