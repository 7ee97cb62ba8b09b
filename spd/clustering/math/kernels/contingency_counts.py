"""Sums over the contingency table of two partitions, kept up to date from merge to merge.

Everything that compares two partitions by counting (pair_disagreement, Rand, variation of information, mutual
information) is a function of six sums: C(a_i, 2) and a_i log a_i over the groups of A, the same of B, and
C(n_ij, 2) and n_ij log n_ij over the cells.
"""

import numpy as np

from spd.clustering.math.kernels.contingency_table import from_labels, merge_groups, singletons
from spd.clustering.math.kernels.jit import helper, kernel


@kernel(nogil=True)
def x_log_x_table(n):
    """(n + 1,) x log x in nats, 0 at 0."""
    table = np.zeros(n + 1)
    for x in range(2, n + 1):
        table[x] = x * np.log(x)
    return table


@kernel(nogil=True)
def sums_of_merges(big_a, small_a, start_a, big_b, small_b, start_b, ends_a, ends_b, x_log_x):
    """The sums after ends_a[t] merges in A and ends_b[t] in B (both ascending).

    Returns pairs (T, 3) int64 and entropies (T, 3) float64, columns A, B, and cells.
    """
    n = start_a.size
    rows, columns = singletons(start_a, start_b), singletons(start_b, start_a)
    cell_of = np.full(n, -1)
    pairs = np.zeros((ends_a.size, 3), np.int64)
    entropies = np.zeros((ends_a.size, 3))
    now_pairs = np.zeros(3, np.int64)
    now_entropies = np.zeros(3)
    done_a = done_b = 0
    for t in range(ends_a.size):
        for s in range(done_a, ends_a[t]):
            _add_merge(rows, columns, big_a[s], small_a[s], cell_of, x_log_x, now_pairs, now_entropies, 0)
        for s in range(done_b, ends_b[t]):
            _add_merge(columns, rows, big_b[s], small_b[s], cell_of, x_log_x, now_pairs, now_entropies, 1)
        done_a, done_b = ends_a[t], ends_b[t]
        for which in range(3):  # an array put into another would be checked, with much more to compile
            pairs[t, which], entropies[t, which] = now_pairs[which], now_entropies[which]
    return pairs, entropies


@helper()
def _add_merge(side, opposite, big, small, cell_of, x_log_x, pairs, entropies, which):
    first, second = side.size[big], side.size[small]
    pairs[which] += first * second
    entropies[which] += x_log_x[first + second] - x_log_x[first] - x_log_x[second]
    more_pairs, more_information = merge_groups(side, opposite, big, small, cell_of, x_log_x)
    pairs[2] += more_pairs
    entropies[2] += more_information


@kernel(nogil=True)
def sums_of_labels(labels_a, labels_b, k_a, k_b, x_log_x):
    """The same sums, (3,) and (3,), for two partitions given by labels 0 .. k-1."""
    rows, columns = from_labels(labels_a, labels_b, k_a, k_b)
    pairs = np.zeros(3, np.int64)
    entropies = np.zeros(3)
    for which, sizes in enumerate((rows.size, columns.size)):
        for size in sizes:
            pairs[which] += size * (size - 1) // 2
            entropies[which] += x_log_x[size]
    for row in range(k_a):
        for cell in range(rows.start[row], rows.start[row] + rows.length[row]):
            count = rows.shared[cell]
            pairs[2] += count * (count - 1) // 2
            entropies[2] += x_log_x[count]
    return pairs, entropies


@kernel(nogil=True)
def expected_mutual_information(sizes_a, times_a, sizes_b, times_b, n, log_factorial):
    """The mean of the mutual information (nats) of two random partitions with the given group sizes.

    sizes_*, times_*: the different group sizes of each partition and how many groups have them. Vinh, Epps and
    Bailey 2010, equation 24a: sum over i, j and n_ij of n_ij/N log(N n_ij / (a_i b_j)) times the hypergeometric
    probability of n_ij; groups of equal size share their term.
    """
    total = 0.0
    for i in range(sizes_a.size):
        a = sizes_a[i]
        for j in range(sizes_b.size):
            b = sizes_b[j]
            fixed = log_factorial[a] + log_factorial[b] + log_factorial[n - a] + log_factorial[n - b]
            fixed -= log_factorial[n]
            part = 0.0
            for count in range(max(1, a + b - n), min(a, b) + 1):
                rest = log_factorial[a - count] + log_factorial[b - count] + log_factorial[n - a - b + count]
                probability = np.exp(fixed - rest - log_factorial[count])
                part += count * np.log(n * count / (a * b)) * probability
            total += part * times_a[i] * times_b[j]
    return total / n
