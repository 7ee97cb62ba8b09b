"""One merge: the samples, sums and coactivations of two groups become those of one."""

import math

import numpy as np

from spd.clustering.math.kernels.merge_bits import absorb_bits, walk_bits
from spd.clustering.math.kernels.merge_bounds import pair_cost
from spd.clustering.math.kernels.merge_jit import kernel
from spd.clustering.math.kernels.merge_rank import position_of
from spd.clustering.math.kernels.merge_samples import (
    absorb_samples,
    absorb_soft_samples,
    close_segment,
    mark_samples,
    walk_row,
)
from spd.clustering.math.kernels.merge_state import (
    ACTIVITY,
    ADD,
    ALIVE,
    ALPHA,
    CONSIDERED,
    COST,
    DONE,
    FREE,
    HEAD,
    IS_BITS,
    IS_SOFT,
    K_ALIVE,
    KEPT,
    LEAST,
    MDL,
    N_FREE,
    N_SAMPLES,
    RANK,
    RANKED,
    ROW,
    SEG_LEN,
    SEG_NEXT,
    SEG_START,
    SIZE,
    TAIL,
    TOTAL,
)

MARKING_PAYS = 16  # marking a sample costs about so much less than reading its row


@kernel()
def join_samples(state, i, j):
    """Make the samples of j samples of i; spare[ADD] gets the change of i's row (not with bitsets). Returns c_ij."""
    if state.at[IS_BITS]:
        return np.float64(absorb_bits(state.bits, i, j))
    ints, segments = state.ints, state.segments
    add = state.spare[ADD]
    is_soft = state.at[IS_SOFT] == 1
    if not is_soft and ints[SIZE, i] < MARKING_PAYS * ints[SIZE, j]:
        mark_samples(state, i)
    common = 0.0
    segment = ints[HEAD, j]
    while segment >= 0:
        start = segments[SEG_START, segment]
        end = start + segments[SEG_LEN, segment]
        if is_soft:
            common += absorb_soft_samples(state, start, end, i, j, add)
        else:
            common += absorb_samples(state, start, end, i, j, add)
        ints[SIZE, i] += close_segment(state, segment)
        segment = segments[SEG_NEXT, segment]
    segments[SEG_NEXT, ints[TAIL, i]] = ints[HEAD, j]
    ints[TAIL, i] = ints[TAIL, j]
    return common


@kernel()
def join_sums(state, i, j, common):
    """s, r, and the sums over groups after j was merged into i."""
    s, r, sums = state.floats[ACTIVITY], state.floats[RANK], state.sums
    union = s[i] + s[j] - common
    sums[TOTAL] += union - s[i] - s[j]
    sums[RANKED] += union * (r[i] + r[j]) - s[i] * r[i] - s[j] * r[j]
    s[i] = union
    r[i] += r[j]
    if state.at[IS_BITS]:
        state.ints[SIZE, i] = np.int64(union)


@kernel()
def join_places(state, i, j):
    """Put i at the place of the earlier of the two groups and close the gap; returns both places, the earlier first."""
    alive, least = state.ints[ALIVE], state.ints[LEAST]
    x = position_of(state, i)
    y = position_of(state, j)
    low = min(x, y)
    high = max(x, y)
    least[i] = min(least[i], least[j])
    alive[low] = i
    for z in range(high, state.at[K_ALIVE] - 1):
        alive[z] = alive[z + 1]
    state.at[K_ALIVE] -= 1
    state.at[DONE] += 1
    return low, high


@kernel()
def merged_row(state, i):
    """The row of i after the merge: the kept one brought up to date, or the buffer."""
    kept = state.ints[KEPT, i]
    row = state.rows[kept] if kept >= 0 else state.spare[ROW]
    alive, k = state.ints[ALIVE], state.at[K_ALIVE]
    if state.at[IS_BITS]:
        walk_bits(state.bits, alive, k, i, row)
    elif kept >= 0:
        add = state.spare[ADD]
        for x in range(k):
            row[alive[x]] += add[alive[x]]
    else:
        row[:] = 0
        walk_row(state, i, row)
    return row


@kernel()
def join_rows(state, i, j):
    """Bring the kept coactivations up to date; returns the row of i."""
    ints, at, rows, add = state.ints, state.at, state.rows, state.spare[ADD]
    kept = ints[KEPT]
    if kept[j] >= 0:
        ints[FREE, at[N_FREE]] = kept[j]
        at[N_FREE] += 1
        kept[j] = -1
    row = merged_row(state, i)
    for x in range(at[K_ALIVE]):
        q = ints[ALIVE, x]
        if (add[q] != 0 or at[IS_BITS]) and kept[q] >= 0 and q != i:
            rows[kept[q], i] = row[q]
    add[:] = 0
    if kept[i] < 0 and at[N_FREE] > 0:
        at[N_FREE] -= 1
        kept[i] = ints[FREE, at[N_FREE]]
        for x in range(at[K_ALIVE]):
            rows[kept[i], ints[ALIVE, x]] = row[ints[ALIVE, x]]
    return row


@kernel()
def join_groups(state, p, q, considered):
    """Merge two groups, the one with fewer samples into the other, and note it.

    Returns:
        The container that stays, the one that is dead now, the row of the former.
    """
    at, sums, results = state.at, state.sums, state.results
    if state.ints[LEAST, p] > state.ints[LEAST, q]:  # so that who stays does not depend on how the pair was found
        p, q = q, p
    i, j = (p, q) if state.ints[SIZE, p] >= state.ints[SIZE, q] else (q, p)
    k = at[K_ALIVE]
    done = at[DONE]
    common = join_samples(state, i, j)
    cost = pair_cost(state, i, j, common, math.log2(k - 1)) + sums[TOTAL] * math.log2((k - 1) / k)
    join_sums(state, i, j, common)
    low, high = join_places(state, i, j)
    state.pairs[done, 0] = low
    state.pairs[done, 1] = high
    results[COST, done] = cost / sums[N_SAMPLES]
    results[MDL, done] = (sums[TOTAL] * math.log2(k - 1) + sums[ALPHA] * sums[RANKED]) / sums[N_SAMPLES]
    results[CONSIDERED, done] = considered
    return i, j, join_rows(state, i, j)
