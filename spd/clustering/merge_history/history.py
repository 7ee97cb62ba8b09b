"""The merges of one clustering run, and what can be asked of them.

A history keeps the merges themselves (two numbers each); partitions at an iteration, at many, or at all of them are
derived when asked for (math/merge_paths). Iteration i is the state after merge i; negative iterations count from the
end. Groups are numbered 0 .. k - 1 in the order of their least components.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from spd.clustering.consts import ComponentLabels, MergePair
from spd.clustering.labels import check_labels
from spd.clustering.math.arrays import as_numpy
from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.merge_config import MergeConfig, MergeOptions
from spd.clustering.merge_history.partitions import IterationError, Partitions
from spd.errors import SPDError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class MergeState:
    """One iteration: its index, the pair of groups merged (indices before the merge), the partition after it."""

    idx: int
    selected_pair: MergePair
    merges: GroupMerge


class MergeHistory:
    """The merges of one run, their costs, and the description length (MDL) after each.

    Args:
        labels: (n_components,) `<module>:<index>` of each component, all different.
        merge_config: how the run merged.
        selected_pairs: (n_iters, 2) group indices of each merge just before it.
        merge_pair_cost: (n_iters,) change of the normalised MDL by each merge, in bits a sample; None: not known.
        mdl_loss_norm: (n_iters,) normalised MDL after each merge, in bits a sample; None: not known.
        initial_mdl_loss_norm: the same before the first merge.
        merge_options: options beside the seven fields of merge_config.
        considered_fraction: (n_iters,) share of all pairs that the sampler `range` drew from; None: not known.
        is_complete: False for a run that was cut off.

    Raises:
        SPDError: the arrays do not fit each other, or the pairs are no path of merges.
    """

    def __init__(
        self,
        labels: ComponentLabels,
        merge_config: MergeConfig,
        selected_pairs: np.ndarray,
        merge_pair_cost: np.ndarray | None = None,
        mdl_loss_norm: np.ndarray | None = None,
        initial_mdl_loss_norm: float | None = None,
        *,
        merge_options: MergeOptions = MergeOptions(),  # noqa: B008 (frozen)
        considered_fraction: np.ndarray | None = None,
        is_complete: bool = True,
    ) -> None:
        self.labels: ComponentLabels = _checked_labels(labels)
        self.merge_config = merge_config
        self.merge_options = merge_options
        self.is_complete = is_complete
        self.initial_mdl_loss_norm = None if initial_mdl_loss_norm is None else float(initial_mdl_loss_norm)
        pairs = as_numpy(selected_pairs)
        self.component_merges: np.ndarray = _component_merges(pairs, len(self.labels))
        self.selected_pairs: np.ndarray = pairs.astype(np.int64).reshape(-1, 2)
        self.merge_pair_cost = self._per_iteration(merge_pair_cost, "merge_pair_cost")
        self.mdl_loss_norm = self._per_iteration(mdl_loss_norm, "mdl_loss_norm")
        self.considered_fraction = self._per_iteration(considered_fraction, "considered_fraction")
        self.merges = Partitions(self.component_merges, self.c_components)

    @classmethod
    def from_config(cls, merge_config: MergeConfig, labels: ComponentLabels) -> Self:
        """A history without merges yet."""
        return cls(labels, merge_config, np.zeros((0, 2), np.int64))

    def add_iteration(
        self,
        idx: int,
        selected_pair: MergePair,
        current_merge: GroupMerge,
        *,
        merge_pair_cost: float | None = None,
        mdl_loss_norm: float | None = None,
    ) -> None:
        """Append merge `idx`, the next one: the pair of groups merged, and the partition after it. O(n).

        Raises:
            ValueError: idx is not the next iteration, a group of the pair does not exist, or the partition is not
                what merging the pair gives.
        """
        n_before = self.n_iters_current
        if idx != n_before:
            raise SPDError(f"expected iteration {n_before}, the next one, got {idx}")
        before = self.merges[-1] if n_before else GroupMerge.identity(self.c_components)
        pair = (int(selected_pair[0]), int(selected_pair[1]))
        if before.merge_groups(*pair) != current_merge:
            raise SPDError(
                f"iteration {idx}: the partition given is not what merging groups {pair[0]} and {pair[1]} gives"
            )
        least = sorted(int(np.argmax(before.group_idxs == group)) for group in pair)
        self.selected_pairs = np.concatenate([self.selected_pairs, [pair]])
        self.component_merges = np.concatenate([self.component_merges, [least]])
        self.merge_pair_cost = _appended(self.merge_pair_cost, merge_pair_cost, n_before)
        self.mdl_loss_norm = _appended(self.mdl_loss_norm, mdl_loss_norm, n_before)
        self.considered_fraction = None
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
        return [_component_info(label) for label in self.get_cluster_component_labels(iteration, cluster_id)]

    @property
    def best_n_merges(self) -> int:
        """The number of merges at the least MDL (the first such, when equal); 0 when no merge pays.

        Raises:
            SPDError: the history holds no MDL (files of goodfire-ai/spd do not), or one that is not a number.
        """
        if not len(self):
            return 0
        return int(np.argmin(self.mdl_path()))

    @property
    def best_iteration(self) -> int | None:
        """best_n_merges - 1, the iteration whose state has the least MDL; None when no merge pays."""
        return self.best_n_merges - 1 if self.best_n_merges else None

    def mdl_path(self) -> np.ndarray:
        """(n_iters + 1,) normalised MDL in bits a sample, after 0, 1, 2, ... merges.

        Raises:
            SPDError: it is not known, or not a number somewhere.
        """
        from spd.clustering.merge_history.table import mdl_path

        return mdl_path(self)

    def linkage(self) -> np.ndarray:
        """(n_components - 1, 4) linkage matrix of scipy.cluster.hierarchy, height = iteration + 1.

        Groups left when the merge stopped early are joined at the heights that follow.
        """
        from spd.clustering.math.linkage import linkage_matrix

        return linkage_matrix(self.component_merges, self.c_components)

    def metadata(self) -> dict[str, Any]:
        """What metadata.json holds: merge_config, c_components, n_iters_current, labels."""
        return {
            "merge_config": self.merge_config.model_dump(mode="json"),
            "c_components": self.c_components,
            "n_iters_current": self.n_iters_current,
            "labels": self.labels,
        }

    def summary(self) -> dict[str, Any]:
        """Plain numbers about the run; the best state and its MDL are None where the MDL is not known."""
        from spd.clustering.merge_history.table import summary

        return summary(self)

    def to_dataframe(self) -> "pd.DataFrame":
        """One row a merge: the pair, labels of the two least components, sizes, k_groups, known costs."""
        from spd.clustering.merge_history.table import to_dataframe

        return to_dataframe(self)

    def save(self, path: Path | str) -> None:
        """Write history.zip, whole or not at all; its layout: zip_file."""
        from spd.clustering.merge_history.zip_file import write_history

        write_history(self, Path(path))

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read a history.zip, ours or one of goodfire-ai/spd.

        Raises:
            MissingFileError: there is no such file.
            DamagedFileError: it is truncated, contradictory, or of an unknown version; names file and member.
        """
        from spd.clustering.merge_history.zip_file import read_history

        return cls(**read_history(Path(path)))

    def _per_iteration(self, values: np.ndarray | None, name: str) -> np.ndarray | None:
        if values is None:
            return None
        array = np.asarray(values, np.float64)
        if array.shape != (self.n_iters_current,):
            raise SPDError(f"{name}: expected one number for each of {self.n_iters_current} merges, got {array.shape}")
        return array


def _checked_labels(labels: ComponentLabels) -> ComponentLabels:
    checked = check_labels(labels)
    wrong = [label for label in checked if not label or "\n" in label]
    if wrong:
        raise SPDError(f"a component's label must be one line of text, got {wrong[0]!r}")
    return checked


def _component_merges(selected_pairs: np.ndarray, n_components: int) -> np.ndarray:
    from spd.clustering.math.merge_paths import pairs_to_component_merges

    try:
        return pairs_to_component_merges(selected_pairs, n_components)
    except ValueError as error:
        raise SPDError(str(error)) from error


def _component_info(label: str) -> dict[str, Any]:
    module, _, index = label.rpartition(":")
    if not module or not index.isdecimal():
        raise SPDError(f"a component's label is <module>:<index>, got {label!r}")
    return {"module": module, "index": int(index), "label": label}


def _appended(values: np.ndarray | None, value: float | None, n_before: int) -> np.ndarray | None:
    """`values` with one more; unknown throughout once it is unknown for one."""
    if value is None or (values is None and n_before):
        return None
    return np.append(np.zeros(0) if values is None else values, float(value))
