"""A maximum-weight matching of the groups of two partitions that follows merges on either side.

The matching is kept with a solution of the dual problem, which proves it optimal. Between merges:

- u_i >= 0 for groups of A, v_j >= 0 for groups of B, and u_i + v_j >= w_ij for every nonzero cell;
- equality on matched pairs; zero on unmatched groups (complementary slackness).

A merge changes the weights of one row. Its group and the partners of the two merged groups are set free, the dual of
the row is set to the least feasible value, and the at most three free groups with a positive dual are put right by one
search each for the shortest augmenting path (Dijkstra over the nonzero cells, with the reduced cost
u_i + v_j - w_ij; Edmonds and Karp 1972). Zero-weight pairs are never matched.

Weights: n_ij, or the Jaccard similarity n_ij / (a_i + b_j - n_ij). Counts stay exact: all duals are whole numbers.
"""

from typing import NamedTuple

import numpy as np

from spd.clustering.math.kernels.contingency_table import from_labels, merge_groups, singletons
from spd.clustering.math.kernels.jit import helper, kernel

RESUM_EVERY = 64
"""The matched weight is summed up anew every so many records: running sums of floats drift."""


class Matched(NamedTuple):
    """One side's part of the matching: dual (n,), mate (n,) the partner or -1, weight (n,) of the matched pair."""

    dual: np.ndarray
    mate: np.ndarray
    weight: np.ndarray


class Search(NamedTuple):
    """Scratch of one search, sized for n cells; `distance` is inf and `settled` False before and after."""

    distance: np.ndarray
    settled: np.ndarray
    origin: np.ndarray
    weight: np.ndarray
    reached: np.ndarray
    order: np.ndarray
    heap_key: np.ndarray
    heap_item: np.ndarray


@helper()
def new_search(n):
    return Search(
        np.full(n, np.inf),
        np.zeros(n, np.bool_),
        np.empty(n, np.int64),
        np.empty(n, np.float64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n + 1, np.float64),
        np.empty(n + 1, np.int64),
    )


@kernel(nogil=True)
def unmatched(n):
    return Matched(np.zeros(n), np.full(n, -1), np.zeros(n))


@kernel(nogil=True, inline="always")
def _weight(count, size, size_other, jaccard):
    if jaccard:
        return count / (size + size_other - count)
    return float(count)


@helper()
def _push(search, length, key, item):
    keys, items = search.heap_key, search.heap_item
    at = length
    while at > 0:
        above = (at - 1) >> 1
        if keys[above] <= key:
            break
        keys[at], items[at] = keys[above], items[above]
        at = above
    keys[at], items[at] = key, item
    return length + 1


@helper()
def _pop(search, length):
    """Remove the least entry (read it at index 0 before)."""
    keys, items = search.heap_key, search.heap_item
    length -= 1
    key, item = keys[length], items[length]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= length:
            break
        if below + 1 < length and keys[below + 1] < keys[below]:
            below += 1
        if key <= keys[below]:
            break
        keys[at], items[at] = keys[below], items[below]
        at = below
    keys[at], items[at] = key, item
    return length


@helper()
def _augment(side, opposite, mine, theirs, source, jaccard, search):
    """Put right the free group `source` of `side`, whose dual is positive. Returns the change of the matched weight.

    The search may end at a free group of the other side (which gets matched), or at a group of its own side, the
    source included, whose dual can fall to zero (which becomes free). `bound` is the length of the best such path.
    """
    bound = mine.dual[source]
    end_row, end_column = source, -1
    n_reached = n_settled = n_heap = 0
    row, at = source, 0.0
    # Invariant: groups of the other side are settled in the order of their distance, all below `bound`.
    while True:
        for cell in range(side.start[row], side.start[row] + side.length[row]):
            column = side.other[cell]
            weight = _weight(side.shared[cell], side.size[row], opposite.size[column], jaccard)
            distance = at + max(0.0, mine.dual[row] + theirs.dual[column] - weight)
            if distance >= bound or distance >= search.distance[column] or search.settled[column]:
                continue
            if search.distance[column] == np.inf:
                search.reached[n_reached] = column
                n_reached += 1
            search.distance[column] = distance
            search.origin[column] = row
            search.weight[column] = weight
            if theirs.mate[column] < 0:
                bound, end_row, end_column = distance, -1, column
            else:
                n_heap = _push(search, n_heap, distance, column)
        while n_heap > 0 and search.settled[search.heap_item[0]]:
            n_heap = _pop(search, n_heap)
        if n_heap == 0 or search.heap_key[0] >= bound:
            break
        column, at = search.heap_item[0], search.heap_key[0]
        n_heap = _pop(search, n_heap)
        search.settled[column] = True
        search.order[n_settled] = column
        n_settled += 1
        row = theirs.mate[column]
        if at + mine.dual[row] < bound:
            bound, end_row, end_column = at + mine.dual[row], row, -1

    mine.dual[source] = max(0.0, mine.dual[source] - bound)
    for k in range(n_settled):
        column = search.order[k]
        shift = bound - search.distance[column]
        mine.dual[theirs.mate[column]] = max(0.0, mine.dual[theirs.mate[column]] - shift)
        theirs.dual[column] += shift
    change = _flip(mine, theirs, source, end_row, end_column, search)
    for k in range(n_reached):
        search.distance[search.reached[k]] = np.inf
        search.settled[search.reached[k]] = False
    return change


@helper()
def _flip(mine, theirs, source, end_row, end_column, search):
    """Exchange matched and unmatched pairs along the path found. Returns the change of the matched weight."""
    change = 0.0
    column = end_column
    if end_row >= 0:
        mine.dual[end_row] = 0.0
        if end_row == source:
            return change
        column = mine.mate[end_row]
        change -= mine.weight[end_row]
        mine.mate[end_row] = -1
        mine.weight[end_row] = 0.0
    while True:
        row = search.origin[column]
        following = mine.mate[row]
        change += search.weight[column] - mine.weight[row]
        mine.mate[row], theirs.mate[column] = column, row
        mine.weight[row] = theirs.weight[column] = search.weight[column]
        if row == source:
            return change
        column = following


@helper()
def _set_free(mine, theirs, row):
    """Unmatch a group. Returns its former partner, or -1, and the weight that is lost."""
    column, weight = mine.mate[row], mine.weight[row]
    if column >= 0:
        theirs.mate[column] = -1
        theirs.weight[column] = 0.0
    mine.mate[row] = -1
    mine.weight[row] = 0.0
    return column, weight


@kernel(nogil=True)
def _merge(side, opposite, mine, theirs, big, small, jaccard, search, cell_of, x_log_x):
    """Merge two groups of `side` and restore the matching. Returns the change of the matched weight."""
    partner_big, weight_big = _set_free(mine, theirs, big)
    partner_small, weight_small = _set_free(mine, theirs, small)
    change = -weight_big - weight_small
    merge_groups(side, opposite, big, small, cell_of, x_log_x)
    mine.dual[small] = 0.0
    mine.dual[big] = _least_dual(side, opposite, theirs, big, jaccard)
    if mine.dual[big] > 0:
        change += _augment(side, opposite, mine, theirs, big, jaccard, search)
    for partner in (partner_big, partner_small):
        if partner >= 0 and theirs.mate[partner] < 0 and theirs.dual[partner] > 0:
            change += _augment(opposite, side, theirs, mine, partner, jaccard, search)
    return change


@helper()
def _least_dual(side, opposite, theirs, row, jaccard):
    """The least feasible dual of a row: max(0, max_j w_ij - v_j)."""
    least = 0.0
    for cell in range(side.start[row], side.start[row] + side.length[row]):
        column = side.other[cell]
        weight = _weight(side.shared[cell], side.size[row], opposite.size[column], jaccard)
        least = max(least, weight - theirs.dual[column])
    return least


@kernel(nogil=True)
def matched_weights_of_merges(big_a, small_a, start_a, big_b, small_b, start_b, ends_a, ends_b, jaccard, x_log_x):
    """(T,) the greatest matched weight after ends_a[t] merges in A and ends_b[t] in B (both ascending)."""
    n = start_a.size
    rows, columns = singletons(start_a, start_b), singletons(start_b, start_a)
    # Singletons: the identity is optimal, with u = w = 1 and v = 0 (a Jaccard similarity of 1, and a count of 1).
    row_match = Matched(np.ones(n), np.arange(n), np.ones(n))
    column_match = Matched(np.zeros(n), np.arange(n), np.ones(n))
    search = new_search(n)
    cell_of = np.full(n, -1)
    weights = np.empty(ends_a.size)
    total = float(n)
    done_a = done_b = 0
    for t in range(ends_a.size):
        for s in range(done_a, ends_a[t]):
            total += _merge(
                rows, columns, row_match, column_match, big_a[s], small_a[s], jaccard, search, cell_of, x_log_x
            )
        for s in range(done_b, ends_b[t]):
            total += _merge(
                columns, rows, column_match, row_match, big_b[s], small_b[s], jaccard, search, cell_of, x_log_x
            )
        done_a, done_b = ends_a[t], ends_b[t]
        if t % RESUM_EVERY == 0:
            total = row_match.weight.sum()
        weights[t] = total
    return weights


@kernel(nogil=True)
def matched_weight_of_labels(labels_a, labels_b, k_a, k_b, jaccard):
    """The greatest matched weight of two partitions given by labels 0 .. k-1: the same search, from every row."""
    rows, columns = from_labels(labels_a, labels_b, k_a, k_b)
    row_match, column_match = unmatched(k_a), unmatched(k_b)
    search = new_search(max(labels_a.size, k_a, k_b))
    for row in range(k_a):
        row_match.dual[row] = _least_dual(rows, columns, column_match, row, jaccard)
    total = 0.0
    for row in range(k_a):
        if row_match.dual[row] > 0:
            total += _augment(rows, columns, row_match, column_match, row, jaccard, search)
    return row_match.weight.sum() if jaccard else total
