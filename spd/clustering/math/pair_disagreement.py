"""The number of unordered pairs of components that are together in exactly one of two partitions.

`sum_i C(a_i, 2) + sum_j C(b_j, 2) - 2 sum_ij C(n_ij, 2)`: half the Mirkin metric, and n(n-1)/2 times (1 - Rand index).
The goodfire-ai/spd code computes this number under the name matching_dist.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from spd.clustering.math.merge_distances import distance_matrix


def pair_disagreement_matrix(X: Any) -> Float[np.ndarray, "n_ens n_ens"]:
    """Distances of all pairs of rows, whole numbers.

    Args:
        X: (n_ens, n_components) integers (array, tensor or nested list); each row is a partition, its labels may
            skip values.

    Returns:
        (n_ens, n_ens), strictly lower triangle, NaN elsewhere.

    Raises:
        ValueError: rows of different lengths, or not integers.
    """
    return distance_matrix(X, "pair_disagreement")
