"""The least number of components whose group differs, under the best one-to-one renaming of groups.

`n - max over one-to-one matchings of sum n_ij`, with n_ij = |A_i ∩ B_j|: a maximum-weight matching of the groups of
two partitions. Also called transfer or partition distance (Day 1981; Almudevar and Field 1999; Gusfield 2002).
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from spd.clustering.math.merge_distances import distance_matrix


def perm_invariant_hamming_matrix(X: Any) -> Float[np.ndarray, "n_ens n_ens"]:
    """Distances of all pairs of rows, whole numbers.

    Args:
        X: (n_ens, n_components) integers (array, tensor or nested list); each row is a partition, its labels may
            skip values.

    Returns:
        (n_ens, n_ens), strictly lower triangle, NaN elsewhere.

    Raises:
        ValueError: rows of different lengths, or not integers.
    """
    return distance_matrix(X, "perm_invariant_hamming")
