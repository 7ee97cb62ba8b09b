"""Passes over the entries of sparse matrices of any size, each entry once."""

from spd.clustering.math.kernels.jit import kernel


@kernel(nogil=True)
def count_columns(indices, counts):
    """Add 1 to counts[i] for each i in `indices`; several times as fast as numpy.bincount, which makes int64 first."""
    for x in range(len(indices)):
        counts[indices[x]] += 1


@kernel(nogil=True)
def copy_rows(source, starts, lengths, target, places):
    """Copy entries: row r's, lengths[r] of them from starts[r] on, to places[r]."""
    for r in range(len(lengths)):
        for x in range(lengths[r]):
            target[places[r] + x] = source[starts[r] + x]
