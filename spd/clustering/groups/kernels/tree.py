"""Average linkage on a sparse graph, by chains of nearest neighbours (Murtagh 1983; Benzecri 1982).

The affinity of two groups is the mean over all pairs of their components, where a pair that is no edge counts 0.
Average linkage is reducible: joining two groups never makes their mean affinity to a third larger than the larger of
the two. So two groups that are each other's nearest can be joined whatever else there is, and a chain a, nearest of a,
nearest of that, ... ends in such a pair.
"""

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel


@helper()
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@helper()
def _nearest(group, before, parent, size, first, follows, start, length, indices, weights, total, touched):
    """(nearest group, its mean affinity): the one before in the chain where it is as near, else the lowest of the
    nearest; -1 where there is no edge. The group's entries are brought up to date: one for each group, none for itself.

    Invariant: the segments of a group, in total, hold an entry for every edge between a component of it and one of
    another group, whatever that group is called by now; so the sums by today's names are exact.
    """
    n_touched = 0
    segment = first[group]
    while segment >= 0:
        for e in range(start[segment], start[segment] + length[segment]):
            other = _root(parent, indices[e])
            if other != group:
                if total[other] == 0:
                    touched[n_touched] = other
                    n_touched += 1
                total[other] += weights[e]
        segment = follows[segment]
    best, best_mean = -1, 0.0
    if before >= 0 and total[before] > 0:
        best, best_mean = before, total[before] / (float(size[group]) * size[before])
    segment, used = first[group], 0
    for x in range(n_touched):
        other = touched[x]
        mean = total[other] / (float(size[group]) * size[other])
        if mean > best_mean or (mean == best_mean and best != before and other < best):
            best, best_mean = other, mean
        while used == length[segment]:
            segment, used = follows[segment], 0
        indices[start[segment] + used] = other
        weights[start[segment] + used] = total[other]
        total[other] = 0
        used += 1
    while segment >= 0:
        length[segment] = used
        segment, used = follows[segment], 0
    return best, best_mean


@kernel()
def average_linkage(indptr, indices, weights, merges, heights):
    """Join until no edge is left between groups; returns the number of joins.

    Args:
        indptr, indices, weights: the graph, both directions of each edge, weights whole numbers above 0. Overwritten.
        merges: (n - 1, 2) out: the least component of each of the two groups joined, the smaller first. A join comes
            after those that made its two groups, but not necessarily after all with greater affinity.
        heights: (n - 1,) out: their mean affinity, in the units of the weights.
    """
    n = len(indptr) - 1
    parent, size = np.empty(n, np.int64), np.empty(n, np.int64)
    total, touched = np.empty(n, np.int64), np.empty(n, np.int64)
    first, last, follows = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    start, length, chain = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n + 1, np.int64)
    for i in range(n):
        parent[i], size[i], total[i] = i, 1, 0
        first[i], last[i], follows[i] = i, i, -1
        start[i], length[i] = indptr[i], indptr[i + 1] - indptr[i]
    n_chain, n_merges = 0, 0
    for seed in range(n):
        while parent[seed] == seed:
            if n_chain == 0:
                chain[0], n_chain = seed, 1
            group = chain[n_chain - 1]
            before = chain[n_chain - 2] if n_chain > 1 else -1
            near, mean = _nearest(
                group, before, parent, size, first, follows, start, length, indices, weights, total, touched
            )
            if near < 0:  # nothing leads to it either, so it is alone in its chain
                n_chain = 0
                break
            if near != before:
                chain[n_chain] = near
                n_chain += 1
                continue
            kept, gone = min(group, near), max(group, near)
            merges[n_merges, 0], merges[n_merges, 1], heights[n_merges] = kept, gone, mean
            n_merges += 1
            parent[gone] = kept
            size[kept] += size[gone]
            follows[last[kept]] = first[gone]
            last[kept] = last[gone]
            n_chain -= 2
    return n_merges
