"""A sparse graph of affinities, from how often components are active together.

The affinity of two components is their normalised pointwise mutual information (Bouma 2009), log(c N / (a b)) /
log(N / c), active on a and b of N samples and on c together: 1 where they are always active together, 0 where they are
as often as chance would have it, whatever their rates. Affinities are whole numbers of 2^-30, so that sums of them are
exact in any order.
"""

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel

UNIT = 1 << 30
"""Weight of the affinity 1."""


@kernel()
def add_to_columns(first, row_ptr, rows, place, cols):
    """Append the rows first, first + 1, ..., which begin at row_ptr in `rows`, to the columns: column i's next row goes
    to cols[place[i]], and `place` is moved on. All rows in order give each column ascending."""
    for t in range(len(row_ptr) - 1):
        for e in range(row_ptr[t], row_ptr[t + 1]):
            i = rows[e]
            cols[place[i]] = first + t
            place[i] += 1


@kernel(nogil=True)
def clumping(col_ptr, cols, n_samples, max_lag, first, last, factor):
    """factor (n,), of components first .. last - 1: how many successive samples count as one, for two components that
    clump as this one does.

    1 + 2 sum of the squared autocorrelations up to max_lag: by so much the variance of the number of joint activations
    of two independent series is larger than without autocorrelation (Bartlett 1935).
    """
    for i in range(first, last):
        end, n_active = col_ptr[i + 1], col_ptr[i + 1] - col_ptr[i]
        count = np.zeros(max_lag + 1)
        for e in range(col_ptr[i], end):
            x = e + 1
            while x < end and cols[x] - cols[e] <= max_lag:
                count[cols[x] - cols[e]] += 1
                x += 1
        total, rate = 1.0, n_active / n_samples
        for lag in range(1, max_lag + 1):
            if 0 < rate < 1:
                correlation = (count[lag] / n_active - rate) / (1 - rate)
                total += 2 * max(correlation, 0.0) ** 2
        factor[i] = total


@helper(inline="always")
def affinity(c, a, b, n, min_nats):
    """Normalised pointwise mutual information; 0 where the pair is no more than chance by min_nats of evidence, the
    log likelihood ratio of a Poisson count (c instead of a b / n)."""
    expected = a * b / n
    more = c - expected
    if more <= 0 or more * more < min_nats * expected:  # the evidence is at most more^2 / expected: log x <= x - 1
        return 0.0
    ratio = np.log(c / expected)
    if c * ratio - more < min_nats:
        return 0.0
    return ratio / np.log(n / c) if c < n else 0.0


@kernel(nogil=True)
def weigh(high, low, count, sizes, n_samples, min_nats, weight, first, last):
    """weight (n_pairs,) int32 out, for the pairs first .. last - 1: the affinity of components high and low, active on
    `count` samples together and on sizes[...] each; 0 where there is none."""
    for x in range(first, last):
        a, b = float(sizes[high[x]]), float(sizes[low[x]])
        value = affinity(float(count[x]), a, b, n_samples, min_nats)
        weight[x] = max(round(value * UNIT), 1) if value > 0 else 0


@kernel()
def both_ways(high, low, weight, place, indices, weights):
    """Write pairs into a graph, each in both directions; place: (n,) where each component's next edge goes."""
    for x in range(len(high)):
        i, j = high[x], low[x]
        indices[place[i]], weights[place[i]] = j, weight[x]
        indices[place[j]], weights[place[j]] = i, weight[x]
        place[i] += 1
        place[j] += 1
