"""What is known of the groups found: rates, firings, what each tells of its members, other groups, and nesting."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from spd.clustering.groups.columns import Columns, active_counts, number_type
from spd.clustering.groups.cut import TreeCut
from spd.clustering.groups.kernels.firing import describe_groups
from spd.clustering.groups.kernels.graph import add_to_columns
from spd.clustering.groups.kernels.join import NESTED, WITHIN
from spd.clustering.groups.pairs import Activity, pairs_together
from spd.clustering.groups.tree import Progress
from spd.clustering.math.workers import Workers

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
        firings: which groups of two or more fire on which samples (posterior above one half).
        n_fired: (k,) on how many.
    """

    rate: Float64[np.ndarray, "k"]
    p: Float64[np.ndarray, "n"]
    q: Float64[np.ndarray, "n"]
    told: Float64[np.ndarray, "n"]
    evidence: Float64[np.ndarray, "n"]
    firings: Activity
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
    marks = np.zeros((workers.n_threads, columns.n_samples), np.int32)
    n_fired = np.zeros(k, np.int64)
    firings: list[np.ndarray] = []
    data = (columns.col_ptr, columns.cols, columns.n_samples, members, group_ptr)

    def fit_once_more(first: int, last: int) -> None:
        places = entry_ptr - entry_ptr[first]
        fired = np.empty(int(places[last]), np.int32)
        workers.with_scratch(
            lambda mark, begin, end: describe_groups(
                *data, places, np.arange(first + begin, first + end), p, q, mark, rate, fired, n_fired, told, evidence
            ),
            marks,
            last - first,
            len(fired),
        )
        firings.extend(fired[places[g] : places[g] + n_fired[g]].copy() for g in range(first, last))

    first = 0
    while first < n_large:
        last = max(
            int(np.searchsorted(entry_ptr[: n_large + 1], entry_ptr[first] + MAX_ENTRIES, "right")) - 1, first + 1
        )
        fit_once_more(first, last)
        progress("fitting groups", last, n_large)
        first = last
    about_firing = _by_sample(columns.n_samples, firings)
    n_fired[n_large:] = columns.counts[members[group_ptr[n_large:-1]]]
    return Description(rate, p, q, told, evidence, about_firing, n_fired)


def _by_sample(n_samples: int, fired: list[np.ndarray]) -> Activity:
    """Which groups fire on which samples, from the samples on which each fires, in any order; takes them out of the
    list, so that they are not there twice."""
    lengths = np.array([len(samples) for samples in fired], np.int64)
    col_ptr = np.concatenate([[0], np.cumsum(lengths)])
    cols = np.empty(col_ptr[-1], np.int32)
    for g in range(len(lengths) - 1, -1, -1):
        cols[col_ptr[g] : col_ptr[g + 1]] = fired.pop()
    row_ptr = np.concatenate([[0], np.cumsum(active_counts(cols, n_samples))])
    rows = np.empty(len(cols), number_type(len(lengths)))
    add_to_columns(0, col_ptr, cols, row_ptr[:-1].copy(), rows)
    add_to_columns(0, row_ptr, rows, col_ptr[:-1].copy(), cols)
    return Activity(row_ptr, rows, col_ptr, cols)


def nested_groups(about: Description, workers: Workers) -> list[tuple[int, int, float]]:
    """(inner, outer, share of the outer's firings that are the inner's): groups of two or more, where at least the
    share WITHIN of the inner group's firings lie within the outer's and they are fewer than the share NESTED of these;
    for each inner group only the smallest outer one."""
    fired, n_samples = about.n_fired, about.firings.n_samples
    found = [np.empty((3, 0), np.int64)]
    for high, low, both in pairs_together(about.firings, workers):
        for inner, outer in ((high, low), (low, high)):
            is_inside = (both >= WITHIN * fired[inner]) & (both < NESTED * fired[outer])
            is_inside &= both >= 2 * fired[inner] * (fired[outer] / n_samples)  # twice what is expected by chance
            found.append(np.stack([inner, outer, both])[:, is_inside])
    inner, outer, joint = np.concatenate(found, axis=1)
    order = np.lexsort((outer, fired[outer], inner))
    inner, outer, joint = inner[order], outer[order], joint[order]
    is_first = np.diff(inner, prepend=-1) > 0
    return [
        (int(i), int(o), float(c / fired[o]))
        for i, o, c in zip(inner[is_first], outer[is_first], joint[is_first], strict=True)
    ]
