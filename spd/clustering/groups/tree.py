"""The tree whose nodes may be groups: average linkage of normalised pointwise mutual information on a sparse graph."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float64, Int64

from spd.clustering.groups.columns import Columns
from spd.clustering.groups.kernels.graph import UNIT, both_ways, weigh
from spd.clustering.groups.kernels.tree import average_linkage
from spd.clustering.groups.pairs import Pairs, pairs_together
from spd.clustering.math.workers import Workers

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, the steps done and the steps in all."""

MAX_EDGES = 100_000_000
"""Entries of the graph that are kept at most, 12 bytes each: the largest affinities."""
SLACK = 1.25
"""So many times more pairs are held before the smallest affinities are dropped."""
BINS = 256
"""Bins of affinities, where the largest are to be kept."""
_PART = 1 << 16
"""Pairs whose affinity one thread works out at a time."""


@dataclass(frozen=True, eq=False)
class Tree:
    """Joins in an order in which parts come before wholes; a forest where some components have nothing in common.

    Attributes:
        merges: (m, 2) least components of the two groups joined, the smaller first.
        heights: (m,) their mean affinity in 0 .. 1.
    """

    merges: Int64[np.ndarray, "m 2"]
    heights: Float64[np.ndarray, "m"]


def affinity_tree(columns: Columns, workers: Workers, progress: Progress, max_edges: int = MAX_EDGES) -> Tree:
    """Average linkage; memory O(n + edges), no n x n matrix."""
    n = columns.n
    if n < 2:
        return Tree(np.zeros((0, 2), np.int64), np.zeros(0))
    indptr, indices, weights = affinity_graph(columns, workers, progress, max_edges)
    merges, heights = np.empty((n - 1, 2), np.int64), np.empty(n - 1)
    n_merges = average_linkage(indptr, indices, weights, merges, heights)
    return Tree(merges[:n_merges], heights[:n_merges] / UNIT)


def affinity_graph(
    columns: Columns, workers: Workers, progress: Progress, max_edges: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The graph of affinities that log2 n bits of evidence support, the largest where there are more than max_edges."""
    n = columns.n
    parts, histogram, n_kept, min_bin = [], np.zeros(BINS, np.int64), 0, 0
    for high, low, weight in _affinities(columns, workers, progress):
        bins = _bins(weight)
        histogram += np.bincount(bins, minlength=BINS)
        parts.append(_select(high, low, weight, bins >= min_bin))
        n_kept += len(parts[-1][0])
        if n_kept > SLACK * max_edges / 2:  # the bound only rises: what is dropped now would be dropped in the end
            min_bin = _least_bin(histogram, max_edges // 2)
            parts = [_select(*part, _bins(part[2]) >= min_bin) for part in parts]
            n_kept = sum(len(part[0]) for part in parts)
    min_bin = _least_bin(histogram, max_edges // 2)
    parts = [_select(*part, _bins(part[2]) >= min_bin) for part in parts]
    degree = np.zeros(n, np.int64)
    for high, low, _ in parts:
        degree += np.bincount(high, minlength=n) + np.bincount(low, minlength=n)
    indptr = np.concatenate([[0], np.cumsum(degree)])
    indices, weights, place = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.int64), indptr[:-1].copy()
    for high, low, weight in parts:
        both_ways(high, low, weight, place, indices, weights)
    return indptr, indices, weights


def _affinities(columns: Columns, workers: Workers, progress: Progress) -> Iterator[Pairs]:
    """Blocks of (higher component, lower component, weight), one entry a pair with an affinity."""
    sizes, setting = columns.counts, (float(columns.n_samples), float(np.log(columns.n)))

    def report(done: int) -> None:
        progress("counting what is active together", done, columns.n)

    for pairs in pairs_together(columns, workers, report):
        weight = np.empty(len(pairs[0]), np.int32)
        workers(partial(weigh, *pairs, sizes, *setting, weight), len(weight), _PART)
        yield _select(pairs[0], pairs[1], weight, weight > 0)


def _select(high: np.ndarray, low: np.ndarray, weight: np.ndarray, keep: np.ndarray) -> Pairs:
    return (high, low, weight) if keep.all() else (high[keep], low[keep], weight[keep])


def _bins(weight: np.ndarray) -> np.ndarray:
    return np.minimum(weight // (UNIT // BINS), BINS - 1)


def _least_bin(histogram: np.ndarray, max_pairs: int) -> int:
    """The first bin from which on there are at most max_pairs, the last where even that holds more."""
    at_least = histogram[::-1].cumsum()[::-1]
    return int(np.argmax(at_least <= max_pairs)) if at_least[-1] <= max_pairs else BINS - 1
