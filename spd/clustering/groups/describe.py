"""What is known of the groups found: rates, firings, what each tells of its members, other groups, and nesting."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32, Int64

from spd.clustering.groups.columns import Columns
from spd.clustering.groups.cut import TreeCut
from spd.clustering.groups.kernels.firing import describe_groups, other_groups
from spd.clustering.groups.kernels.join import NESTED, WITHIN
from spd.clustering.groups.tree import Progress
from spd.clustering.math.sparse_rows import row_chunks
from spd.clustering.math.workers import Workers

MIN_SECONDARY = (0.05, 0.1)
"""Shares of a component's activity, and of a group's firings, from which on the group is a secondary membership."""
N_BINS = 16
"""Bins of the number of groups that fire on a sample, about as many samples in each."""
SLOTS = 8
"""Secondary memberships of a component at most: those with the largest shares."""
MAX_ENTRIES = 20_000_000
"""Entries of groups that are fitted between two reports of progress."""


@dataclass(frozen=True, eq=False)
class Description:
    """Groups are numbered as in `numbered`.

    Attributes:
        rate: (k,) share of the samples on which each group fires.
        p, q: (n,) probability that a component is active when its group fires, and when not.
        told: (n,) Theil's coefficient of a component and its group's firing as the others show it; 0 where alone.
        evidence: (n,) the evidence for that in bits; 0 where alone.
        fire_ptr, fires: the groups of two or more that fire on each sample (posterior above one half).
        n_fired: (k,) on how many.
    """

    rate: Float64[np.ndarray, "k"]
    p: Float64[np.ndarray, "n"]
    q: Float64[np.ndarray, "n"]
    told: Float64[np.ndarray, "n"]
    evidence: Float64[np.ndarray, "n"]
    fire_ptr: Int64[np.ndarray, "n_samples_plus_1"]
    fires: Int32[np.ndarray, "n_firings"]
    n_fired: Int64[np.ndarray, "k"]


def numbered(group_of: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """Groups 0 .. k - 1 by size, the largest 0, ties by their first component; group_of holds any names."""
    _, first, group, size = np.unique(group_of, return_index=True, return_inverse=True, return_counts=True)
    place = np.empty(len(size), np.int64)
    place[np.lexsort((first, -size))] = np.arange(len(size))
    return place[group]


def describe(
    columns: Columns, cut: TreeCut, group_of: Int64[np.ndarray, "n"], workers: Workers, progress: Progress
) -> Description:
    """Fit every group of two or more once more, to the end."""
    n, k = columns.n, int(group_of.max(initial=-1)) + 1
    members = np.argsort(group_of, kind="stable")
    group_ptr = np.concatenate([[0], np.cumsum(np.bincount(group_of, minlength=k))])
    entry_ptr = np.concatenate([[0], np.cumsum(columns.counts[members])])[group_ptr]
    n_large = int((np.diff(group_ptr) > 1).sum())  # groups are numbered by size
    rate = cut.rate[members[group_ptr[:-1]]] if k else np.zeros(0)
    p, q, told, evidence = cut.p.copy(), cut.q.copy(), np.zeros(n), np.zeros(n)
    marks, n_fired = np.zeros((workers.n_threads, columns.n_samples), np.int32), np.zeros(k, np.int64)
    data = (columns.col_ptr, columns.cols, columns.n_samples, members, group_ptr)

    def fit_once_more(first: int, last: int) -> Int32[np.ndarray, "n_firings"]:
        """The samples on which each of these groups fires, one group after the other."""
        starts = entry_ptr - entry_ptr[first]
        fired = np.empty(int(starts[last]), np.int32)
        workers.with_scratch(
            lambda mark, a, b: describe_groups(
                *data, starts, np.arange(first + a, first + b), p, q, mark, rate, fired, n_fired, told, evidence
            ),
            marks,
            last - first,
            len(fired),
        )
        return np.concatenate([fired[starts[g] : starts[g] + n_fired[g]] for g in range(first, last)])

    first, fired = 0, {}
    while first < n_large:
        last = max(
            int(np.searchsorted(entry_ptr[: n_large + 1], entry_ptr[first] + MAX_ENTRIES, "right")) - 1, first + 1
        )
        fired[first] = fit_once_more(first, last)
        progress("fitting groups", last, n_large)
        first = last
    fire_ptr, fires = _by_sample(columns.n_samples, fired, n_fired[:n_large])
    n_fired[n_large:] = columns.counts[members[group_ptr[n_large:-1]]]
    return Description(rate, p, q, told, evidence, fire_ptr, fires, n_fired)


def _by_sample(n_samples: int, fired: dict[int, np.ndarray], lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The groups that fire on each sample.

    Args:
        fired: by the first of several groups: the samples on which they fire, group after group.
        lengths: (n_groups,) on how many each does.
    """
    counts = np.zeros(n_samples, np.int64)
    for samples in fired.values():
        counts += np.bincount(samples, minlength=n_samples)
    fire_ptr = np.concatenate([[0], np.cumsum(counts)])
    place, fires = fire_ptr[:-1].copy(), np.empty(fire_ptr[-1], np.int32)
    for group, samples in fired.items():
        begin = 0
        while begin < len(samples):
            own = samples[begin : begin + lengths[group]]
            fires[place[own]] = group
            place[own] += 1  # a group fires on a sample once
            begin, group = begin + len(own), group + 1
    return fire_ptr, fires


def secondary_memberships(
    columns: Columns, group_of: Int64[np.ndarray, "n"], about: Description, workers: Workers
) -> list[tuple[int, int, float]]:
    """(component, group, share of the component's activity) where another group of two or more fires, beyond chance, on
    samples on which the component is active and its own group does not fire; by component, the largest share first."""
    n, k = columns.n, len(about.rate)
    if not len(about.fires):
        return []
    sizes = np.bincount(group_of, minlength=k)
    own = np.where(sizes[group_of] > 1, group_of, -1)
    found, share = np.full((n, SLOTS), -1, np.int64), np.zeros((n, SLOTS))
    fired_rate = about.n_fired / columns.n_samples
    data = (columns.col_ptr, columns.cols, own, about.fire_ptr, about.fires, fired_rate, *_rates_by_number(about))
    limits = (float(2 * np.log2(max(k, 2))), MIN_SECONDARY)
    workers.with_scratch(
        lambda scratch, first, last: other_groups(*data, columns.clumps, scratch, *limits, first, last, found, share),
        np.zeros((workers.n_threads, 3, k), np.int32),
        n,
        len(columns.cols),
    )
    return [(int(i), int(found[i, x]), float(share[i, x])) for i, x in zip(*np.nonzero(found >= 0), strict=True)]


def _rates_by_number(about: Description) -> tuple[Int64[np.ndarray, "m"], Float64[np.ndarray, "k bins"]]:
    """(bin of each number of groups on a sample; share of the samples on which a group fires, by the bin of the number
    of other groups that fire there)."""
    number, k = np.diff(about.fire_ptr), len(about.rate)
    edges = np.unique(np.quantile(number, np.linspace(0, 1, N_BINS + 1)[1:-1]))
    bin_of = np.searchsorted(edges, np.arange(int(number.max()) + 1), "right")
    n_bins = len(edges) + 1
    among, at = np.zeros((2, k * n_bins), np.int64)
    for first, last in row_chunks(about.fire_ptr):
        groups = about.fires[about.fire_ptr[first] : about.fire_ptr[last]].astype(np.int64) * n_bins
        own = np.repeat(number[first:last], number[first:last])
        among += np.bincount(groups + bin_of[own - 1], minlength=k * n_bins)
        at += np.bincount(groups + bin_of[own], minlength=k * n_bins)
    fired = among.reshape(k, n_bins)
    elsewhere = np.bincount(bin_of[number], minlength=n_bins) - at.reshape(k, n_bins)
    return bin_of, fired / np.maximum(fired + elsewhere, 1)


def nested_groups(about: Description) -> list[tuple[int, int, float]]:
    """(inner, outer, share of the outer's firings that are the inner's): groups of two or more, where at least the
    share WITHIN of the inner group's firings lie within the outer's and they are fewer than the share NESTED of these;
    for each inner group only the smallest outer one."""
    from scipy.sparse import csr_array

    n_samples, n_large = len(about.fire_ptr) - 1, int(about.fires.max(initial=-1)) + 1
    both = csr_array((n_large, n_large), dtype=np.int32)
    for first, last in row_chunks(about.fire_ptr):
        starts = about.fire_ptr[first : last + 1]
        fires = about.fires[starts[0] : starts[-1]]
        shape = (last - first, n_large)
        firing = csr_array((np.ones(len(fires), np.int32), fires, starts - starts[0]), shape=shape)
        both += firing.T @ firing
    both = both.tocoo()
    inner, outer = both.coords
    fired = about.n_fired
    is_inside = (inner != outer) & (both.data >= WITHIN * fired[inner]) & (both.data < NESTED * fired[outer])
    chance = fired[inner] * (fired[outer] / n_samples)
    is_inside &= both.data >= 2 * chance
    inner, outer, joint = inner[is_inside], outer[is_inside], both.data[is_inside]
    order = np.lexsort((outer, fired[outer], inner))
    inner, outer, joint = inner[order], outer[order], joint[order]
    is_first = np.diff(inner, prepend=-1) > 0
    return [
        (int(i), int(o), float(c / fired[o]))
        for i, o, c in zip(inner[is_first], outer[is_first], joint[is_first], strict=True)
    ]
