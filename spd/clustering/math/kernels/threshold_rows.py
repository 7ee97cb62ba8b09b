"""Thresholding of dense rows in two passes that read each number once each: counts and extremes, then the indices."""

import numpy as np

from spd.clustering.math.kernels.jit import kernel


@kernel()
def count_rows(matrix, threshold, lengths, greatest):
    """lengths[r] = entries of row r above the threshold; greatest[c] = max(greatest[c], column c).

    Args:
        matrix: (n_rows, n_columns) float32, C-ordered.
        threshold: float32.
        lengths: (n_rows,) int64, written.
        greatest: (n_columns,) float32, updated; NaN is passed over.

    Returns:
        Whether every entry is at least 0 (NaN is not).
    """
    n_rows, n_columns = matrix.shape
    n_wrong = np.int32(0)
    for row in range(n_rows):
        line = matrix[row]
        found = np.int32(0)
        for column in range(n_columns):
            value = line[column]
            found += np.int32(1) if value > threshold else np.int32(0)
            n_wrong += np.int32(0) if value >= np.float32(0) else np.int32(1)
        for column in range(n_columns):
            value = line[column]
            greatest[column] = value if value > greatest[column] else greatest[column]
        lengths[row] = found
    return n_wrong == 0


@kernel()
def fill_rows(matrix, threshold, indices):
    """The columns above the threshold, row after row, ascending in each.

    Invariant: `place` entries are final; the one at `place` is written again until its value is above the threshold,
    so `indices` (int32) has room for one more than there are.
    """
    n_rows, n_columns = matrix.shape
    place = 0
    for row in range(n_rows):
        for column in range(n_columns):
            indices[place] = column
            place += np.int64(matrix[row, column] > threshold)
