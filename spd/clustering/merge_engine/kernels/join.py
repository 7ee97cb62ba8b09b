"""One merge: the samples, sums and coactivations of two groups become those of one."""

import math

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel
from spd.clustering.merge_engine.kernels.bits import absorb_bits
from spd.clustering.merge_engine.kernels.bounds import count_row, pair_cost
from spd.clustering.merge_engine.kernels.prefetch import AHEAD, prefetch
from spd.clustering.merge_engine.kernels.rank import position_of
from spd.clustering.merge_engine.kernels.ranks import sum_join
from spd.clustering.merge_engine.kernels.samples import absorb_part, close_samples, mark_part, sweep_rows
from spd.clustering.merge_engine.kernels.state import (
    ACTIVITY,
    ADD,
    ALIVE,
    ALPHA,
    CONSIDERED,
    COST,
    DONE,
    FREE,
    IS_BITS,
    IS_SOFT,
    K_ALIVE,
    KEPT,
    LARGE,
    LEAST,
    LOCAL,
    MARKED,
    MDL,
    N_DEAD,
    N_FREE,
    N_SAMPLES,
    RANK,
    RANKED,
    ROW,
    SIZE,
    TOTAL,
    WAITING_I,
    WAITING_J,
    WAITING_SHARE,
)

MARKING_PAYS = 16  # marking a sample costs about so much less than reading its row
SWEEP_AT = 0.25  # of the live entries; sweeping reads every row once


@helper()
def in_order(state, p, q):
    """Which of two groups stays and which is merged into it: the one with fewer samples."""
    if state.ints[LEAST, p] > state.ints[LEAST, q]:  # so that who stays does not depend on how the pair was found
        p, q = q, p
    if state.ints[SIZE, p] >= state.ints[SIZE, q]:
        return p, q
    return q, p


@kernel()
def marking_pays(state, i, j):
    """Whether the samples of i should be marked before those of j are absorbed."""
    if state.at[MARKED] == i or state.at[IS_SOFT]:
        return False
    return state.ints[LOCAL, i] < MARKING_PAYS * state.ints[LOCAL, j]


@helper()
def join_samples(state, i, j):
    """Make the samples of j samples of i; spare[ADD] gets the change of i's row (not with bitsets). Returns c_ij."""
    if state.at[IS_BITS]:
        return sum_join(state, i, j, np.float64(absorb_bits(state.bits, i, j)), np.int64(0))
    if marking_pays(state, i, j):
        mark_part(state, i, 0, state.ints[LOCAL, i])
        state.at[MARKED] = i
    common = absorb_part(state, i, j, 0, state.ints[LOCAL, j], state.spare[ADD])
    return sum_join(state, i, j, common, close_samples(state, i, j))


@helper()
def is_put_off(state, i, j, considered):
    """Whether the samples of i and j are left to several threads; the merge is then noted as waiting."""
    at = state.at
    if at[IS_BITS] or state.ints[LOCAL, j] < at[LARGE]:
        return False
    at[WAITING_I] = i
    at[WAITING_J] = j
    state.sums[WAITING_SHARE] = considered
    return True


@helper()
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


@helper()
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


@helper()
def merged_row(state, i):
    """The row of i after the merge: the kept one brought up to date, or the buffer."""
    kept = state.ints[KEPT, i]
    row = state.rows[kept] if kept >= 0 else state.spare[ROW]
    if kept < 0 or state.at[IS_BITS]:
        count_row(state, i, row)
    else:
        add = state.spare[ADD]
        for q in range(len(row)):  # dead ones too: nobody asks for theirs
            row[q] += add[q]
    return row


@helper()
def join_rows(state, i, j):
    """Bring the kept coactivations up to date; returns the row of i."""
    alive, kept, free = state.ints[ALIVE], state.ints[KEPT], state.ints[FREE]
    at, rows, add = state.at, state.rows, state.spare[ADD]
    k = at[K_ALIVE]
    if kept[j] >= 0:
        free[at[N_FREE]] = kept[j]
        at[N_FREE] += 1
        kept[j] = -1
    row = merged_row(state, i)
    flat = rows.reshape(rows.size)
    width = rows.shape[1]
    all_change = at[IS_BITS] == 1
    for x in range(k):
        if x + AHEAD < k:  # each row is far from the next, so all of them would be waited for
            prefetch(flat, np.int64(kept[np.uint64(alive[x + AHEAD])] * width + i))
        q = np.uint64(alive[x])
        place = kept[q]
        if (add[q] != 0 or all_change) and place >= 0 and alive[x] != i:
            flat[np.uint64(place * width + i)] = row[q]
    add[:] = 0
    if kept[i] < 0 and at[N_FREE] > 0:
        at[N_FREE] -= 1
        kept[i] = free[at[N_FREE]]
        own = rows[kept[i]]
        for x in range(k):
            own[alive[x]] = row[alive[x]]
    return row


@helper()
def join_groups(state, i, j, common, considered):
    """Merge j into i, whose samples are joined already, and note it; returns the row of i."""
    at, sums, results = state.at, state.sums, state.results
    k = at[K_ALIVE]
    done = at[DONE]
    cost = pair_cost(state, i, j, common, math.log2(k - 1)) + sums[TOTAL] * math.log2((k - 1) / k)
    join_sums(state, i, j, common)
    low, high = join_places(state, i, j)
    state.pairs[done, 0] = low
    state.pairs[done, 1] = high
    results[COST, done] = cost / sums[N_SAMPLES]
    results[MDL, done] = (sums[TOTAL] * math.log2(k - 1) + sums[ALPHA] * sums[RANKED]) / sums[N_SAMPLES]
    results[CONSIDERED, done] = considered
    row = join_rows(state, i, j)
    if not (at[IS_BITS] or at[IS_SOFT]):
        at[N_DEAD] += np.int64(common)
        if at[N_DEAD] > SWEEP_AT * sums[TOTAL]:
            sweep_rows(state)
    return row
