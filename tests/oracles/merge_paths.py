"""A path of merges replayed one merge at a time on sets of components; slow and plain."""

import numpy as np


def random_pairs(rng: np.random.Generator, n_components: int, n_iters: int) -> np.ndarray:
    """(n_iters, 2) group indices before each merge, in either order."""
    pairs = [rng.choice(n_components - t, size=2, replace=False) for t in range(n_iters)]
    return np.array(pairs, np.int64).reshape(-1, 2)


def replay(pairs: np.ndarray, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """(component_merges (T, 2), group_idxs (T, n)) by the definition of a merge: the merged group takes the smaller
    index, indices above the larger one move down by one."""
    groups: list[set[int]] = [{component} for component in range(n_components)]
    merges, partitions = [], []
    for pair in pairs:
        low, high = sorted(int(group) for group in pair)
        merges.append(sorted((min(groups[low]), min(groups[high]))))
        groups[low] |= groups[high]
        del groups[high]
        partition = np.empty(n_components, np.int64)
        for index, members in enumerate(groups):
            partition[list(members)] = index
        partitions.append(partition)
    return np.array(merges, np.int64).reshape(-1, 2), np.array(partitions, np.int64).reshape(-1, n_components)
