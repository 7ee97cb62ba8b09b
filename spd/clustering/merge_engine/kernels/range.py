"""The `range` sampler: uniform over the pairs with G <= least + threshold (greatest - least).

The least G is known from merge_bounds. For the greatest, upper[p] is kept at or above every G(p, .): it is made for a
log2(k - 1) a little ahead of the present one, where every G is greater, and moved on when that is reached.

Drawing: every considered pair lies between two of the m rows whose lower bound is under the cut-off. Nearly all of
these do have such a pair, so that a random pair of them is under the cut-off with a probability of about 1/m at
least, and a few tries for each row nearly always find one. If not, or if that is little work, the considered pairs
are counted, by reading only rows whose second bound is under the cut-off. Both ways are exactly uniform.
"""

import math

import numpy as np

from spd.clustering.math.kernels.jit import helper
from spd.clustering.merge_engine.kernels.bits import common_bits
from spd.clustering.merge_engine.kernels.bounds import (
    cheapest_pair,
    fill_costs,
    pair_cost,
    refresh_row,
    row_of,
    scan_upper,
)
from spd.clustering.merge_engine.kernels.random import uniform, uniform_pair
from spd.clustering.merge_engine.kernels.ranks import sum_number
from spd.clustering.merge_engine.kernels.samples import count_pair
from spd.clustering.merge_engine.kernels.state import (
    ACTIVITY,
    ALIVE,
    DONE,
    FRESH,
    IS_BITS,
    K_ALIVE,
    KEPT,
    LEAST,
    LOW,
    NEED_ACTIVE,
    PARAMETER,
    PARTNER,
    SECOND,
    SEEN,
    SIZE,
    UPPER,
    UPPER_L,
)

MIN_TRIES = 64  # with so many, hits among the tries also estimate the share
READS_PER_TRY = 64  # one try costs about as much as reading so many entries of a row
TRIES_PER_ROW = 4


@helper()
def move_upper_ahead(state):
    """Make the upper bounds hold until k has fallen by a tenth: c_pq is at most s_p, so no G grows by more."""
    k = state.at[K_ALIVE]
    if state.sums[UPPER_L] <= math.log2(k - 1):
        return
    ahead = math.log2(max(int(0.9 * k) - 1, 1))
    step = state.sums[UPPER_L] - ahead
    state.sums[UPPER_L] = ahead
    for x in range(k):
        p = state.ints[ALIVE, x]
        state.floats[UPPER, p] += state.floats[ACTIVITY, p] * step


@helper()
def greatest_cost(state):
    """The exact greatest G: rows are confirmed from the highest bound down until no bound is above what was found."""
    alive, seen, upper = state.ints[ALIVE], state.ints[SEEN], state.floats[UPPER]
    log_k = math.log2(state.at[K_ALIVE] - 1)
    found = -np.inf
    while True:
        top = found
        p = np.int64(-1)
        for x in range(state.at[K_ALIVE]):
            g = np.uint64(alive[x])
            if upper[g] > top and seen[g] != state.at[DONE]:
                top = upper[g]
                p = alive[x]
        if p < 0:
            return found
        row = row_of(state, p)
        found = max(found, scan_upper(state, p, row, log_k))
        upper[p] = scan_upper(state, p, row, state.sums[UPPER_L])
        seen[p] = state.at[DONE]


@helper(inline="always")
def count_of(state, p, q):
    """c_pq from whichever row is kept, or else from the samples of the smaller group."""
    ints = state.ints
    if ints[KEPT, p] >= 0:
        return np.float64(state.rows[ints[KEPT, p], q])
    if ints[KEPT, q] >= 0:
        return np.float64(state.rows[ints[KEPT, q], p])
    if state.at[IS_BITS]:
        return np.float64(sum_number(state, common_bits(state.bits, p, q)))
    if ints[SIZE, p] >= ints[SIZE, q]:
        return sum_number(state, count_pair(state, p, q))
    return sum_number(state, count_pair(state, q, p))


@helper(inline="always")
def is_considered(state, p, q, cutoff, log_k):
    """Whether G(p, q) <= cutoff, from bounds where they suffice."""
    floats = state.floats
    if floats[LOW, p] > cutoff or floats[LOW, q] > cutoff:
        return False
    if not state.at[NEED_ACTIVE]:
        if pair_cost(state, p, q, 0.0, log_k) <= cutoff:
            return True
        most = min(floats[ACTIVITY, p], floats[ACTIVITY, q])
        if pair_cost(state, p, q, most, log_k) > cutoff:
            return False
    count = count_of(state, p, q)
    return pair_cost(state, p, q, count, log_k) <= cutoff and (count > 0 or not state.at[NEED_ACTIVE])


@helper()
def nth_considered(state, x, cutoff, log_k, wanted):
    """The group that makes the wanted-th considered pair with the one at position x, among later groups (-1: none),
    and how many were passed."""
    p = state.ints[ALIVE, x]
    fill_costs(state, p, row_of(state, p), log_k)
    found = 0
    for y in range(x + 1, state.at[K_ALIVE]):
        q = state.ints[ALIVE, y]
        if state.scratch[q] <= cutoff:
            if found == wanted:
                return q, found
            found += 1
    return -1, found


@helper()
def draw_by_reading(state, cutoff, log_k):
    """A uniform pair among those considered, by counting them; the last result is their number."""
    k = state.at[K_ALIVE]
    least, partner = state.ints[LEAST], state.ints[PARTNER]
    counts = np.zeros(k, np.int64)
    total = 0
    for x in range(k):
        p = state.ints[ALIVE, x]
        if state.floats[LOW, p] <= cutoff and state.ints[FRESH, p] != state.at[DONE]:
            refresh_row(state, p)
        if state.floats[LOW, p] <= cutoff:
            if state.floats[SECOND, p] > cutoff:  # only the pair with the partner, counted from its first group
                counts[x] = least[partner[p]] > least[p]
            else:
                counts[x] = nth_considered(state, x, cutoff, log_k, np.int64(-1))[1]
            total += counts[x]
    if total == 0:  # soft counts differ in the last bit between the rows of a pair, and the cut-off lies between
        p, q = cheapest_pair(state)
        return p, q, 1
    wanted = int(uniform(state.random) * total)
    x = 0
    while wanted >= counts[x]:
        wanted -= counts[x]
        x += 1
    p = state.ints[ALIVE, x]
    q = nth_considered(state, x, cutoff, log_k, wanted)[0]
    if q < 0:  # the same
        q = partner[p]
    return p, q, total


@helper()
def draw_by_trying(state, rows, cutoff, log_k, max_tries):
    """A uniform pair among those considered, all of which are between `rows` (containers); (-1, -1) when max_tries
    pairs gave none. The last result is the share of the tries that did."""
    p = np.int64(-1)
    q = np.int64(-1)
    hits = 0
    tries = 0
    while tries < max_tries and (tries < MIN_TRIES or hits == 0):
        x, y = uniform_pair(state.random, len(rows))
        tries += 1
        if is_considered(state, rows[x], rows[y], cutoff, log_k):
            if hits == 0:
                p = rows[x]
                q = rows[y]
            hits += 1
    return p, q, hits / tries


@helper()
def draw_under(state, cutoff, log_k):
    """A uniform pair with G <= cutoff, and the share of all pairs that have it: counted, or estimated."""
    k = state.at[K_ALIVE]
    alive, low = state.ints[ALIVE], state.floats[LOW]
    n_pairs = k * (k - 1) / 2
    rows = np.empty(k, np.int64)
    m = 0
    for x in range(k):
        rows[m] = alive[x]
        m += low[np.uint64(alive[x])] <= cutoff
    if m * k > MIN_TRIES * READS_PER_TRY:
        p, q, share = draw_by_trying(state, rows[:m], cutoff, log_k, max(MIN_TRIES, TRIES_PER_ROW * m))
        if p >= 0:
            return p, q, share * (m * (m - 1) / 2) / n_pairs
    p, q, total = draw_by_reading(state, cutoff, log_k)
    return p, q, total / n_pairs


@helper()
def draw_in_range(state):
    """A pair of the range, and the share of all pairs that is in it; (-1, -1, NaN) when there is no pair."""
    p, _ = cheapest_pair(state)
    if p < 0:
        return -1, -1, np.nan
    log_k = math.log2(state.at[K_ALIVE] - 1)
    least = state.floats[LOW, p]
    move_upper_ahead(state)
    greatest = greatest_cost(state)
    threshold = state.sums[PARAMETER]
    cutoff = greatest if threshold == 1.0 else least + threshold * (greatest - least)
    return draw_under(state, cutoff, log_k)
