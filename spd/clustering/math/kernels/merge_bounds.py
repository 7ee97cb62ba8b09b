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

from spd.clustering.math.kernels.merge_bits import walk_bits
from spd.clustering.math.kernels.merge_jit import kernel
from spd.clustering.math.kernels.merge_samples import walk_row
from spd.clustering.math.kernels.merge_state import (
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


@kernel()
def pair_cost(state, p, q, count, log_k):
    """G(p, q)."""
    floats = state.floats
    ranked = floats[RANK, q] * (floats[ACTIVITY, p] - count) + floats[RANK, p] * (floats[ACTIVITY, q] - count)
    return state.sums[ALPHA] * ranked - count * log_k


@kernel(nogil=True)
def row_of(state, p):
    """c_pq for every live q: the row that is kept, or else the buffer, filled from the samples of p."""
    kept = state.ints[KEPT, p]
    if kept >= 0:
        return state.rows[kept]
    row = state.spare[ROW]
    if state.at[IS_BITS]:
        walk_bits(state.bits, state.ints[ALIVE], state.at[K_ALIVE], p, row)
    else:
        row[:] = 0
        walk_row(state, p, row)
    return row


@kernel(nogil=True)
def fill_rows(state, wanted, places):
    """rows[places[t], q] = c_pq for p = wanted[t] and every live q; those rows are zero before."""
    for t in range(len(wanted)):
        row = state.rows[places[t]]
        if state.at[IS_BITS]:
            walk_bits(state.bits, state.ints[ALIVE], state.at[K_ALIVE], wanted[t], row)
        else:
            walk_row(state, wanted[t], row)


@kernel(nogil=True)
def scan_row(state, p, row, log_k):
    """Make low[p] the exact minimum of G(p, .), with its partner (the first one in group order), and the next."""
    alive, s, r = state.ints[ALIVE], state.floats[ACTIVITY], state.floats[RANK]
    alpha = state.sums[ALPHA]
    need_active = state.at[NEED_ACTIVE] == 1
    least = np.inf
    second = np.inf
    partner = np.int64(-1)
    s_p = s[p]
    r_p = r[p]
    for x in range(state.at[K_ALIVE]):
        q = alive[x]
        count = row[q]
        value = alpha * (r[q] * (s_p - count) + r_p * (s[q] - count)) - count * log_k
        if value < second and q != p and (count > 0 or not need_active):
            if value < least:
                second = least
                least = value
                partner = q
            else:
                second = value
    state.floats[LOW, p] = least
    state.floats[SECOND, p] = second
    state.floats[COUNT, p] = 0.0 if partner < 0 else row[partner]
    state.ints[PARTNER, p] = partner
    state.ints[FRESH, p] = state.at[DONE]


@kernel(nogil=True)
def scan_upper(state, p, row, log_k):
    """The greatest G(p, .) for this log_k; -inf when p has no pair."""
    alive, s, r = state.ints[ALIVE], state.floats[ACTIVITY], state.floats[RANK]
    alpha = state.sums[ALPHA]
    need_active = state.at[NEED_ACTIVE] == 1
    greatest = -np.inf
    for x in range(state.at[K_ALIVE]):
        q = alive[x]
        count = row[q]
        value = alpha * (r[q] * (s[p] - count) + r[p] * (s[q] - count)) - count * log_k
        if value > greatest and q != p and (count > 0 or not need_active):
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


@kernel()
def refresh_row(state, p):
    """Make low[p] the exact minimum now. O(1) when the partner is still cheaper than every bound on the others."""
    log_k = math.log2(state.at[K_ALIVE] - 1)
    q = state.ints[PARTNER, p]
    if q >= 0:
        value = pair_cost(state, p, q, state.floats[COUNT, p], log_k)
        if value < state.floats[SECOND, p]:  # on a tie the partner may not be the first in group order
            state.floats[LOW, p] = value
            state.ints[FRESH, p] = state.at[DONE]
            return
    scan_row(state, p, row_of(state, p), log_k)


@kernel()
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
            value = low[alive[x]]
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


@kernel()
def update_bounds(state, i, j, row):
    """Restore the invariants after j was merged into i; `row` is that of i, k is already one less."""
    alive, partner, fresh = state.ints[ALIVE], state.ints[PARTNER], state.ints[FRESH]
    s, r, low, second = state.floats[ACTIVITY], state.floats[RANK], state.floats[LOW], state.floats[SECOND]
    noted, upper = state.floats[COUNT], state.floats[UPPER]
    k, done = state.at[K_ALIVE], state.at[DONE]
    alpha = state.sums[ALPHA]
    log_k = math.log2(max(k - 1, 1))
    need_active = state.at[NEED_ACTIVE] == 1
    has_upper = state.at[HAS_UPPER] == 1
    upper_l = state.sums[UPPER_L]
    for x in range(k):
        p = alive[x]
        if partner[p] == i or partner[p] == j:  # what is left is no cheaper than the second
            partner[p] = -1
            low[p] = second[p]
        count = row[p]
        if p == i or (need_active and count == 0):
            continue
        ranked = alpha * (r[i] * (s[p] - count) + r[p] * (s[i] - count))
        value = ranked - count * log_k
        if value < low[p]:
            if partner[p] >= 0:
                second[p] = low[p]
            low[p] = value
            partner[p] = i
            noted[p] = count
            fresh[p] = done
        elif value < second[p]:
            second[p] = value
        if has_upper:
            upper[p] = max(upper[p], ranked - count * upper_l)
    scan_row(state, i, row, log_k)
    if has_upper:
        upper[i] = scan_upper(state, i, row, upper_l)
    state.ints[SEEN, i] = -1
