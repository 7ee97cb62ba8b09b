"""The control: the same components where nothing belongs together."""

import numpy as np
from jaxtyping import Int64

from spd.clustering.groups.columns import Columns, active_counts, with_clumps
from spd.clustering.groups.kernels.graph import add_to_columns
from spd.clustering.groups.pairs import Activity
from spd.clustering.math.workers import Workers


def shift_apart(
    columns: Columns, group_of: Int64[np.ndarray, "n"], rng: np.random.Generator, workers: Workers
) -> Columns:
    """Each column shifted in time by a step of its own, around the end: bursts and rates stay, what belongs together
    goes. Members of a group are shifted evenly against each other: with steps that are independent some members of a
    large group are shifted by nearly the same, and where activity comes in longer runs these stay together.

    Args:
        columns: is overwritten, since what is large would be there twice.
        group_of: groups 0 .. k - 1.
    """
    n, n_samples, cols = columns.n, columns.n_samples, columns.cols
    steps = rng.integers(n_samples, size=n)
    size = np.bincount(group_of)
    order = np.lexsort((rng.random(n), group_of))
    place = np.arange(n) - np.repeat(np.cumsum(size) - size, size)
    group = group_of[order]
    steps[order] = steps[group] + place * n_samples // size[group]
    for i, step in enumerate((steps % n_samples).tolist()):
        column = cols[columns.col_ptr[i] : columns.col_ptr[i + 1]]
        first = int(np.searchsorted(column, n_samples - step))  # from here on samples go around the end
        column[:] = np.concatenate([column[first:] - (n_samples - step), column[:first] + step])
    row_ptr = np.concatenate([[0], np.cumsum(active_counts(cols, n_samples))])
    add_to_columns(0, columns.col_ptr, cols, row_ptr[:-1].copy(), columns.rows)
    return with_clumps(Activity(row_ptr, columns.rows, columns.col_ptr, cols), workers)
