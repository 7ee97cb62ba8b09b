"""The cheapest pair, without a look at every pair.

For groups i and j, c_ij how often both are active, and L = log2(k - 1), the cost of a merge is, up to a factor and a
term that are the same for every pair,

    G(i, j) = alpha (r_j (s_i - c_ij) + r_i (s_j - c_ij)) - c_ij L.

The bracket is an integer for boolean memberships, so pairs with equal cost compare equal in float64, and the formula
is symmetric to the last bit. L only falls while groups merge, so a G computed earlier is never above the present one:
minima found earlier are lower bounds (float64 rounding is monotone, so this holds to the last bit as well).

Invariants between merges, for every live p: low[p] <= G(p, q) for every live q; second[p] <= G(p, q) for every live
q other than partner[p]; count[p] = c_pq of the partner; neither p nor its partner changed since `count` was noted.
"""

import math

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel
from spd.clustering.merge_engine.kernels.bits import walk_bits
from spd.clustering.merge_engine.kernels.ranks import sum_row
from spd.clustering.merge_engine.kernels.samples import walk_row
from spd.clustering.merge_engine.kernels.state import (
    ACTIVITY,
    ALIVE,
    ALPHA,
    COUNT,
    DONE,
    FRESH,
    HAS_UPPER,
    IS_BITS,
    K_ALIVE,
    KEPT,
    LOW,
    NEED_ACTIVE,
    PARTNER,
    RANK,
    ROW,
    SECOND,
    SEEN,
    UPPER,
    UPPER_L,
)


@helper(inline="always")
def pair_cost(state, p, q, count, log_k):
    """G(p, q)."""
    floats = state.floats
    ranked = floats[RANK, q] * (floats[ACTIVITY, p] - count) + floats[RANK, p] * (floats[ACTIVITY, q] - count)
    return state.sums[ALPHA] * ranked - count * log_k


@helper()
def count_own_row(state, p, row):
    """row[q] = c_pq for every live q, from the samples of p that this rank holds."""
    if state.at[IS_BITS]:
        walk_bits(state.bits, state.ints[ALIVE], state.at[K_ALIVE], p, row)
    else:
        row[:] = 0
        walk_row(state, p, row)


@helper()
def count_row(state, p, row):
    """row[q] = c_pq for every live q, from the samples of p."""
    count_own_row(state, p, row)
    sum_row(state, row)


@helper()
def row_of(state, p):
    """c_pq for every live q: the row that is kept, or else the buffer, filled from the samples of p."""
    kept = state.ints[KEPT, p]
    if kept >= 0:
        return state.rows[kept]
    row = state.spare[ROW]
    count_row(state, p, row)
    return row


@kernel(nogil=True)
def fill_rows(state, wanted, places):
    """rows[places[t], q] = c_pq for p = wanted[t] and every live q, from the samples that this rank holds."""
    for t in range(len(wanted)):
        count_own_row(state, wanted[t], state.rows[places[t]])


@helper()
def fill_costs(state, p, row, log_k):
    """scratch[q] = G(p, q) for every live q, infinite where p and q may not merge. One pass without a branch, over all
    containers, which compiles to vector instructions; what dead ones get has no meaning."""
    s, r, costs = state.floats[ACTIVITY], state.floats[RANK], state.scratch
    alpha = state.sums[ALPHA]
    s_p = s[p]
    r_p = r[p]
    for q in range(len(costs)):
        count = row[q]
        costs[q] = alpha * (r[q] * (s_p - count) + r_p * (s[q] - count)) - count * log_k
    costs[p] = np.inf
    if state.at[NEED_ACTIVE] == 1:
        for q in range(len(costs)):
            if row[q] == 0:
                costs[q] = np.inf


@helper()
def scan_row(state, p, row, log_k):
    """Make low[p] the exact minimum of G(p, .), with its partner (the first one in group order), and the next."""
    fill_costs(state, p, row, log_k)
    alive, costs = state.ints[ALIVE], state.scratch
    least = np.inf
    second = np.inf
    partner = np.int64(-1)
    for x in range(state.at[K_ALIVE]):
        q = np.uint64(alive[x])  # an unsigned index cannot count from the end, so nothing is checked
        value = costs[q]
        if value < second:
            if value < least:
                second = least
                least = value
                partner = alive[x]
            else:
                second = value
    state.floats[LOW, p] = least
    state.floats[SECOND, p] = second
    state.floats[COUNT, p] = 0.0 if partner < 0 else row[partner]
    state.ints[PARTNER, p] = partner
    state.ints[FRESH, p] = state.at[DONE]


@helper()
def scan_upper(state, p, row, log_k):
    """The greatest G(p, .) for this log_k; -inf when p has no pair."""
    fill_costs(state, p, row, log_k)
    alive, costs = state.ints[ALIVE], state.scratch
    greatest = -np.inf
    for x in range(state.at[K_ALIVE]):
        value = costs[np.uint64(alive[x])]
        if greatest < value < np.inf:
            greatest = value
    return greatest


@kernel(nogil=True)
def start_bounds(state, first, last):
    """Make the bounds of the groups at positions first .. last - 1 exact, before the first merge."""
    log_k = math.log2(max(state.at[K_ALIVE] - 1, 1))
    for x in range(first, last):
        p = state.ints[ALIVE, x]
        row = row_of(state, p)
        scan_row(state, p, row, log_k)
        if state.at[HAS_UPPER]:
            state.floats[UPPER, p] = scan_upper(state, p, row, state.sums[UPPER_L])


@helper(inline="always")
def refresh_row(state, p):
    """Make low[p] the exact minimum now. O(1) when the partner is still cheaper than every bound on the others."""
    log_k_now = math.log2(state.at[K_ALIVE] - 1)
    q = state.ints[PARTNER, p]
    value = np.inf
    if q >= 0:
        value = pair_cost(state, p, q, state.floats[COUNT, p], log_k_now)
    if value < state.floats[SECOND, p]:  # on a tie the partner may not be the first in group order
        state.floats[LOW, p] = value
        state.ints[FRESH, p] = state.at[DONE]
    else:
        scan_row(state, p, row_of(state, p), log_k_now)


@helper()
def cheapest_pair(state):
    """The pair of least cost, among equals the first in the order of group indices; (-1, -1): none.

    Bounds are visited from the least up, the first in group order among equals. When the visited one is exact, no
    other row can hold a cheaper pair; and as every row before it has a greater bound, each pair of this cost has both
    groups at or after it, so that this row with its first partner is the first of them all.
    """
    alive, low = state.ints[ALIVE], state.floats[LOW]
    while True:
        least = np.inf
        next_least = np.inf
        p = np.int64(-1)
        for x in range(state.at[K_ALIVE]):
            value = low[np.uint64(alive[x])]
            if value < next_least:
                if value < least:
                    next_least = least
                    least = value
                    p = alive[x]
                else:
                    next_least = value
        if p < 0:
            return -1, -1
        if state.ints[FRESH, p] != state.at[DONE]:
            refresh_row(state, p)
            if not low[p] < next_least:  # another row may come first now
                continue
        return p, state.ints[PARTNER, p]


@helper()
def update_bounds(state, i, j, row):
    """Restore the invariants after j was merged into i; `row` is that of i, k is already one less."""
    alive, partner, fresh = state.ints[ALIVE], state.ints[PARTNER], state.ints[FRESH]
    low, second, noted, costs = state.floats[LOW], state.floats[SECOND], state.floats[COUNT], state.scratch
    k, done = state.at[K_ALIVE], state.at[DONE]
    log_k = math.log2(max(k - 1, 1))
    fill_costs(state, i, row, log_k)
    for x in range(k):
        p = np.uint64(alive[x])
        value = costs[p]
        is_orphan = partner[p] == i or partner[p] == j
        if value < second[p] or is_orphan:
            if is_orphan:  # what is left is no cheaper than the second
                partner[p] = -1
                low[p] = second[p]
            if value < low[p]:
                if partner[p] >= 0:
                    second[p] = low[p]
                low[p] = value
                partner[p] = i
                noted[p] = row[p]
                fresh[p] = done
            elif value < second[p]:
                second[p] = value
    if state.at[HAS_UPPER] == 1:
        raise_upper(state, i, row)
    scan_row(state, i, row, log_k)
    state.ints[SEEN, i] = -1


@helper()
def raise_upper(state, i, row):
    """Restore the upper bounds: those of the others by their pair with i, that of i itself exactly."""
    alive, upper, costs = state.ints[ALIVE], state.floats[UPPER], state.scratch
    fill_costs(state, i, row, state.sums[UPPER_L])
    greatest = -np.inf
    for x in range(state.at[K_ALIVE]):
        p = np.uint64(alive[x])
        value = costs[p]
        if value < np.inf:
            upper[p] = max(upper[p], value)
            greatest = max(greatest, value)
    upper[i] = greatest
