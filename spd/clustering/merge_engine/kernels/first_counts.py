"""The coactivations of single components before the first merge: every pair of active entries of every sample.

Samples are taken in blocks whose rows stay in the processor's cache, because each row is read once for each of its
entries.
"""

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel
from spd.clustering.merge_engine.kernels.prefetch import AHEAD, LINE, prefetch_place, prefetch_row_end
from spd.clustering.merge_engine.kernels.ranks import rounded
from spd.clustering.merge_engine.kernels.state import IS_SOFT, ROUNDER, SEG_LEN, SEG_START

_SHORT_MAX = 2**16 - 1
"""A sample adds at most 1 to a count, so so many samples fit counts of 2 bytes."""
_STEP = 8


@kernel(nogil=True)
def count_upper_rows(state, places, end, first, last):
    """rows[p, q] += c_pq for p in first .. last - 1 and q > p, of the samples seg_samples[places[p]] .. end - 1; each
    place moves behind them. For single components, in ascending rows of samples.
    """
    counts = np.zeros(state.rows.shape[1], np.uint16)  # half of a row's size: the fastest cache holds them
    n_above = state.segments[SEG_LEN, first:].sum()
    for p in range(first, last):
        row = state.rows[p]
        n_above -= state.segments[SEG_LEN, p]
        n_lines = 2 + n_above // (LINE * len(state.row_len))  # about so many of a row are read
        begin = places[p]
        stop = state.segments[SEG_START, p] + state.segments[SEG_LEN, p]
        stop = begin + np.searchsorted(state.seg_samples[begin:stop], end)
        places[p] = stop
        if state.at[IS_SOFT] == 1:
            _add_soft(state, p, begin, stop, n_lines, row)
            continue
        for x in range(begin, stop, _SHORT_MAX):
            y = min(stop, x + _SHORT_MAX)
            _count_above(state.seg_samples, state.row_start, state.row_len, state.row_ids, p, x, y, n_lines, counts)
            for q in range(p + 1, len(counts)):
                row[q] += counts[q]
            counts[:] = 0


@helper(inline="always")
def _count_above(seg_samples, row_start, row_len, row_ids, p, begin, end, n_lines, counts):
    """counts[q] += 1 for every q > p that is active on a sample seg_samples[begin:end], on which p is.

    Each row of samples is read from its end down to p, which leaves out the lower half and needs no search; several
    entries at a time, as far as all of them are above p.
    """
    as_entry = row_ids.dtype.type(p)
    one = np.uint16(1)
    for x in range(begin, end):
        prefetch_place(seg_samples, row_start, row_len, x + 2 * AHEAD, end)
        prefetch_row_end(seg_samples, row_start, row_len, row_ids, x + AHEAD, end, n_lines)
        sample = seg_samples[x]
        lowest = np.uint64(row_start[sample] + _STEP - 1)
        y = np.uint64(row_start[sample] + row_len[sample] - 1)
        while y >= lowest and row_ids[y - np.uint64(_STEP - 1)] > as_entry:
            for z in range(_STEP):
                counts[row_ids[y - np.uint64(z)]] += one
            y -= np.uint64(_STEP)
        g = row_ids[y]
        while g > as_entry:
            counts[g] += one
            y -= np.uint64(1)
            g = row_ids[y]


@helper()
def _add_soft(state, p, begin, end, n_lines, row):
    """row[q] += x_p x_q for every q > p, of the samples seg_samples[begin:end]."""
    row_ids, row_vals, row_start, row_len = state.row_ids, state.row_vals, state.row_start, state.row_len
    seg_samples = state.seg_samples
    rounder = state.sums[ROUNDER]
    as_entry = row_ids.dtype.type(p)
    for x in range(begin, end):
        prefetch_place(seg_samples, row_start, row_len, x + 2 * AHEAD, end)
        prefetch_row_end(seg_samples, row_start, row_len, row_ids, x + AHEAD, end, n_lines)
        sample = seg_samples[x]
        top = np.uint64(row_start[sample] + row_len[sample] - 1)
        y = top
        while row_ids[y] > as_entry:
            y -= np.uint64(1)
        value = row_vals[y]
        for z in range(y + np.uint64(1), top + np.uint64(1)):
            row[row_ids[z]] += rounded(value * row_vals[z], rounder)


@kernel(nogil=True)
def mirror_upper(rows, first, last):
    """Copy the upper triangle into rows first .. last - 1 of the lower one, in tiles that fit the cache."""
    tile = 64
    for top in range(first, last, tile):
        bottom = min(top + tile, last)
        for left in range(0, bottom, tile):
            for p in range(top, bottom):
                for q in range(left, min(left + tile, p)):
                    rows[p, q] = rows[q, p]
