"""Sparse memberships: columns from rows, counts of coactivation, and the merge of two groups' samples."""

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel
from spd.clustering.merge_engine.kernels.prefetch import AHEAD, prefetch, prefetch_place, prefetch_row
from spd.clustering.merge_engine.kernels.ranks import rounded
from spd.clustering.merge_engine.kernels.state import (
    ALIVE,
    HEAD,
    IS_SOFT,
    K_ALIVE,
    LOCAL,
    MARKED,
    N_DEAD,
    ROUNDER,
    SEG_LEN,
    SEG_NEXT,
    SEG_START,
    TAIL,
)


@kernel(nogil=True)
def fill_columns(row_start, row_len, row_ids, first, last, cursor, seg_samples):
    """List each component's samples of first .. last - 1, ascending: from `cursor[g]` on, which is then their end."""
    for sample in range(first, last):
        for y in range(row_start[sample], row_start[sample] + row_len[sample]):
            g = row_ids[y]
            seg_samples[cursor[g]] = sample
            cursor[g] += 1


@helper()
def walk_row(state, p, out):
    """Add c_pq to out[q] for every live q by visiting the samples of p; out[p] gets something without meaning."""
    row_ids, row_vals, row_start, row_len = state.row_ids, state.row_vals, state.row_start, state.row_len
    seg_samples, segments = state.seg_samples, state.segments
    is_soft = state.at[IS_SOFT] == 1
    rounder = state.sums[ROUNDER]
    segment = state.ints[HEAD, p]
    while segment >= 0:
        start = segments[SEG_START, segment]
        stop = start + segments[SEG_LEN, segment]
        for x in range(start, stop):
            prefetch_place(seg_samples, row_start, row_len, x + 2 * AHEAD, stop)
            prefetch_row(seg_samples, row_start, row_ids, x + AHEAD, stop)
            sample = seg_samples[x]
            begin = row_start[sample]
            end = begin + row_len[sample]
            if is_soft:
                value = 0.0
                for y in range(begin, end):
                    if row_ids[y] == p:
                        value = row_vals[y]
                for y in range(begin, end):
                    out[row_ids[y]] += rounded(value * row_vals[y], rounder)
            else:
                for g in row_ids[begin:end]:
                    out[g] += 1
        segment = segments[SEG_NEXT, segment]


@helper()
def count_pair(state, i, j):
    """c_ij by visiting the samples of j, the group with fewer."""
    row_ids, row_vals = state.row_ids, state.row_vals
    is_soft = state.at[IS_SOFT] == 1
    rounder = state.sums[ROUNDER]
    total = 0.0
    segment = state.ints[HEAD, j]
    while segment >= 0:
        start = state.segments[SEG_START, segment]
        for x in range(start, start + state.segments[SEG_LEN, segment]):
            sample = state.seg_samples[x]
            at_i = -1
            at_j = -1
            for y in range(state.row_start[sample], state.row_start[sample] + state.row_len[sample]):
                if row_ids[y] == i:
                    at_i = y
                elif row_ids[y] == j:
                    at_j = y
            if at_i >= 0:
                total += rounded(row_vals[at_i] * row_vals[at_j], rounder) if is_soft else 1.0
        segment = state.segments[SEG_NEXT, segment]
    return total


@kernel(nogil=True)
def mark_part(state, i, first, last):
    """Make marks[sample] == i say that i is active on the sample, for the samples first .. last - 1 along its chain of
    segments."""
    seg_samples, segments, marks = state.seg_samples, state.segments, state.marks
    passed = 0
    segment = state.ints[HEAD, i]
    while segment >= 0 and passed < last:
        start = segments[SEG_START, segment] - passed
        begin = start + max(first, passed)
        passed += segments[SEG_LEN, segment]
        for x in range(begin, start + min(last, passed)):
            marks[seg_samples[x]] = i
        segment = segments[SEG_NEXT, segment]


@helper()
def absorb_samples(state, first, last, i, j, add):
    """Make the samples seg_samples[first:last] of j samples of i; those that i had already become -1 in the list.

    add[l] grows by the change of c_il that these samples bring. The rows of different samples are independent, so
    that parts of a segment can be absorbed at the same time, each with its own `add`. Rows of samples that i had
    already keep the entry j, which nobody asks for any more, until the rows are swept: so they need not even
    be read when the samples of i are marked.

    Returns:
        The part of c_ij that lies in these samples.
    """
    row_ids, row_start, row_len = state.row_ids, state.row_start, state.row_len
    marks, seg_samples = state.marks, state.seg_samples
    is_marked = state.at[MARKED] == i
    as_entry = row_ids.dtype.type(j)  # of the rows' type, so that entries are compared many at a time
    common = 0
    for x in range(first, last):
        prefetch_place(seg_samples, row_start, row_len, x + 2 * AHEAD, last)
        if is_marked and x + 2 * AHEAD < last:
            prefetch(marks, np.int64(seg_samples[x + 2 * AHEAD]))
        if x + AHEAD < last and not (is_marked and marks[seg_samples[x + AHEAD]] == i):
            prefetch_row(seg_samples, row_start, row_ids, x + AHEAD, last)
        sample = seg_samples[x]
        row = row_ids[row_start[sample] : row_start[sample] + row_len[sample]]
        is_common = is_marked and marks[sample] == i
        if not is_marked:
            for g in row:
                is_common |= g == i
        if is_common:
            common += 1
            seg_samples[x] = -1
            continue
        for g in row:
            add[g] += 1
        place = 0
        for y in range(len(row)):
            if row[y] == as_entry:
                place = y
        row[place] = i
        if is_marked:
            marks[sample] = i
    return np.float64(common)


@helper()
def absorb_soft_samples(state, first, last, i, j, add):
    """The same for soft memberships: x_i becomes x_i + x_j - x_i x_j."""
    row_ids, row_vals, row_start, row_len = state.row_ids, state.row_vals, state.row_start, state.row_len
    seg_samples = state.seg_samples
    rounder = state.sums[ROUNDER]
    common = 0.0
    for x in range(first, last):
        prefetch_place(seg_samples, row_start, row_len, x + 2 * AHEAD, last)
        prefetch_row(seg_samples, row_start, row_ids, x + AHEAD, last)
        sample = seg_samples[x]
        begin = row_start[sample]
        end = begin + row_len[sample]
        at_i = -1
        at_j = -1
        for y in range(begin, end):
            if row_ids[y] == i:
                at_i = y
            if row_ids[y] == j:
                at_j = y
        value = row_vals[at_j]
        if at_i >= 0:
            both = value * row_vals[at_i]
            common += rounded(both, rounder)
            value -= both
            row_vals[at_i] += value
        for y in range(begin, end):
            add[row_ids[y]] += rounded(value * row_vals[y], rounder)
        if at_i >= 0:
            row_ids[at_j] = row_ids[end - 1]
            row_vals[at_j] = row_vals[end - 1]
            row_len[sample] -= 1
            seg_samples[x] = -1
        else:
            row_ids[at_j] = i
    return common


@kernel(nogil=True)
def absorb_part(state, i, j, first, last, add):
    """Absorb the samples first .. last - 1 of j, along its chain of segments; returns their part of c_ij."""
    is_soft = state.at[IS_SOFT] == 1
    common = 0.0
    passed = 0
    segment = state.ints[HEAD, j]
    while segment >= 0 and passed < last:
        start = state.segments[SEG_START, segment] - passed
        begin = start + max(first, passed)
        passed += state.segments[SEG_LEN, segment]
        end = start + min(last, passed)
        if begin < end and is_soft:
            common += absorb_soft_samples(state, begin, end, i, j, add)
        elif begin < end:
            common += absorb_samples(state, begin, end, i, j, add)
        segment = state.segments[SEG_NEXT, segment]
    return common


@helper()
def close_samples(state, i, j):
    """Take out what was absorbed, and hang the chain of j's segments onto that of i; returns how many are left."""
    ints, segments = state.ints, state.segments
    n_left = 0
    segment = ints[HEAD, j]
    while segment >= 0:
        n_left += close_segment(state, segment)
        segment = segments[SEG_NEXT, segment]
    segments[SEG_NEXT, ints[TAIL, i]] = ints[HEAD, j]
    ints[TAIL, i] = ints[TAIL, j]
    ints[LOCAL, i] += n_left
    return n_left


@helper()
def close_segment(state, segment):
    """Take the samples marked -1 out of the segment; returns how many are left."""
    start = state.segments[SEG_START, segment]
    write = start
    for x in range(start, start + state.segments[SEG_LEN, segment]):
        sample = state.seg_samples[x]
        if sample >= 0:
            state.seg_samples[write] = sample
            write += 1
    state.segments[SEG_LEN, segment] = write - start
    return write - start


@kernel()
def renumber_rows(state, new_of):
    """Give every container its new number, drop entries of dead ones (-1), and close the gaps between the rows. Marks
    of samples still name the old numbers."""
    row_start, row_len, row_ids, row_vals = state.row_start, state.row_len, state.row_ids, state.row_vals
    is_soft = state.at[IS_SOFT] == 1
    state.at[N_DEAD] = 0
    write = 0
    for sample in range(len(row_start)):
        begin = row_start[sample]
        row_start[sample] = write
        for y in range(begin, begin + row_len[sample]):
            new = new_of[row_ids[y]]
            if new >= 0:
                row_ids[write] = new
                if is_soft:
                    row_vals[write] = row_vals[y]
                write += 1
        row_len[sample] = write - row_start[sample]


@helper()
def sweep_rows(state):
    """Drop entries of dead containers."""
    same = np.full(state.ints.shape[1], -1, np.int64)
    for x in range(state.at[K_ALIVE]):
        same[state.ints[ALIVE, x]] = state.ints[ALIVE, x]
    renumber_rows(state, same)


@kernel(nogil=True)
def gather_rows(rows, wanted, columns, out):
    """out[t] = rows[wanted[t], columns]."""
    for t in range(len(wanted)):
        row = rows[wanted[t]]
        for x in range(len(columns)):
            out[t, x] = row[columns[x]]
