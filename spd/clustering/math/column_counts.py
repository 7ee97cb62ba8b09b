"""How many entries each column of a sparse matrix has."""

import numpy as np
from jaxtyping import Int64, Integer

_LARGE = 1 << 18
"""From so many entries on a kernel pays, which has to be loaded first."""


def add_column_counts(indices: Integer[np.ndarray, "nnz"], counts: Int64[np.ndarray, "n_columns"]) -> None:
    """Add to `counts` how often each column is in `indices`, all of which must be columns."""
    if len(indices) < _LARGE:
        counts += np.bincount(indices, minlength=len(counts))
        return
    from spd.clustering.math.kernels.column_counts import count_columns  # numba, which small data need not wait for

    count_columns(indices, counts)
