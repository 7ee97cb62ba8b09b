"""On how many samples components and groups are active: what a code for unseen samples is made from."""

import numpy as np

from spd.clustering.math.kernels.jit import kernel


@kernel(nogil=True)
def activity_counts(indptr, indices, rows, group_of, n_groups):
    """Counts over the given samples (repeated ones count again): components (n,), groups (n_groups,).

    A group is active on a sample when one of its components is.
    """
    components = np.zeros(group_of.size, np.int64)
    groups = np.zeros(n_groups, np.int64)
    last_seen = np.full(n_groups, -1)
    for k in range(rows.size):
        for entry in range(indptr[rows[k]], indptr[rows[k] + 1]):
            component = indices[entry]
            components[component] += 1
            group = group_of[component]
            if last_seen[group] != k:
                last_seen[group] = k
                groups[group] += 1
    return components, groups
