"""Distances between the members of an ensemble, at every iteration, exactly.

1. A member is a sequence of merges, so its partition changes little from one iteration to the next: the contingency
   table of a pair of members, and the best matching of their groups, are updated instead of made anew
   (`distances_from_merges`).
2. An array of labels whose rows only ever join groups holds such merges too, and is taken the same way; any other
   array is taken row by row (`compute_distances`).

Pairs of members are independent; they run in threads, as the kernels release the interpreter.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from spd.clustering.consts import DISTANCES_METHODS, DistancesArray
from spd.clustering.math import contingency
from spd.clustering.math.arrays import as_numpy
from spd.clustering.math.contingency import MergePath
from spd.clustering.math.kernels.contingency_counts import sums_of_labels, sums_of_merges
from spd.clustering.math.kernels.distance_rows import merges_of_rows
from spd.clustering.math.kernels.matching_update import matched_weight_of_labels, matched_weights_of_merges
from spd.machine import available_cores

AMI_GRID = 200
"""adjusted_mutual_info is computed at no more than this many iterations, NaN at the others."""


def compute_distances(normalized_merge_array: Any, method: str) -> DistancesArray:
    """Distances from an array of labels, at every iteration.

    Args:
        normalized_merge_array: (n_ens, n_iters, n_components) the group of each component; any integers, which may
            mean other groups in each row. Rows that only join groups of the row before are the fast case.
        method: one of `consts.DISTANCES_METHODS`.

    Returns:
        (n_iters, n_ens, n_ens), strictly lower triangle, NaN elsewhere. Similarities are stored as 1 - value.

    Raises:
        ValueError: unknown method, or not a three-dimensional array of integers.
    """
    _check_method(method)
    array = as_labels(normalized_merge_array, 3, "merge array (n_ens, n_iters, n_components)")
    n_ens, n_iters, _ = array.shape
    paths = [path_of_rows(rows) for rows in array]
    nested = [path for path in paths if path is not None]
    if len(nested) == n_ens:
        return _fill(n_ens, n_iters, lambda i, j: distances_of_paths(nested[i], nested[j], method))
    labels = [[contingency.compact_labels(row) for row in rows] for rows in array]
    grid = set(_grid(n_iters, method).tolist())

    def row_by_row(i: int, j: int) -> np.ndarray:
        return np.array(
            [distance_of_labels(labels[i][t], labels[j][t], method) if t in grid else np.nan for t in range(n_iters)]
        )

    return _fill(n_ens, n_iters, row_by_row)


def distances_from_merges(
    component_merges: Sequence[Int[np.ndarray, "_ 2"]], n_components: int, method: str
) -> DistancesArray:
    """Distances straight from merges, at every iteration that all members have.

    Args:
        component_merges: for each member (T_i, 2), one component of each of the two groups that a merge joins. A
            component that a member lacks does not occur: it stays a group of its own.
        n_components: the number of components, of all members together.
        method: one of `consts.DISTANCES_METHODS`.

    Returns:
        (min T_i, n_ens, n_ens), strictly lower triangle, NaN elsewhere; entry t is the state after merge t.
    """
    _check_method(method)
    n_iters = min((len(merges) for merges in component_merges), default=0)
    paths = [MergePath.from_merges(np.asarray(merges)[:n_iters], n_components) for merges in component_merges]
    return _fill(len(paths), n_iters, lambda i, j: distances_of_paths(paths[i], paths[j], method))


def distance_matrix(labels: Any, method: str) -> Float[np.ndarray, "n_ens n_ens"]:
    """Distances between single partitions: strictly lower triangle, NaN elsewhere.

    Raises:
        ValueError: unknown method, or rows of different lengths, or not integers.
    """
    _check_method(method)
    rows = [contingency.compact_labels(row) for row in as_labels(labels, 2, "array of labels (n_ens, n_components)")]
    return _fill(len(rows), 1, lambda i, j: np.array([distance_of_labels(rows[i], rows[j], method)]))[0]


def to_symmetric(distances: Float[np.ndarray, "*batch n_ens n_ens"]) -> Float[np.ndarray, "*batch n_ens n_ens"]:
    """Full matrices from strictly lower triangles: the upper triangle mirrored, the diagonal 0."""
    n_ens = distances.shape[-1]
    lower = np.where(np.tri(n_ens, k=-1, dtype=bool), distances, 0.0)
    return lower + np.swapaxes(lower, -1, -2)


def distances_of_paths(path_a: MergePath, path_b: MergePath, method: str) -> Float[np.ndarray, "T"]:
    """(T,) the distance of two members at each iteration."""
    n = path_a.start.size
    table = contingency.x_log_x(n)
    both = (*path_a[:3], *path_b[:3], path_a.ends, path_b.ends)
    if method in contingency.COUNT_METHODS:
        pairs, entropies = sums_of_merges(*both, table)
        return contingency.measure_from_sums(pairs, entropies, n, method)
    if method == "adjusted_mutual_info":
        values = np.full(path_a.ends.size, np.nan)
        for t in _grid(path_a.ends.size, method).tolist():
            values[t] = contingency.adjusted_mutual_info_distance(path_a.labels(t), path_b.labels(t))
        return values
    is_jaccard = method == "matching_dist"
    weights = matched_weights_of_merges(*both, is_jaccard, table)
    return _from_weights(weights, n - path_a.ends, n - path_b.ends, n, is_jaccard)


def distance_of_labels(labels_a: Int[np.ndarray, "n"], labels_b: Int[np.ndarray, "n"], method: str) -> float:
    """The distance of two partitions given by labels 0 .. k-1."""
    n = labels_a.size
    k_a, k_b = (int(labels.max(initial=-1)) + 1 for labels in (labels_a, labels_b))
    if method == "adjusted_mutual_info":
        return contingency.adjusted_mutual_info_distance(labels_a, labels_b)
    if method in contingency.COUNT_METHODS:
        pairs, entropies = sums_of_labels(labels_a, labels_b, k_a, k_b, contingency.x_log_x(n))
        return float(contingency.measure_from_sums(pairs[None], entropies[None], n, method)[0])
    is_jaccard = method == "matching_dist"
    weight = matched_weight_of_labels(labels_a, labels_b, k_a, k_b, is_jaccard)
    return float(_from_weights(np.array([weight]), np.array([k_a]), np.array([k_b]), n, is_jaccard)[0])


def path_of_rows(rows: Int[np.ndarray, "n_iters n_components"]) -> MergePath | None:
    """The merges that lead from singletons through all rows, or None where a row does more than join groups."""
    n_iters, n = rows.shape
    if rows.size and not 0 <= rows.min() <= rows.max() < 4 * n:  # the kernel keeps a table of labels
        rows = np.stack([contingency.compact_labels(row) for row in rows])
    merges = np.empty((max(n - 1, 0), 2), np.int64)
    ends = np.zeros(n_iters, np.int64)
    n_merges = merges_of_rows(np.ascontiguousarray(rows), int(rows.max(initial=-1)) + 1, merges, ends)
    return None if n_merges < 0 else MergePath.from_merges(merges[:n_merges], n, ends)


def as_labels(array: Any, ndim: int, what: str) -> Int[np.ndarray, "..."]:
    """An array of integers (16 to 64 bits, signed) of the given number of dimensions; not copied when it is one.

    Raises:
        ValueError: ragged, of another shape, or not of integers.
    """
    try:
        labels = as_numpy(array)
    except ValueError as error:
        raise ValueError(f"expected an {what}, got rows of different lengths") from error
    if labels.ndim != ndim or (labels.size and labels.dtype.kind not in "iu"):
        raise ValueError(f"expected an {what} of integers, got shape {labels.shape} of {labels.dtype}")
    is_plain = labels.dtype in (np.int16, np.int32, np.int64)
    return labels if is_plain else labels.astype(np.int64)


def _from_weights(weights: np.ndarray, k_a: np.ndarray, k_b: np.ndarray, n: int, is_jaccard: bool) -> np.ndarray:
    if not is_jaccard:
        return n - weights
    distances = np.maximum(k_a, k_b) - weights
    # Partitions that differ are at least 1 / n apart: what is nearer to 0 is what the sums were rounded by.
    return np.where(distances < 1 / (2 * max(n, 1)), 0.0, distances)


def _grid(n_iters: int, method: str) -> Int[np.ndarray, "_"]:
    if method != "adjusted_mutual_info" or n_iters <= AMI_GRID:
        return np.arange(n_iters)
    return np.unique(np.linspace(0, n_iters - 1, AMI_GRID).round().astype(np.int64))


def _fill(n_ens: int, n_iters: int, distances_of_pair: Callable[[int, int], np.ndarray]) -> DistancesArray:
    distances = np.full((n_iters, n_ens, n_ens), np.nan)
    pairs = list(combinations(range(n_ens), 2))
    if not pairs or n_iters == 0:
        return distances
    # The first pair runs alone: it compiles, or loads, the kernels.
    distances[:, pairs[0][1], pairs[0][0]] = distances_of_pair(*pairs[0])
    with ThreadPoolExecutor(available_cores()) as pool:
        for (low, high), values in zip(
            pairs[1:], pool.map(lambda pair: distances_of_pair(*pair), pairs[1:]), strict=True
        ):
            distances[:, high, low] = values
    return distances


def _check_method(method: str) -> None:
    if method not in DISTANCES_METHODS:
        raise ValueError(f"unknown distances method {method!r}, known are {', '.join(DISTANCES_METHODS)}")
