"""The tree whose nodes may be groups: average linkage of normalised pointwise mutual information on a sparse graph."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from spd.clustering.groups.columns import Columns, n_threads
from spd.clustering.groups.kernels.graph import BINS, UNIT, count_edges, fill_edges
from spd.clustering.groups.kernels.tree import average_linkage

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, the steps done and the steps in all."""

MAX_EDGES = 100_000_000
"""Entries of the graph that are kept at most, 12 bytes each: the largest affinities."""
BLOCK = 2048
"""Components that are counted between two reports of progress."""


@dataclass(frozen=True, eq=False)
class Tree:
    """Joins in an order in which parts come before wholes; a forest where some components have nothing in common.

    Attributes:
        merges: (m, 2) least components of the two groups joined, the smaller first.
        heights: (m,) their mean affinity in 0 .. 1.
    """

    merges: Int64[np.ndarray, "m 2"]
    heights: Float64[np.ndarray, "m"]


def affinity_tree(columns: Columns, progress: Progress, max_edges: int = MAX_EDGES) -> Tree:
    """Average linkage; memory O(n + edges), no n x n matrix."""
    n = columns.n
    if n < 2:
        return Tree(np.zeros((0, 2), np.int64), np.zeros(0))
    indptr, indices, weights = _graph(columns, progress, max_edges)
    merges, heights = np.empty((n - 1, 2), np.int64), np.empty(n - 1)
    n_merges = average_linkage(indptr, indices, weights, merges, heights)
    return Tree(merges[:n_merges], heights[:n_merges] / UNIT)


def _graph(columns: Columns, progress: Progress, max_edges: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The graph of affinities that log2 n bits of evidence support, the largest where there are more than max_edges."""
    n = columns.n
    scratch = np.zeros((n_threads(), 2, n), np.int32)
    data = (columns.indptr, columns.rows, columns.col_ptr, columns.cols)
    min_bits = float(np.log2(n))
    histogram = np.zeros((n, BINS), np.int32)
    for first in range(0, n, BLOCK):
        last = min(first + BLOCK, n)
        count_edges(*data, first, last, min_bits, scratch, histogram[first:last])
        progress("counting what is active together", last, 2 * n)
    at_least = histogram.sum(axis=0, dtype=np.int64)[::-1].cumsum()[::-1]
    min_bin = int(np.argmax(at_least <= max_edges)) if at_least[-1] <= max_edges else BINS - 1
    indptr = np.concatenate([[0], np.cumsum(histogram[:, min_bin:].sum(axis=1, dtype=np.int64))])
    del histogram
    indices, weights = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.int64)
    for first in range(0, n, BLOCK):
        last = min(first + BLOCK, n)
        fill_edges(*data, first, last, min_bits, min_bin, scratch, indptr, indices, weights)
        progress("counting what is active together", n + last, 2 * n)
    return indptr, indices, weights
