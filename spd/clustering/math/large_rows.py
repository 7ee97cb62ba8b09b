"""What is done to each entry of a sparse matrix: by numpy where there are few, else by a kernel, which is several times
as fast, but has to be loaded first (numba)."""

import numpy as np
from jaxtyping import Int64, Integer, Shaped

from spd.clustering.math.sparse_rows import entry_places

_LARGE = 1 << 18
"""From so many entries on a kernel pays."""


def add_column_counts(indices: Integer[np.ndarray, "nnz"], counts: Int64[np.ndarray, "n_columns"]) -> None:
    """Add to `counts` how often each column is in `indices`, all of which must be columns."""
    if len(indices) < _LARGE:
        counts += np.bincount(indices, minlength=len(counts))
        return
    from spd.clustering.math.kernels.sparse import count_columns

    count_columns(indices, counts)


def copy_entries(
    source: Shaped[np.ndarray, "n_source"],
    starts: Int64[np.ndarray, "n_rows"],
    lengths: Int64[np.ndarray, "n_rows"],
    target: Shaped[np.ndarray, "n_target"],
    places: Int64[np.ndarray, "n_rows"],
) -> None:
    """Copy rows of entries: of row r lengths[r] ones from starts[r] on, to places[r]; all of them must be there."""
    if lengths.sum() < _LARGE:
        target[entry_places(places, lengths)] = source[entry_places(starts, lengths)]
        return
    from spd.clustering.math.kernels.sparse import copy_rows

    copy_rows(np.asarray(source), starts, lengths, target, places)
