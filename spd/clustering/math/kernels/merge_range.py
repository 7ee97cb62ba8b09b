"""The `range` sampler: uniform over the pairs with G <= least + threshold (greatest - least).

The least G is known from merge_bounds. For the greatest, upper[p] is kept at or above every G(p, .): it is made for a
log2(k - 1) a little ahead of the present one, where every G is greater, and moved on when that is reached.

Drawing: random pairs are proposed until one is under the cut-off, for a bounded number of tries; when none is, few
pairs qualify, and the rows whose lower bound is under the cut-off are read. Both ways are exactly uniform. Rows are
read at once when that is no more work than the tries.
"""

import math

import numpy as np

from spd.clustering.math.kernels.merge_bits import common_bits
from spd.clustering.math.kernels.merge_bounds import cheapest_pair, pair_cost, row_of, scan_upper
from spd.clustering.math.kernels.merge_jit import kernel
from spd.clustering.math.kernels.merge_random import uniform, uniform_pair
from spd.clustering.math.kernels.merge_samples import count_pair
from spd.clustering.math.kernels.merge_state import (
    ACTIVITY,
    ALIVE,
    DONE,
    IS_BITS,
    K_ALIVE,
    KEPT,
    LOW,
    NEED_ACTIVE,
    PARAMETER,
    SEEN,
    SIZE,
    UPPER,
    UPPER_L,
)

MIN_TRIES = 64
READS_PER_TRY = 64  # one try costs about as much as reading so many entries of a row


@kernel()
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


@kernel()
def greatest_cost(state):
    """The exact greatest G: rows are confirmed from the highest bound down until no bound is above what was found."""
    alive, seen, upper = state.ints[ALIVE], state.ints[SEEN], state.floats[UPPER]
    log_k = math.log2(state.at[K_ALIVE] - 1)
    found = -np.inf
    while True:
        top = found
        p = -1
        for x in range(state.at[K_ALIVE]):
            g = alive[x]
            if upper[g] > top and seen[g] != state.at[DONE]:
                top = upper[g]
                p = g
        if p < 0:
            return found
        row = row_of(state, p)
        found = max(found, scan_upper(state, p, row, log_k))
        upper[p] = scan_upper(state, p, row, state.sums[UPPER_L])
        seen[p] = state.at[DONE]


@kernel()
def count_of(state, p, q):
    """c_pq from whichever row is kept, or else from the samples of the smaller group."""
    ints = state.ints
    if ints[KEPT, p] >= 0:
        return np.float64(state.rows[ints[KEPT, p], q])
    if ints[KEPT, q] >= 0:
        return np.float64(state.rows[ints[KEPT, q], p])
    if state.at[IS_BITS]:
        return np.float64(common_bits(state.bits, p, q))
    if ints[SIZE, p] >= ints[SIZE, q]:
        return count_pair(state, p, q)
    return count_pair(state, q, p)


@kernel()
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


@kernel()
def nth_considered(state, x, cutoff, log_k, wanted):
    """The group that makes the wanted-th considered pair with the one at position x, among later groups (-1: none),
    and how many were passed."""
    p = state.ints[ALIVE, x]
    row = row_of(state, p)
    found = 0
    for y in range(x + 1, state.at[K_ALIVE]):
        q = state.ints[ALIVE, y]
        count = np.float64(row[q])
        if pair_cost(state, p, q, count, log_k) <= cutoff and (count > 0 or not state.at[NEED_ACTIVE]):
            if found == wanted:
                return q, found
            found += 1
    return -1, found


@kernel()
def draw_by_reading(state, cutoff, log_k):
    """A uniform pair among those considered, by counting them; the last result is their number."""
    k = state.at[K_ALIVE]
    counts = np.zeros(k, np.int64)
    total = 0
    for x in range(k):
        if state.floats[LOW, state.ints[ALIVE, x]] <= cutoff:
            counts[x] = nth_considered(state, x, cutoff, log_k, -1)[1]
            total += counts[x]
    wanted = int(uniform(state.random) * total)
    x = 0
    while wanted >= counts[x]:
        wanted -= counts[x]
        x += 1
    return state.ints[ALIVE, x], nth_considered(state, x, cutoff, log_k, wanted)[0], total


@kernel()
def draw_by_trying(state, cutoff, log_k, max_tries):
    """A uniform pair among those considered, (-1, -1) when max_tries pairs gave none; the last result is the share of
    the tries that did."""
    alive, k = state.ints[ALIVE], state.at[K_ALIVE]
    p = -1
    q = -1
    hits = 0
    tries = 0
    while tries < MIN_TRIES or (hits == 0 and tries < max_tries):
        x, y = uniform_pair(state.random, k)
        tries += 1
        if is_considered(state, alive[x], alive[y], cutoff, log_k):
            if hits == 0:
                p = alive[x]
                q = alive[y]
            hits += 1
    return p, q, hits / tries


@kernel()
def draw_in_range(state):
    """A pair of the range, and the share of all pairs that is in it: counted, or estimated from the tries."""
    p, q = cheapest_pair(state)
    if p < 0:
        return -1, -1, np.nan
    k = state.at[K_ALIVE]
    low = state.floats[LOW]
    log_k = math.log2(k - 1)
    least = low[p]
    move_upper_ahead(state)
    greatest = greatest_cost(state)
    threshold = state.sums[PARAMETER]
    cutoff = greatest if threshold == 1.0 else least + threshold * (greatest - least)
    n_rows = 0
    for x in range(k):
        if low[state.ints[ALIVE, x]] <= cutoff:
            n_rows += 1
    max_tries = n_rows * k // READS_PER_TRY
    if max_tries >= MIN_TRIES:
        p, q, share = draw_by_trying(state, cutoff, log_k, max_tries)
        if p >= 0:
            return p, q, share
    p, q, total = draw_by_reading(state, cutoff, log_k)
    return p, q, total / (k * (k - 1) / 2)
