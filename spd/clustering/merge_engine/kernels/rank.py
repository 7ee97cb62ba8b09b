"""The `exp_rank` sampler: the pair of rank t with probability proportional to exp(-decay t).

Ranks go by (G, group indices). The rank is drawn first. A heap then collects the t + 1 first pairs: rows are visited
from the least lower bound up (among equals in group order), each pair is offered from the row of its first group,
and the search ends when no row left can hold a pair before the last one in the heap.
"""

import math

import numpy as np

from spd.clustering.math.kernels.jit import helper
from spd.clustering.merge_engine.kernels.bounds import pair_cost, refresh_row, row_of
from spd.clustering.merge_engine.kernels.random import uniform
from spd.clustering.merge_engine.kernels.state import (
    ALIVE,
    DONE,
    FRESH,
    K_ALIVE,
    LEAST,
    LOW,
    NEED_ACTIVE,
    PARAMETER,
    PARTNER,
    SECOND,
    SEEN,
)


@helper()
def draw_rank(random, decay, n_pairs):
    """A rank below n_pairs (may be inf) with probability proportional to exp(-decay rank)."""
    reach = -math.expm1(-decay * n_pairs)
    rank = math.floor(-math.log1p(-uniform(random) * reach) / decay)
    return min(np.float64(rank), n_pairs - 1.0)


@helper()
def is_before(value, x, y, pairs, other_value, place):
    """Whether the pair (x, y) comes before the one at a place of the heap: by cost, then by group indices."""
    if value != other_value:
        return value < other_value
    if x != pairs[place, 0]:
        return x < pairs[place, 0]
    return y < pairs[place, 1]


@helper()
def sift_down(values, pairs, size, value, x, y):
    """Put a pair into the heap (last pair on top) in the place of the top."""
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        other = child + 1
        if other < size and is_before(values[child], pairs[child, 0], pairs[child, 1], pairs, values[other], other):
            child = other
        if not is_before(value, x, y, pairs, values[child], child):
            break
        values[place] = values[child]
        pairs[place, 0] = pairs[child, 0]
        pairs[place, 1] = pairs[child, 1]
        place = child
    values[place] = value
    pairs[place, 0] = x
    pairs[place, 1] = y


@helper()
def sift_up(values, pairs, size, value, x, y):
    """Put a pair into the heap as one more."""
    place = size
    while place > 0:
        parent = (place - 1) // 2
        if is_before(value, x, y, pairs, values[parent], parent):
            break
        values[place] = values[parent]
        pairs[place, 0] = pairs[parent, 0]
        pairs[place, 1] = pairs[parent, 1]
        place = parent
    values[place] = value
    pairs[place, 0] = x
    pairs[place, 1] = y


@helper()
def next_row(state):
    """Position of the first row, by lower bound and then group order, that was not used in this selection."""
    alive, seen, low = state.ints[ALIVE], state.ints[SEEN], state.floats[LOW]
    best = np.inf
    position = np.int64(-1)
    for x in range(state.at[K_ALIVE]):
        p = alive[x]
        if low[p] < best and seen[p] != state.at[DONE]:
            best = low[p]
            position = x
    return position


@helper()
def offer_row(state, x, first, last, values, pairs, size):
    """Offer the pairs of the group at position x with those at first .. last - 1; returns the size of the heap."""
    p = state.ints[ALIVE, x]
    row = row_of(state, p)
    log_k = math.log2(state.at[K_ALIVE] - 1)
    for y in range(first, last):
        q = state.ints[ALIVE, y]
        count = row[q]
        if count == 0 and state.at[NEED_ACTIVE]:
            continue
        value = pair_cost(state, p, q, count, log_k)
        if size < len(values):
            sift_up(values, pairs, size, value, x, y)
            size += 1
        elif value <= values[0] and is_before(value, x, y, pairs, values[0], 0):
            sift_down(values, pairs, size, value, x, y)
    return size


@helper()
def position_of(state, p):
    """Where container p stands in group order."""
    alive, least = state.ints[ALIVE], state.ints[LEAST]
    low = 0
    high = state.at[K_ALIVE]
    while low < high:
        middle = (low + high) // 2
        if least[alive[middle]] < least[p]:
            low = middle + 1
        else:
            high = middle
    return low


@helper()
def collect_first(state, values, pairs):
    """Fill the heap with the first pairs (as positions), as many as it holds or as there are; returns the size."""
    ints, floats, at = state.ints, state.floats, state.at
    size = 0
    while True:
        x = next_row(state)
        if x < 0:
            return size
        p = ints[ALIVE, x]
        is_full = size == len(values)
        if is_full and not is_before(floats[LOW, p], x, x + 1, pairs, values[0], 0):
            return size
        if ints[FRESH, p] != at[DONE]:
            refresh_row(state, p)
            continue
        ints[SEEN, p] = at[DONE]
        if not is_full or floats[SECOND, p] <= values[0]:
            size = offer_row(state, x, x + 1, at[K_ALIVE], values, pairs, size)
            continue
        y = position_of(state, ints[PARTNER, p])  # only the pair with the partner can matter
        if y > x and is_before(floats[LOW, p], x, y, pairs, values[0], 0):
            sift_down(values, pairs, size, floats[LOW, p], x, y)


@helper()
def draw_by_rank(state):
    """The containers of a pair, (-1, -1) when there is none."""
    decay = state.sums[PARAMETER]
    k = state.at[K_ALIVE]
    n_pairs = k * (k - 1) / 2
    # Drawing without an end and once more when the rank is beyond the last pair is the same as drawing with the end.
    rank = draw_rank(state.random, decay, np.inf if state.at[NEED_ACTIVE] else n_pairs)
    capacity = int(min(rank + 1, n_pairs))
    values = np.empty(capacity, np.float64)
    pairs = np.empty((capacity, 2), np.int64)
    size = collect_first(state, values, pairs)
    if size == 0:
        return -1, -1
    if size < rank + 1:
        rank = draw_rank(state.random, decay, np.float64(size))
    while size > rank + 1:  # take the last pair off until the wanted one is on top
        size -= 1
        sift_down(values, pairs, size, values[size], pairs[size, 0], pairs[size, 1])
    return state.ints[ALIVE, pairs[0, 0]], state.ints[ALIVE, pairs[0, 1]]
