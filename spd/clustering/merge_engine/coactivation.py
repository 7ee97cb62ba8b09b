"""The coactivations of any partition, straight from the memberships."""

from typing import TYPE_CHECKING

import numpy as np

from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.memberships import Memberships, RowBlock

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def group_coactivation(memberships: Memberships, merge: GroupMerge) -> np.ndarray:
    """(k, k) float64: c_ij = sum over samples of x_i x_j for groups i and j, s_i = sum of x_i on the diagonal.

    A group's activation is the probabilistic OR of its components': 1 - prod (1 - x); for booleans, any.
    """
    coactivation = np.zeros((merge.k_groups, merge.k_groups))
    activity = np.zeros(merge.k_groups)
    for block in memberships.blocks():
        active = _group_activity(block, merge)
        coactivation += (active.T @ active).toarray()
        activity += active.sum(axis=0)
    np.fill_diagonal(coactivation, activity)
    return coactivation


def _group_activity(block: RowBlock, merge: GroupMerge) -> "csr_array":
    """(rows, k) of a block of samples."""
    from scipy.sparse import csr_array

    n_rows = len(block.indptr) - 1
    rows = np.repeat(np.arange(n_rows), np.diff(block.indptr))
    keys = rows * merge.k_groups + merge.group_idxs[block.indices]
    if block.values is None:
        keys = np.unique(keys)
        values = np.ones(len(keys))
    else:
        keys, place = np.unique(keys, return_inverse=True)
        none_active = np.ones(len(keys))
        np.multiply.at(none_active, place, 1 - block.values.astype(np.float64))
        values = 1 - none_active
    return csr_array((values, (keys // merge.k_groups, keys % merge.k_groups)), shape=(n_rows, merge.k_groups))
