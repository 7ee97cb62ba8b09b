"""A path of merges in its three forms, and the ways between them.

A path starts with n components, each a group of its own, and merges two groups at a time. The merged group takes the
smaller of the two indices and the indices above the larger one move down by one. It follows by induction that the
groups are always numbered in the order of their least components. So

1. `selected_pairs` (T, 2): indices of the two groups just before each merge,
2. `component_merges` (T, 2): the least components (kept, absorbed) of the two groups, kept < absorbed,
3. `group_idxs` (T, n): the group of each component after each merge,

hold the same. The first two are short and are what is kept; the third is derived, one O(n) pass an iteration: a
component that is still the least of its group opens the next index, any other has the index of the (smaller)
component that took it in.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from spd.clustering.math.kernels import path_kernels


def smallest_int_dtype(largest: int) -> np.dtype:
    """The smallest of int16, int32 and int64 that holds 0 .. largest."""
    for dtype in (np.int16, np.int32):
        if largest <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.int64)


def pairs_to_component_merges(selected_pairs: np.ndarray, n_components: int) -> Int[np.ndarray, "n_iters 2"]:
    """(kept, absorbed) least components of each merge, from group indices just before it (in either order).

    O(T log n).

    Args:
        selected_pairs: (n_iters, 2) integers.
        n_components: how many there are.

    Raises:
        ValueError: not such an array; a merge names a group that does not exist at that point, or the same one twice.
    """
    pairs = _as_merges(selected_pairs, n_components, "selected_pairs")
    merges = np.empty(pairs.shape, np.int64)
    wrong = path_kernels.pairs_to_components(pairs, n_components, merges)
    if wrong >= 0:
        raise ValueError(
            f"merge {wrong} is of groups {pairs[wrong, 0]} and {pairs[wrong, 1]}, "
            f"expected two different groups of 0 .. {n_components - wrong - 1}"
        )
    return merges


def component_merges_to_pairs(
    component_merges: Int[np.ndarray, "n_iters 2"], n_components: int
) -> Int[np.ndarray, "n_iters 2"]:
    """Group indices (low, high) just before each merge, from the least components (kept, absorbed). O(T log n).

    Raises:
        ValueError: a merge is not of the least components of two different groups, the smaller first.
    """
    merges = _as_merges(component_merges, n_components, "component_merges")
    pairs = np.empty(merges.shape, np.int64)
    wrong = path_kernels.components_to_pairs(merges, n_components, pairs)
    if wrong >= 0:
        raise ValueError(
            f"merge {wrong} is of components {merges[wrong, 0]} and {merges[wrong, 1]}, "
            "expected the least components of two different groups, the smaller first"
        )
    return pairs


def to_first_components(members: Int[np.ndarray, "n_iters 2"], n_components: int) -> Int[np.ndarray, "n_iters 2"]:
    """(kept, absorbed) least components of each merge, from any one component of either group.

    Use: after components were renumbered, the old least ones are still members of their groups.

    Raises:
        ValueError: a component does not exist, or both are of the same group.
    """
    given = _as_merges(members, n_components, "members")
    merges = np.empty(given.shape, np.int64)
    wrong = path_kernels.least_components(given, n_components, merges)
    if wrong >= 0:
        raise ValueError(
            f"merge {wrong} is of components {given[wrong, 0]} and {given[wrong, 1]}, "
            f"expected components 0 .. {n_components - 1} of two different groups"
        )
    return merges


def group_idxs_at(
    component_merges: Int[np.ndarray, "n_iters 2"],
    n_components: int,
    iterations: Sequence[int] | Int[np.ndarray, "rows"],
    dtype: np.dtype | None = None,
) -> Int[np.ndarray, "rows n_components"]:
    """The partition after each of the merges `iterations` (in any order; -1: before the first merge).

    O(n) for each of them. The array is of the smallest type of `smallest_int_dtype` unless `dtype` is given.

    Raises:
        ValueError: an iteration is not among -1 .. T - 1.
    """
    merges = _as_merges(component_merges, n_components, "component_merges")
    wanted = np.asarray(iterations, np.int64)
    outside = wanted[(wanted < -1) | (wanted >= len(merges))]
    if outside.size:
        raise ValueError(f"iteration {outside[0]} does not exist, there are {len(merges)} merges")
    absorbed_at = np.full(n_components, len(merges), np.int64)
    into = np.arange(n_components)
    absorbed_at[merges[:, 1]] = np.arange(len(merges))
    into[merges[:, 1]] = merges[:, 0]
    groups = np.empty((len(wanted), n_components), dtype or smallest_int_dtype(n_components))
    path_kernels.groups_at_many(merges, absorbed_at, into, wanted, groups)
    return groups


def sizes_before_merges(
    component_merges: Int[np.ndarray, "n_iters 2"], n_components: int
) -> Int[np.ndarray, "n_iters 2"]:
    """(T, 2) numbers of components in the two groups (kept, absorbed) of each merge, just before it."""
    merges = _as_merges(component_merges, n_components, "component_merges")
    sizes = np.empty(merges.shape, np.int64)
    path_kernels.sizes_before(merges, n_components, sizes)
    return sizes


def _as_merges(array: np.ndarray, n_components: int, name: str) -> np.ndarray:
    merges = np.asarray(array)
    if merges.size == 0:
        return np.zeros((0, 2), np.int64)
    if merges.ndim != 2 or merges.shape[1] != 2 or merges.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers of shape (n_iters, 2), got {merges.dtype} of shape {merges.shape}")
    if len(merges) >= max(n_components, 1):
        raise ValueError(
            f"{name}: {n_components} components allow at most {max(n_components - 1, 0)} merges, got {len(merges)}"
        )
    return np.ascontiguousarray(merges, np.int64)
