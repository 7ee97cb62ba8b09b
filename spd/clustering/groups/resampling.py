"""What holds in other draws of the samples: groups are split where bootstraps do not agree on them.

Efron's bootstrap (1979) of the samples; in every draw the whole search is made again. Members of a group stay together
while the mean share of the draws in which two of them are together, by average linkage, is at least `MIN_TOGETHER`: the
co-association of evidence accumulation (Fred and Jain 2005), within the groups that all samples give.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int64

from spd.clustering.memberships import Memberships

MIN_TOGETHER = 0.9
"""Mean co-association from which on members stay together; that of stable groups of an ensemble."""


def stable_parts(
    memberships: Memberships,
    group_of: Int64[np.ndarray, "n"],
    n_resamples: int,
    rng: np.random.Generator,
    search: Callable[[Memberships], Int64[np.ndarray, "n"]],
) -> Int64[np.ndarray, "n"]:
    """(n,) the groups split into what holds together in bootstraps; a new group's name is its least component.

    Args:
        search: the groups of memberships of the same components, a component that takes no part alone.
    """
    members = np.argsort(group_of, kind="stable")
    groups = [group for group in np.split(members, np.cumsum(np.bincount(group_of))[:-1]) if len(group) > 1]
    together = [np.zeros((len(group), len(group))) for group in groups]
    for _ in range(n_resamples):
        found = search(memberships.resample_rows(rng))
        for group, count in zip(groups, together, strict=True):
            count += found[group, None] == found[None, group]
    parts = np.arange(len(group_of))
    for group, count in zip(groups, together, strict=True):
        for part in _linked(count / n_resamples):
            parts[group[part]] = group[part].min()
    return parts


def _linked(together: np.ndarray) -> list[np.ndarray]:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    tree = linkage(squareform(1 - together, checks=False), "average")
    labels = fcluster(tree, 1 - MIN_TOGETHER + 1e-9, "distance")
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]
