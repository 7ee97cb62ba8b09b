"""A path of merges as a dendrogram."""

import numpy as np
from jaxtyping import Float, Int


def linkage_matrix(
    component_merges: Int[np.ndarray, "n_iters 2"], n_components: int
) -> Float[np.ndarray, "n_merges 4"]:
    """The linkage matrix of scipy.cluster.hierarchy: (n_components - 1, 4) float64.

    Row t: the two clusters joined (components are 0 .. n - 1, the cluster of row t is n + t; smaller first), the
    height t + 1, the number of components. Groups left when the path ends early are joined into the first one,
    in their order, at the heights that follow.
    """
    n_merges = max(n_components - 1, 0)
    linkage = np.zeros((n_merges, 4))
    is_absorbed = np.zeros(n_components, bool)
    is_absorbed[component_merges[:, 1]] = True
    left = np.flatnonzero(~is_absorbed)[1:]
    rest = np.stack([np.zeros_like(left), left], axis=1)
    cluster = np.arange(n_components)
    size = np.ones(n_components, np.int64)
    for row, (kept, absorbed) in enumerate(np.concatenate([component_merges, rest]).tolist()):
        size[kept] += size[absorbed]
        linkage[row] = (*sorted((cluster[kept], cluster[absorbed])), row + 1, size[kept])
        cluster[kept] = n_components + row
    return linkage
