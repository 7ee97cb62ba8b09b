"""The coactivations of any partition, straight from the memberships."""

import numpy as np

from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.memberships import Memberships


def group_coactivation(memberships: Memberships, merge: GroupMerge) -> np.ndarray:
    """(k, k) float64: c_ij = sum over samples of x_i x_j for groups i and j, s_i = sum of x_i on the diagonal.

    A group's activation is the probabilistic OR of its components': 1 - prod (1 - x); for booleans, any.
    """
    from scipy.sparse import csr_array

    groups = merge.group_idxs[memberships.indices]
    samples = np.repeat(np.arange(memberships.n_samples), np.diff(memberships.indptr))
    keys = samples * merge.k_groups + groups
    if memberships.values is None:
        keys = np.unique(keys)
        values = np.ones(len(keys))
    else:
        keys, place = np.unique(keys, return_inverse=True)
        none_active = np.ones(len(keys))
        np.multiply.at(none_active, place, 1 - memberships.values.astype(np.float64))
        values = 1 - none_active
    shape = (memberships.n_samples, merge.k_groups)
    active = csr_array((values, (keys // merge.k_groups, keys % merge.k_groups)), shape=shape)
    coactivation = (active.T @ active).toarray()
    np.fill_diagonal(coactivation, active.sum(axis=0))
    return coactivation
