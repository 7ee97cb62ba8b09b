"""From rows of labels to the merges that lead from each row to the next."""

import numpy as np

from spd.clustering.math.kernels.jit import kernel


@kernel(nogil=True)
def merges_of_rows(rows, n_labels, merges, ends):
    """Fill merges (n - 1, 2) with (kept, absorbed) least components, and ends (T,) with the merges done at each row.

    rows: (T, n) labels in 0 .. n_labels - 1. Merges start from singletons. Returns the number of merges, or -1 when a
    row separates components that the row before has together.
    """
    n_rows, n = rows.shape
    least = np.arange(n)  # the least component of each component's group, so far
    first = np.full(n_labels, -1)  # the least component with each label; -1 throughout between rows
    done = 0
    for t in range(n_rows):
        for component in range(n):
            if rows[t, component] != rows[t, least[component]]:
                return -1
            if first[rows[t, component]] < 0:
                first[rows[t, component]] = component
        for component in range(n):
            kept = first[rows[t, component]]
            if least[component] == component and kept != component:
                merges[done, 0], merges[done, 1] = kept, component
                done += 1
        for component in range(n):
            least[component] = first[rows[t, component]]
        for component in range(n):
            first[rows[t, component]] = -1
        ends[t] = done
    return done
