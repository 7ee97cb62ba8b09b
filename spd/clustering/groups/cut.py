"""Which nodes of a tree are groups: going up, a node is one when both its parts are and they are one."""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import xlog1py, xlogy

from spd.clustering.groups.columns import Columns
from spd.clustering.groups.kernels.join import join_wave, lay_out
from spd.clustering.groups.tree import Progress, Tree
from spd.clustering.math.workers import Workers

PER_REPORT = 4096
"""Joins of a wave that are decided between two reports of progress."""


@dataclass(frozen=True, eq=False)
class TreeCut:
    """The decisions along a tree.

    Attributes:
        reason: (m,) why each join was made (kernels/join.PAIR ...), 0 where it was not.
        share: (m,) Theil's coefficient of the two firings; 0 where a part was no group already.
        group_of: (n,) least component of each component's group.
        rate: (n,) rate of firing of the group whose least component this is.
        p, q: (n,) probability that a component is active when its group fires, and when not.
    """

    reason: Int64[np.ndarray, "m"]
    share: Float64[np.ndarray, "m"]
    group_of: Int64[np.ndarray, "n"]
    rate: Float64[np.ndarray, "n"]
    p: Float64[np.ndarray, "n"]
    q: Float64[np.ndarray, "n"]


def cut_tree(columns: Columns, tree: Tree, workers: Workers, progress: Progress) -> TreeCut:
    """Decide every join, wave by wave."""
    n, merges = columns.n, np.ascontiguousarray(tree.merges)
    m = len(merges)
    leaves, bounds, wave = np.empty(n, np.int64), np.empty((m, 3), np.int64), np.empty(m, np.int64)
    n_waves = lay_out(merges, n, leaves, bounds, wave)
    s = columns.counts / columns.n_samples
    state = np.stack([np.ones(n), s, columns.n_samples * (xlogy(s, s) + xlog1py(1 - s, -s))], axis=1)
    p, q = np.ones(n), np.zeros(n)
    marks = np.zeros((workers.n_threads, columns.n_samples), np.int32)
    reason, share = np.zeros(m, np.int64), np.zeros(m)
    order = np.argsort(wave, kind="stable")
    starts = np.searchsorted(wave[order], np.arange(n_waves + 1))
    entry_ptr = np.concatenate([[0], np.cumsum(columns.counts[leaves])])
    entries = entry_ptr[bounds[:, 2]] - entry_ptr[bounds[:, 0]]
    layout = (columns.col_ptr, columns.cols, columns.n_samples, leaves, bounds, merges)

    def decide(joins: np.ndarray) -> None:
        workers.with_scratch(
            lambda mark, first, last: join_wave(
                *layout, joins[first:last], columns.clumps, state, p, q, mark, reason, share
            ),
            marks,
            len(joins),
            int(entries[joins].sum()),
        )

    for first, last in itertools.pairwise(starts.tolist()):
        for start in range(first, last, PER_REPORT):
            stop = min(start + PER_REPORT, last)
            decide(order[start:stop])
            progress("joining groups", stop, m)
    group_of = np.arange(n)
    for (a, b), t in zip(merges[::-1].tolist(), range(m - 1, -1, -1), strict=True):
        if reason[t]:
            group_of[b] = group_of[a]
    return TreeCut(reason, share, group_of, state[:, 1].copy(), p, q)
