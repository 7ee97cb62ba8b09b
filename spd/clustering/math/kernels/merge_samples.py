"""Sparse memberships: columns from rows, counts of coactivation, and the merge of two groups' samples."""

from numba import njit

from spd.clustering.math.kernels.merge_state import HEAD, IS_SOFT, SEG_LEN, SEG_NEXT, SEG_START


@njit(cache=True, error_model="numpy")
def fill_columns(row_start, row_len, row_ids, cursor, seg_samples):
    """List each component's samples, ascending. `cursor[g]` is where component g's list starts, and then its end."""
    for sample in range(len(row_start)):
        for y in range(row_start[sample], row_start[sample] + row_len[sample]):
            g = row_ids[y]
            seg_samples[cursor[g]] = sample
            cursor[g] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def count_upper_rows(state, first, last):
    """rows[p, q] for p in first .. last - 1 and q > p: c_pq, for single components in ascending rows.

    Each row of samples is read from its end down to p, which leaves out the lower half and needs no search.
    """
    row_ids, row_vals, seg_samples = state.row_ids, state.row_vals, state.seg_samples
    is_soft = state.at[IS_SOFT] == 1
    for p in range(first, last):
        row = state.rows[p]
        start = state.segments[SEG_START, p]
        for x in range(start, start + state.segments[SEG_LEN, p]):
            sample = seg_samples[x]
            y = state.row_start[sample] + state.row_len[sample] - 1
            if is_soft:
                top = y
                while row_ids[y] > p:
                    y -= 1
                value = row_vals[y]
                for z in range(y + 1, top + 1):
                    row[row_ids[z]] += value * row_vals[z]
            else:
                while row_ids[y] > p:
                    row[row_ids[y]] += 1
                    y -= 1


@njit(cache=True, nogil=True, error_model="numpy")
def mirror_upper(rows, first, last):
    """Copy the upper triangle into rows first .. last - 1 of the lower one, in tiles that fit the cache."""
    tile = 64
    for top in range(first, last, tile):
        bottom = min(top + tile, last)
        for left in range(0, bottom, tile):
            for p in range(top, bottom):
                for q in range(left, min(left + tile, p)):
                    rows[p, q] = rows[q, p]


@njit(cache=True, nogil=True, error_model="numpy")
def walk_row(state, p, out):
    """Add c_pq to out[q] for every live q by visiting the samples of p; out[p] gets something without meaning."""
    row_ids, row_vals = state.row_ids, state.row_vals
    is_soft = state.at[IS_SOFT] == 1
    segment = state.ints[HEAD, p]
    while segment >= 0:
        start = state.segments[SEG_START, segment]
        for x in range(start, start + state.segments[SEG_LEN, segment]):
            sample = state.seg_samples[x]
            begin = state.row_start[sample]
            end = begin + state.row_len[sample]
            if is_soft:
                value = 0.0
                for y in range(begin, end):
                    if row_ids[y] == p:
                        value = row_vals[y]
                for y in range(begin, end):
                    out[row_ids[y]] += value * row_vals[y]
            else:
                for y in range(begin, end):
                    out[row_ids[y]] += 1
        segment = state.segments[SEG_NEXT, segment]


@njit(cache=True, error_model="numpy")
def count_pair(state, i, j):
    """c_ij by visiting the samples of j, the group with fewer."""
    row_ids, row_vals = state.row_ids, state.row_vals
    is_soft = state.at[IS_SOFT] == 1
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
                total += row_vals[at_i] * row_vals[at_j] if is_soft else 1.0
        segment = state.segments[SEG_NEXT, segment]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def absorb_samples(state, first, last, i, j, add):
    """Make the samples seg_samples[first:last] of j samples of i; those that i had already become -1 in the list.

    add[l] grows by the change of c_il that these samples bring. The rows of different samples are independent, so
    that parts of a segment can be absorbed at the same time, each with its own `add`.

    Returns:
        The part of c_ij that lies in these samples.
    """
    row_ids, row_vals, row_len, seg_samples = state.row_ids, state.row_vals, state.row_len, state.seg_samples
    is_soft = state.at[IS_SOFT] == 1
    common = 0.0
    for x in range(first, last):
        sample = seg_samples[x]
        begin = state.row_start[sample]
        end = begin + row_len[sample]
        at_i = -1
        at_j = -1
        for y in range(begin, end):
            g = row_ids[y]
            if g == i:
                at_i = y
            if g == j:
                at_j = y
        if is_soft:
            value = row_vals[at_j]
            if at_i >= 0:
                both = value * row_vals[at_i]
                common += both
                value -= both
                row_vals[at_i] += value
            for y in range(begin, end):
                add[row_ids[y]] += value * row_vals[y]
        elif at_i >= 0:
            common += 1.0
        else:
            for y in range(begin, end):
                add[row_ids[y]] += 1
        if at_i < 0:
            row_ids[at_j] = i
            continue
        row_ids[at_j] = row_ids[end - 1]
        if is_soft:
            row_vals[at_j] = row_vals[end - 1]
        row_len[sample] -= 1
        seg_samples[x] = -1
    return common


@njit(cache=True, error_model="numpy")
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


@njit(cache=True, error_model="numpy")
def renumber_rows(state, new_of):
    """Give every container its new number, and close the gaps that merges left between the rows."""
    row_start, row_len, row_ids, row_vals = state.row_start, state.row_len, state.row_ids, state.row_vals
    is_soft = state.at[IS_SOFT] == 1
    write = 0
    for sample in range(len(row_start)):
        begin = row_start[sample]
        row_start[sample] = write
        for y in range(begin, begin + row_len[sample]):
            row_ids[write] = new_of[row_ids[y]]
            if is_soft:
                row_vals[write] = row_vals[y]
            write += 1
