"""Which components are active together: a sparse graph of affinities, from the samples alone.

Row i of the graph is counted from the samples on which component i is active, so a row costs the active entries of
these samples, and rows are independent of each other. The affinity of two components is their normalised pointwise
mutual information (Bouma 2009), log(c N / (a b)) / log(N / c), active on a and b of N samples and on c together: 1
where they are always active together, 0 where they are as often as chance would have it, whatever their rates.
Affinities are whole numbers of 2^-30, so that sums of them are exact in any order.
"""

import numpy as np
from numba import get_thread_id, prange

from spd.clustering.math.kernels.jit import helper, kernel

UNIT = 1 << 30
BINS = 256
"""Bins of the affinities that `count_edges` counts."""


@kernel()
def transpose(row_ptr, rows, col_ptr, cols):
    """cols: for each component its samples, ascending, component i's at col_ptr[i]."""
    place = col_ptr[:-1].copy()
    for t in range(len(row_ptr) - 1):
        for e in range(row_ptr[t], row_ptr[t + 1]):
            i = rows[e]
            cols[place[i]] = t
            place[i] += 1


@kernel(parallel=True)
def clumping(col_ptr, cols, n_samples, max_lag, factor):
    """factor (n,): how many successive samples count as one, for two components that clump as this one does.

    1 + 2 sum of the squared autocorrelations up to max_lag: by so much the variance of the number of joint activations
    of two independent series is larger than without autocorrelation (Bartlett 1935).
    """
    for i in prange(len(col_ptr) - 1):
        first, last = col_ptr[i], col_ptr[i + 1]
        count = np.zeros(max_lag + 1)
        for e in range(first, last):
            x = e + 1
            while x < last and cols[x] - cols[e] <= max_lag:
                count[cols[x] - cols[e]] += 1
                x += 1
        total, rate = 1.0, (last - first) / n_samples
        for lag in range(1, max_lag + 1):
            if 0 < rate < 1:
                correlation = (count[lag] / (last - first) - rate) / (1 - rate)
                total += 2 * max(correlation, 0.0) ** 2
        factor[i] = total


@helper(inline="always")
def affinity(c, a, b, n, min_bits):
    """Normalised pointwise mutual information; 0 where the pair is no more than chance by min_bits of evidence, the
    log likelihood ratio of a Poisson count (c instead of a b / n)."""
    expected = a * b / n
    if c <= expected or (c * np.log(c / expected) - (c - expected)) < min_bits * 0.6931471805599453:
        return 0.0
    return np.log(c / expected) / np.log(n / c) if c < n else 0.0


@kernel(parallel=True)
def count_edges(row_ptr, rows, col_ptr, cols, first, last, min_bits, scratch, histogram):
    """histogram (last - first, BINS): how many affinities of components first .. last - 1 fall into each bin of 0 .. 1.

    row_ptr, rows: the components of each sample; col_ptr, cols: the samples of each component. scratch: (threads, 2, n)
    int32, zeros, and zeros again afterwards.
    """
    n_samples = float(len(row_ptr) - 1)
    for i in prange(first, last):
        count, touched = scratch[get_thread_id(), 0], scratch[get_thread_id(), 1]
        n_touched = _count_row(row_ptr, rows, col_ptr, cols, i, count, touched)
        a = float(col_ptr[i + 1] - col_ptr[i])
        for x in range(n_touched):
            j = touched[x]
            if j != i:
                value = affinity(float(count[j]), a, float(col_ptr[j + 1] - col_ptr[j]), n_samples, min_bits)
                if value > 0:
                    histogram[i - first, min(int(value * BINS), BINS - 1)] += 1
            count[j] = 0


@kernel(parallel=True)
def fill_edges(row_ptr, rows, col_ptr, cols, first, last, min_bits, min_bin, scratch, indptr, indices, weights):
    """The edges that count_edges counted in bins from min_bin on: those of component i at indptr[i]."""
    n_samples = float(len(row_ptr) - 1)
    for i in prange(first, last):
        count, touched = scratch[get_thread_id(), 0], scratch[get_thread_id(), 1]
        n_touched = _count_row(row_ptr, rows, col_ptr, cols, i, count, touched)
        a, place = float(col_ptr[i + 1] - col_ptr[i]), indptr[i]
        for x in range(n_touched):
            j = touched[x]
            if j != i:
                value = affinity(float(count[j]), a, float(col_ptr[j + 1] - col_ptr[j]), n_samples, min_bits)
                if value > 0 and min(int(value * BINS), BINS - 1) >= min_bin:
                    indices[place] = j
                    weights[place] = max(round(value * UNIT), 1)
                    place += 1
            count[j] = 0


@helper(inline="always")
def _count_row(row_ptr, rows, col_ptr, cols, i, count, touched):
    n_touched = 0
    for e in range(col_ptr[i], col_ptr[i + 1]):
        for x in range(row_ptr[cols[e]], row_ptr[cols[e] + 1]):
            j = rows[x]
            if count[j] == 0:
                touched[n_touched] = j
                n_touched += 1
            count[j] += 1
    return n_touched
