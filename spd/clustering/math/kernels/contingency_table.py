"""A sparse contingency table of two partitions that follows merges on either side.

The table holds n_ij = |A_i ∩ B_j| for its nonzero cells only, once by rows (groups of A) and once by columns (groups
of B). Both copies are a `Side`; every function takes the side that changes first and the other one second.

No memory is allocated while merging: a group of a components has at most a nonzero cells, and the groups of a side are
laid out so that two groups that merge are neighbours, the larger one first (`lay_out`). The cells of the smaller group
move down to the end of the larger group's: at most n log2 n moves over a whole history, and rows stay contiguous.
"""

from typing import NamedTuple

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel


class Side(NamedTuple):
    """One partition's view of the table; groups are named by one of their components.

    start, length: (n,) the cells of group g are at start[g] .. start[g] + length[g] - 1.
    size: (n,) number of components in group g.
    other, shared: (n,) per cell, the group of the other side, and n_ij.
    twin: (n,) per cell, its position on the other side.
    """

    start: np.ndarray
    length: np.ndarray
    size: np.ndarray
    other: np.ndarray
    shared: np.ndarray
    twin: np.ndarray


@kernel(nogil=True)
def lay_out(component_merges, n):
    """Name and place groups so that merging moves little.

    component_merges: (T, 2) int64, one component of each of the two groups merged at each step.
    Returns big, small: (T,) the names of the larger and the smaller group (the merged group keeps the name `big`);
    start: (n,) the first cell of each singleton, so that `small` begins where the room of `big` ends.
    """
    n_merges = component_merges.shape[0]
    name = np.arange(n)
    size = np.ones(n, np.int64)
    big = np.empty(n_merges, np.int64)
    small = np.empty(n_merges, np.int64)
    size_before = np.empty(n_merges, np.int64)
    for t in range(n_merges):
        first = _find(name, component_merges[t, 0])
        second = _find(name, component_merges[t, 1])
        if first == second:
            raise ValueError("a merge joins a group with itself")
        if size[first] < size[second]:
            first, second = second, first
        big[t], small[t], size_before[t] = first, second, size[first]
        name[second] = first
        size[first] += size[second]
    start = np.empty(n, np.int64)
    position = 0
    for group in range(n):
        if name[group] == group:
            start[group] = position
            position += size[group]
    for t in range(n_merges - 1, -1, -1):
        start[small[t]] = start[big[t]] + size_before[t]
    return big, small, start


@helper()
def _find(name, component):
    root = component
    while name[root] != root:
        root = name[root]
    while name[component] != root:
        name[component], component = root, name[component]
    return root


@kernel(nogil=True)
def singletons(start, start_other):
    """The side of a partition into singletons, against singletons laid out at start_other: one cell a group."""
    n = start.size
    other = np.empty(n, np.int64)
    twin = np.empty(n, np.int64)
    for group in range(n):
        other[start[group]] = group
        twin[start[group]] = start_other[group]
    return Side(start.copy(), np.ones(n, np.int64), np.ones(n, np.int64), other, np.ones(n, np.int64), twin)


@helper()
def from_labels(labels_a, labels_b, k_a, k_b):
    """Both sides for two partitions given by labels 0 .. k-1; groups are named by their labels."""
    n = labels_a.size
    side_a = _sized(labels_a, k_a)
    side_b = _sized(labels_b, k_b)
    # Components of A in the order of their groups; a column's cell of this row, if any, is the last one it got.
    position = side_a.start.copy()
    members = np.empty(n, np.int64)
    for component in range(n):
        members[position[labels_a[component]]] = component
        position[labels_a[component]] += 1
    for group in range(k_a):
        for m in range(side_a.start[group], side_a.start[group] + side_a.size[group]):
            column = labels_b[members[m]]
            last = side_b.start[column] + side_b.length[column] - 1
            if side_b.length[column] > 0 and side_b.other[last] == group:
                side_b.shared[last] += 1
                side_a.shared[side_b.twin[last]] += 1
                continue
            cell = side_a.start[group] + side_a.length[group]
            side_a.other[cell], side_a.shared[cell], side_a.twin[cell] = column, 1, last + 1
            side_b.other[last + 1], side_b.shared[last + 1], side_b.twin[last + 1] = group, 1, cell
            side_a.length[group] += 1
            side_b.length[column] += 1
    return side_a, side_b


@helper()
def _sized(labels, k):
    n = labels.size
    size = np.zeros(k, np.int64)
    for component in range(n):
        size[labels[component]] += 1
    start = np.zeros(k, np.int64)
    for group in range(1, k):
        start[group] = start[group - 1] + size[group - 1]
    return Side(start, np.zeros(k, np.int64), size, np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64))


@kernel(nogil=True)
def merge_groups(side, opposite, big, small, cell_of, x_log_x):
    """Merge group `small` of `side` into `big`; `cell_of` is scratch, (n,) of -1 before and after.

    Returns the increase of sum_ij C(n_ij, 2), and that of sum_ij n_ij log n_ij (from the table x_log_x).
    """
    pairs = 0
    information = 0.0
    first = side.start[big]
    for cell in range(first, first + side.length[big]):
        cell_of[side.other[cell]] = cell
    # Cells of `small` not visited yet lie at or above the end of those of `big`: at most one was added per visit.
    for cell in range(side.start[small], side.start[small] + side.length[small]):
        column = side.other[cell]
        count = side.shared[cell]
        twin = side.twin[cell]
        found = cell_of[column]
        if found >= 0:
            before = side.shared[found]
            pairs += before * count
            information += x_log_x[before + count] - x_log_x[before] - x_log_x[count]
            side.shared[found] = before + count
            opposite.shared[side.twin[found]] = before + count
            _remove(opposite, side, column, twin)
        else:
            new = first + side.length[big]
            side.other[new], side.shared[new], side.twin[new] = column, count, twin
            opposite.other[twin], opposite.twin[twin] = big, new
            side.length[big] += 1
    for cell in range(first, first + side.length[big]):
        cell_of[side.other[cell]] = -1
    side.length[small] = 0
    side.size[big] += side.size[small]
    side.size[small] = 0
    return pairs, information


@helper()
def _remove(side, opposite, group, cell):
    """Take a cell out of a group's list: the last one takes its place."""
    side.length[group] -= 1
    last = side.start[group] + side.length[group]
    if cell != last:
        side.other[cell], side.shared[cell], side.twin[cell] = side.other[last], side.shared[last], side.twin[last]
        opposite.twin[side.twin[cell]] = cell


@kernel(nogil=True)
def labels_after(big, small, n, n_merges):
    """(n,) the name of each component's group after the first n_merges merges."""
    labels = np.arange(n)
    for t in range(n_merges - 1, -1, -1):
        labels[small[t]] = labels[big[t]]
    return labels
