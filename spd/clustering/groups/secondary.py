"""Other groups that a component fires with."""

from functools import partial

import numpy as np
from jaxtyping import Float64, Int32, Int64

from spd.clustering.groups.columns import Columns
from spd.clustering.groups.describe import Description
from spd.clustering.groups.kernels.secondary import choose_others, count_firings
from spd.clustering.groups.pairs import Activity
from spd.clustering.math.sample_blocks import BLOCK_ENTRIES
from spd.clustering.math.sparse_rows import row_chunks
from spd.clustering.math.workers import Workers

MIN_SHARES = (0.05, 0.1)
"""Shares of a component's activity, and of a group's firings, from which on the group is a secondary membership."""
N_BINS = 16
"""Bins of the number of groups that fire on a sample, about as many samples in each."""
SLOTS = 8
"""Secondary memberships of a component at most: those with the largest shares."""
MAX_COUNTS = 1 << 25
"""Pairs of a component and a group that are counted at once, 8 bytes each."""


def secondary_memberships(
    columns: Columns, group_of: Int64[np.ndarray, "n"], about: Description, workers: Workers
) -> list[tuple[int, int, float]]:
    """(component, group, share of the component's activity) where another group of two or more fires, beyond chance, on
    samples on which the component is active and its own group does not fire; by component, the largest share first."""
    n, k, firings = columns.n, about.firings.n, about.firings
    if not len(firings.rows):
        return []
    own = np.where(group_of < k, group_of, -1)
    found, share = np.full((n, SLOTS), -1, np.int64), np.zeros((n, SLOTS))
    chance = (about.n_fired[:k] / columns.n_samples, *_rates_by_number(firings))
    needed = 2 * np.log2(max(len(about.rate), 2)) * columns.clumps * np.log(2)
    data = (firings.row_ptr, firings.rows, own, *chance, columns.col_ptr, columns.cols, needed, MIN_SHARES)
    step = max(1, MAX_COUNTS // k)
    for first in range(0, n, step):
        last = min(first + step, n)
        counts, part = _count(columns, own, firings, first, last, workers), workers.part_of_rows(last - first)
        workers(partial(choose_others, *data, first, counts, found, share), last - first, part)
    return [(int(i), int(found[i, x]), float(share[i, x])) for i, x in zip(*np.nonzero(found >= 0), strict=True)]


def _count(
    columns: Columns, own: np.ndarray, firings: Activity, first: int, last: int, workers: Workers
) -> Int32[np.ndarray, "2 some k"]:
    """See kernels/secondary.count_firings; samples in blocks whose firings stay in the processor's cache."""
    counts = np.zeros((2, last - first, firings.n), np.int32)
    data = (firings.row_ptr, firings.rows, firings.col_ptr, firings.cols, own, columns.cols)
    places, ends, part = columns.col_ptr[:-1].copy(), columns.col_ptr[1:], workers.part_of_rows(last - first)
    step = max(1, columns.n_samples // (1 + len(firings.rows) // BLOCK_ENTRIES))
    for begin in range(0, columns.n_samples, step):
        until = min(begin + step, columns.n_samples)
        workers(partial(count_firings, *data, places, ends, until, first, counts), last - first, part)
    return counts


def _rates_by_number(firings: Activity) -> tuple[Int64[np.ndarray, "m"], Float64[np.ndarray, "k bins"]]:
    """(bin of each number of groups on a sample; share of the samples on which a group fires, by the bin of the number
    of other groups that fire there)."""
    number = np.diff(firings.row_ptr)
    edges = np.unique(np.quantile(number, np.linspace(0, 1, N_BINS + 1)[1:-1]))
    bin_of = np.searchsorted(edges, np.arange(int(number.max()) + 1), "right")
    shape = firings.n, len(edges) + 1
    fired, fired_too = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for first, last in row_chunks(firings.row_ptr):
        groups = firings.rows[firings.row_ptr[first] : firings.row_ptr[last]].astype(np.int64) * shape[1]
        together = np.repeat(number[first:last], number[first:last])
        fired += np.bincount(groups + bin_of[together - 1], minlength=fired.size).reshape(shape)
        fired_too += np.bincount(groups + bin_of[together], minlength=fired.size).reshape(shape)
    elsewhere = np.bincount(bin_of[number], minlength=shape[1]) - fired_too
    return bin_of, fired / np.maximum(fired + elsewhere, 1)
