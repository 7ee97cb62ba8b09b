"""Components with labels, the merges of their groups, and the partitions that follow: all of a history but its costs.

The merges themselves are kept (two numbers each); partitions at an iteration, at many, or at all of them are derived
when asked for (math/merge_paths). Iteration i is the state after merge i; negative iterations count from the end.
Groups are numbered 0 .. k - 1 in the order of their first components.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from spd.clustering.consts import ComponentLabels
from spd.clustering.labels import split_label
from spd.clustering.math.arrays import as_numpy
from spd.clustering.math.linkage import linkage_matrix
from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.merge_history.partitions import IterationError, MergeState, Partitions
from spd.clustering.merge_history.record import checked_labels, checked_merges
from spd.errors import SPDError


class LabelledMerges:
    """A path of merges; see MergeHistory.

    Attributes:
        labels: (n_components,) `<module>:<index>` of each component.
        selected_pairs: (n_iters, 2) group indices of each merge just before it.
        component_merges: (n_iters, 2) first components (kept, absorbed) of the groups merged.
        merges: the partition after each merge.

    Raises:
        SPDError: a label is given twice, or the pairs are no path of merges.
    """

    def __init__(self, labels: ComponentLabels, selected_pairs: ArrayLike) -> None:
        self.labels: ComponentLabels = checked_labels(labels)
        pairs = as_numpy(selected_pairs)
        self.component_merges: Int[np.ndarray, "n_iters 2"] = checked_merges(pairs, len(self.labels))
        self.selected_pairs: Int[np.ndarray, "n_iters 2"] = pairs.astype(np.int64).reshape(-1, 2)
        self.merges = Partitions(self.component_merges, self.c_components)

    @property
    def c_components(self) -> int:
        """Number of components."""
        return len(self.labels)

    @property
    def n_iters_current(self) -> int:
        """Number of merges made."""
        return len(self.selected_pairs)

    @property
    def total_iterations(self) -> int:
        """The same as n_iters_current."""
        return self.n_iters_current

    @property
    def initial_k_groups(self) -> int:
        """Number of groups before the first merge."""
        return self.c_components

    @property
    def final_k_groups(self) -> int:
        """Number of groups after the last merge."""
        return self.c_components - self.n_iters_current

    def __len__(self) -> int:
        return self.n_iters_current

    def __getitem__(self, iteration: int) -> MergeState:
        merge = self.merges[iteration]
        index = iteration % len(self)
        low, high = self.selected_pairs[index]
        return MergeState(index, (int(low), int(high)), merge)

    def __iter__(self) -> Iterator[MergeState]:
        return (self[index] for index in range(len(self)))

    def latest(self) -> MergeState:
        """The last iteration.

        Raises:
            SPDError: no merge was made.
        """
        if not len(self):
            raise IterationError("the history has no iterations yet")
        return self[-1]

    def partition_after(self, n_merges: int) -> Int[np.ndarray, "n_components"]:
        """(n_components,) int64 group of each component after so many merges, groups 0 .. k - 1; 0: all alone.

        Raises:
            SPDError: the history has fewer merges, or the number is negative.
        """
        if not 0 <= n_merges <= len(self):
            raise IterationError(f"there is no state after {n_merges} merges, the history has {len(self)}")
        if n_merges == 0:
            return np.arange(self.c_components)
        return self.merges.at([n_merges - 1])[0].astype(np.int64)

    def n_merges_to(self, n_groups: int) -> int:
        """The number of merges after which there are so many groups.

        Raises:
            SPDError: there is no such state; says which there are.
        """
        if not self.final_k_groups <= n_groups <= self.c_components:
            raise SPDError(
                f"there is no state with {n_groups} groups, the merges of {self.c_components} components went down to "
                f"{self.final_k_groups}"
            )
        return self.c_components - n_groups

    def get_unique_clusters(self, iteration: int) -> list[int]:
        """The indices of all groups at an iteration."""
        return list(range(self.merges[iteration].k_groups))

    def get_cluster_component_labels(self, iteration: int, cluster_id: int) -> ComponentLabels:
        """The labels of one group's components, in the order of `labels`.

        Raises:
            SPDError: there is no such iteration or group.
        """
        groups = self.merges.at([iteration])[0]
        members = np.flatnonzero(groups == cluster_id)
        if not members.size:
            raise SPDError(f"there is no group {cluster_id} at iteration {iteration}, groups are 0 .. {groups.max()}")
        return [self.labels[component] for component in members]

    def get_cluster_components_info(self, iteration: int, cluster_id: int) -> list[dict[str, Any]]:
        """For each component of one group: its module, its index in the module, its label.

        Raises:
            SPDError: there is no such iteration or group, or a label is not `<module>:<index>`.
        """
        labels = self.get_cluster_component_labels(iteration, cluster_id)
        places = [split_label(label) for label in labels]
        return [{"module": m, "index": i, "label": label} for label, (m, i) in zip(labels, places, strict=True)]

    def linkage(self) -> Float[np.ndarray, "n_merges 4"]:
        """(n_components - 1, 4) linkage matrix of scipy.cluster.hierarchy, height = iteration + 1.

        Groups left when the merge stopped early are joined at the heights that follow.
        """
        return linkage_matrix(self.component_merges, self.c_components)

    def _append(self, idx: int, groups: np.ndarray, current_merge: GroupMerge) -> None:
        """Merge `idx`, the next one: the pair of groups, and the partition after it.

        Raises:
            SPDError: idx is not the next iteration, it is no pair, or the partition is not what merging the pair gives.
            ValueError: a group of the pair does not exist.
        """
        n_before = self.n_iters_current
        if idx != n_before:
            raise SPDError(f"expected iteration {n_before}, the next one, got {idx}")
        before = GroupMerge(self.partition_after(n_before), self.final_k_groups)
        if groups.shape != (2,):
            raise SPDError(f"iteration {idx}: expected the pair of groups that were merged, got {groups!r}")
        pair = (int(groups[0]), int(groups[1]))
        if before.merge_groups(*pair) != current_merge:
            raise SPDError(
                f"iteration {idx}: the partition given is not what merging groups {pair[0]} and {pair[1]} gives"
            )
        first_components = sorted(int(np.argmax(before.group_idxs == group)) for group in pair)
        self.selected_pairs = np.concatenate([self.selected_pairs, [pair]])
        self.component_merges = np.concatenate([self.component_merges, [first_components]])
        self.merges = Partitions(self.component_merges, self.c_components)
