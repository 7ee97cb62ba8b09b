"""How many groups have no counterpart: the least total Jaccard distance of a one-to-one matching of groups.

A matched pair of groups costs `1 - n_ij / (a_i + b_j - n_ij)`, with a_i, b_j the sizes and n_ij = |A_i ∩ B_j|; an
unmatched group costs 1. That is `max(k_A, k_B) - max over matchings of the sum of Jaccard similarities`, and the OSPA
metric over groups (Schuhmacher, Vo and Vo 2008; order 1, cut-off 1, not normalised). Every group counts the same,
whatever its size. The goodfire-ai/spd code calls another measure by this name: see `pair_disagreement`.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from spd.clustering.math.merge_distances import distance_matrix


def matching_dist_matrix(X: Any) -> Float[np.ndarray, "n_ens n_ens"]:
    """Distances of all pairs of rows.

    Args:
        X: (n_ens, n_components) integers (array, tensor or nested list); each row is a partition, its labels may
            skip values.

    Returns:
        (n_ens, n_ens), strictly lower triangle, NaN elsewhere.

    Raises:
        ValueError: rows of different lengths, or not integers.
    """
    return distance_matrix(X, "matching_dist")
