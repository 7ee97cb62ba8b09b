"""On how many samples two are active together, components or groups: counted from the samples on which the higher one
is active, so that they cost the active entries of these samples, and each pair is counted once.

What is counted of i = start, start + 1, ... with lower ones stands one behind the other, i's from `place_of(i, start)`
on, where there is room for all of them.
"""

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel

_SHORT_MAX = 2**16 - 1
"""A sample adds at most 1 to a count, so so many samples fit counts of 2 bytes."""
_STEP = 8


@helper(inline="always")
def place_of(i, start):
    """Where the room of i begins."""
    return (i * (i - 1) - start * (start - 1)) // 2


@kernel(nogil=True)
def count_lower(row_ptr, rows, cols, places, ends, until, start, counts, first, last):
    """Add the samples cols[places[i]] .. until - 1 to the counts of i = start + first .. start + last - 1; each place
    moves behind them.

    Args:
        row_ptr, rows: who is active on each sample, ascending. cols: the samples of each, ascending, one after another.
        places, ends: (n,) where each one's next sample stands in `cols`, and where its last one ends.
    """
    short = np.zeros(start + last, np.uint16)  # half of a row's size: the fastest cache holds them
    for i in range(start + first, start + last):
        begin = places[i]
        stop = begin + np.searchsorted(cols[begin : ends[i]], until)
        places[i] = stop
        place = place_of(i, start)
        for x in range(begin, stop, _SHORT_MAX):
            _count_below(row_ptr, rows, cols, i, x, min(stop, x + _SHORT_MAX), short)
            for j in range(i):
                counts[place + j] += short[j]
            short[:i] = 0


@helper(inline="always")
def _count_below(row_ptr, rows, cols, i, begin, end, short):
    """short[j] += 1 for every j < i that is active on a sample cols[begin:end], on which i is; several at a time, as
    far as all of them are below i."""
    as_entry, one = rows.dtype.type(i), np.uint16(1)
    for e in range(begin, end):
        t = cols[e]
        x, n_left = np.uint64(row_ptr[t]), row_ptr[t + 1] - row_ptr[t]
        while n_left >= _STEP and rows[x + np.uint64(_STEP - 1)] < as_entry:
            for y in range(_STEP):
                short[rows[x + np.uint64(y)]] += one
            x += np.uint64(_STEP)
            n_left -= _STEP
        j = rows[x]
        while j < as_entry:
            short[j] += one
            x += np.uint64(1)
            j = rows[x]


@kernel(nogil=True)
def list_lower(row_ptr, rows, col_ptr, cols, scratch, start, first, last, partner, count, n_found):
    """The lower ones with which i = first .. last - 1 are active together: `count_lower` for where these are few.

    Args:
        col_ptr: where each one's samples begin in `cols`. scratch: (2, n) int32, a row of zeros, and zeros again
            afterwards.
        partner, count: int32 out, with room as `counts` has. n_found: int64 out: how many each has, from `start` on.
    """
    counts, touched = scratch[0], scratch[1]
    for i in range(first, last):
        n_touched, place = 0, place_of(i, start)
        for e in range(col_ptr[i], col_ptr[i + 1]):
            x = row_ptr[cols[e]]
            while rows[x] < i:
                j = rows[x]
                if counts[j] == 0:
                    touched[n_touched] = j
                    n_touched += 1
                counts[j] += 1
                x += 1
        for x in range(n_touched):
            j = touched[x]
            partner[place + x], count[place + x] = j, counts[j]
            counts[j] = 0
        n_found[i - start] = n_touched


@kernel()
def pack_counts(counts, start, first, last, high, low, count):
    """The pairs of first .. last - 1 that `count_lower` found: higher one, lower one, how often."""
    y = 0
    for i in range(first, last):
        place = place_of(i, start)
        for j in range(i):
            if counts[place + j] > 0:
                high[y], low[y], count[y] = i, j, counts[place + j]
                y += 1


@kernel()
def pack_lists(partner, found, n_found, start, high, low, count):
    """The pairs that `list_lower` found, of as many as `n_found` has."""
    y = 0
    for i in range(start, start + len(n_found)):
        place = place_of(i, start)
        for x in range(place, place + n_found[i - start]):
            high[y], low[y], count[y] = i, partner[x], found[x]
            y += 1
