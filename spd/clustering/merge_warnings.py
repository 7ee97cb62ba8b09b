"""Warnings of merges that do not mean what one may think."""

import warnings

import numpy as np

from spd.clustering.compute_costs import compute_merge_costs
from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine.coactivation import group_coactivation
from spd.clustering.merge_history import MergeHistory

MOSTLY_RANDOM = 0.5
"""The share of all pairs that `range` chose from, in most merges, above which a warning is given."""
MAX_COMPARED = 2000
"""Groups of a state whose costs are all computed for a warning, at most."""


def warn_of_result(history: MergeHistory, memberships: Memberships) -> None:
    """Warn, where the caller's caller is, of a run that was cut before its MDL minimum, or merged mostly at random."""
    if memberships.nnz == 0:
        return
    if history.is_complete and history.is_cut_too_early:
        warnings.warn(
            f"the MDL is least at the last iteration ({len(history)} merges, {history.final_k_groups} groups left): "
            "the run was cut too early, raise iters or set it to null",
            stacklevel=3,
        )
    if history.considered_fraction is None:
        return
    considered = history.considered_fraction[: history.c_components - 2]  # of two groups there is one pair only
    if not considered.size or not np.nanmedian(considered) > MOSTLY_RANDOM:
        return
    random_merges = np.flatnonzero(considered > MOSTLY_RANDOM)
    if _mostly_equal(history, memberships, int(random_merges[len(random_merges) // 2])):
        message = (
            "in most merges over half of all pairs cost exactly the same, so which of them are merged is left to "
            "chance: the activations do not tell them apart"
        )
    else:
        message = (
            "the range sampler chose from over half of all pairs in most merges (median "
            f"{np.nanmedian(considered):.0%}): one costly pair stretches the range, so the groups are largely random; "
            "lower the threshold (0.001)"
        )
    warnings.warn(message, stacklevel=3)


def _mostly_equal(history: MergeHistory, memberships: Memberships, n_merges: int) -> bool:
    """Whether, after so many merges, over half of all pairs have the least cost, to rounding: any threshold would
    choose from as many. Not looked at, and False, where there are more than MAX_COMPARED groups."""
    partition = GroupMerge(history.partition_after(n_merges), history.c_components - n_merges)
    if partition.k_groups > MAX_COMPARED:
        return False
    coactivation = group_coactivation(memberships, partition) / memberships.n_samples
    costs = compute_merge_costs(coactivation, partition, history.merge_config.alpha)
    values = costs[np.triu_indices(partition.k_groups, k=1)]
    is_least = values <= values.min() + 1e-9 * np.abs(values).max()
    return bool(is_least.mean() > MOSTLY_RANDOM)
