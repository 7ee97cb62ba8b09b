"""The merges of one clustering run, and what can be asked of them.

A history keeps the merges themselves (two numbers each); partitions at an iteration, at many, or at all of them are
derived when asked for (math/merge_paths). Iteration i is the state after merge i; negative iterations count from the
end. Groups are numbered 0 .. k - 1 in the order of their least components.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from spd.clustering.consts import ComponentLabels, MergePair
from spd.clustering.labels import split_label
from spd.clustering.math.arrays import as_numpy
from spd.clustering.math.linkage import linkage_matrix
from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.merge_config import MergeConfig, MergeOptions
from spd.clustering.merge_history import table
from spd.clustering.merge_history.partitions import IterationError, MergeState, Partitions
from spd.clustering.merge_history.record import (
    HistoryDetails,
    HistoryRecord,
    checked_labels,
    checked_merges,
    checked_numbers,
    with_one_more,
)
from spd.clustering.merge_history.zip_file import read_history, write_history
from spd.errors import SPDError

if TYPE_CHECKING:
    import pandas as pd


class MergeHistory:
    """The merges of one run, their costs, and the description length (MDL) after each.

    Args:
        labels: (n_components,) `<module>:<index>` of each component, all different.
        merge_config: how the run merged.
        selected_pairs: (n_iters, 2) group indices of each merge just before it.
        merge_pair_cost: (n_iters,) change of the normalised MDL by each merge, in bits a sample; None: not known.
        mdl_loss_norm: (n_iters,) normalised MDL after each merge, in bits a sample; None: not known.
        initial_mdl_loss_norm: the same before the first merge.
        details: options beside the merge config, the share of pairs that the sampler drew from, whether the run ended.

    The arrays may be torch tensors; numpy arrays are kept.

    Raises:
        SPDError: the arrays do not fit each other, or the pairs are no path of merges.
    """

    def __init__(
        self,
        labels: ComponentLabels,
        merge_config: MergeConfig,
        selected_pairs: ArrayLike,
        merge_pair_cost: ArrayLike | None = None,
        mdl_loss_norm: ArrayLike | None = None,
        initial_mdl_loss_norm: float | None = None,
        *,
        details: HistoryDetails = HistoryDetails(),  # noqa: B008 (frozen)
    ) -> None:
        self.labels: ComponentLabels = checked_labels(labels)
        self.merge_config = merge_config
        self.merge_options: MergeOptions = details.merge_options
        self.is_complete = details.is_complete
        self.filter_dead_stat = details.filter_dead_stat
        self.initial_mdl_loss_norm = None if initial_mdl_loss_norm is None else float(initial_mdl_loss_norm)
        pairs = as_numpy(selected_pairs)
        self.component_merges: Int[np.ndarray, "n_iters 2"] = checked_merges(pairs, len(self.labels))
        self.selected_pairs: Int[np.ndarray, "n_iters 2"] = pairs.astype(np.int64).reshape(-1, 2)
        self.merge_pair_cost = checked_numbers(merge_pair_cost, "merge_pair_cost", len(pairs))
        self.mdl_loss_norm = checked_numbers(mdl_loss_norm, "mdl_loss_norm", len(pairs))
        self.considered_fraction = checked_numbers(details.considered_fraction, "considered_fraction", len(pairs))
        self.merges = Partitions(self.component_merges, self.c_components)

    @classmethod
    def from_config(cls, merge_config: MergeConfig, labels: ComponentLabels) -> "MergeHistory":
        """A history without merges yet."""
        return cls(labels, merge_config, np.zeros((0, 2), np.int64))

    def add_iteration(
        self,
        idx: int,
        selected_pair: MergePair | ArrayLike,
        current_merge: GroupMerge,
        *,
        merge_pair_cost: SupportsFloat | None = None,
        mdl_loss_norm: SupportsFloat | None = None,
    ) -> None:
        """Append merge `idx`, the next one: the pair of groups merged, and the partition after it. O(n).

        Raises:
            SPDError: idx is not the next iteration, it is no pair, or the partition is not what merging the pair gives.
            ValueError: a group of the pair does not exist.
        """
        n_before = self.n_iters_current
        if idx != n_before:
            raise SPDError(f"expected iteration {n_before}, the next one, got {idx}")
        before = GroupMerge(self.partition_after(n_before), self.final_k_groups)
        groups = as_numpy(selected_pair)
        if groups.shape != (2,):
            raise SPDError(f"iteration {idx}: expected the pair of groups that were merged, got {selected_pair!r}")
        pair = (int(groups[0]), int(groups[1]))
        if before.merge_groups(*pair) != current_merge:
            raise SPDError(
                f"iteration {idx}: the partition given is not what merging groups {pair[0]} and {pair[1]} gives"
            )
        first_components = sorted(int(np.argmax(before.group_idxs == group)) for group in pair)
        self.selected_pairs = np.concatenate([self.selected_pairs, [pair]])
        self.component_merges = np.concatenate([self.component_merges, [first_components]])
        self.merge_pair_cost = with_one_more(self.merge_pair_cost, merge_pair_cost, n_before)
        self.mdl_loss_norm = with_one_more(self.mdl_loss_norm, mdl_loss_norm, n_before)
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

    def n_merges_at(self, where: int | str) -> int:
        """The number of merges made at an iteration (negative: from the end), or at the least MDL ("best").

        Raises:
            SPDError: there is no such iteration, or the MDL is not known; says what there is.
        """
        if where == "best":
            return self.best_n_merges
        if isinstance(where, str):
            raise SPDError(f"expected an iteration or 'best', got {where!r}")
        if not -len(self) <= where < len(self):
            existing = f"they are 0 .. {len(self) - 1}" if len(self) else "no merge was made"
            raise IterationError(f"there is no iteration {where}, {existing}")
        return int(where) % len(self) + 1

    @property
    def is_cut_too_early(self) -> bool:
        """Whether the MDL was still falling at the last merge, and more merges would have been possible.

        False where the run ended because no pair was left that may be merged (`require_coactivation`), and where the
        MDL is not known.
        """
        n_merges = len(self)
        if not 0 < n_merges < self.c_components - 1 or self._ended_by_itself:
            return False
        return self._known_best_n_merges() == n_merges

    @property
    def _ended_by_itself(self) -> bool:
        """Whether no pair was left to merge, or the MDL had passed its minimum, before `iters` was reached."""
        options = self.merge_options
        has_end = options.require_coactivation or options.stop_at_mdl_minimum
        return self.is_complete and has_end and len(self) < self.merge_config.get_num_iters(self.c_components)

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

    def mdl_path(self) -> Float[np.ndarray, "n_iters_plus_1"]:
        """(n_iters + 1,) normalised MDL in bits a sample, after 0, 1, 2, ... merges.

        Raises:
            SPDError: it is not known, or not a number somewhere.
        """
        return table.mdl_path(self.mdl_loss_norm, self.merge_pair_cost, self.initial_mdl_loss_norm)

    def linkage(self) -> Float[np.ndarray, "n_merges 4"]:
        """(n_components - 1, 4) linkage matrix of scipy.cluster.hierarchy, height = iteration + 1.

        Groups left when the merge stopped early are joined at the heights that follow.
        """
        return linkage_matrix(self.component_merges, self.c_components)

    def metadata(self) -> dict[str, Any]:
        """What metadata.json holds: merge_config, c_components, n_iters_current, labels."""
        return self.record().metadata()

    def record(self) -> HistoryRecord:
        """Everything that the history holds, as plain data."""
        details = HistoryDetails(self.merge_options, self.considered_fraction, self.is_complete, self.filter_dead_stat)
        return HistoryRecord(
            self.labels,
            self.merge_config,
            self.selected_pairs,
            self.merge_pair_cost,
            self.mdl_loss_norm,
            self.initial_mdl_loss_norm,
            details,
        )

    def summary(self) -> dict[str, Any]:
        """Plain numbers about the run; the best state and its MDL are None where the MDL is not known."""
        return table.summary(self.record(), self._known_best_n_merges())

    def to_dataframe(self) -> "pd.DataFrame":
        """One row a merge: the pair, labels of the two least components, sizes, k_groups, known costs."""
        return table.to_dataframe(self.record())

    def save(self, path: Path | str) -> None:
        """Write history.zip, whole or not at all; its layout: zip_file."""
        write_history(self.record(), Path(path))

    @classmethod
    def read(cls, path: Path | str) -> "MergeHistory":
        """Read a history.zip, ours or one of goodfire-ai/spd.

        Raises:
            MissingFileError: there is no such file.
            DamagedFileError: it is truncated, contradictory, or of an unknown version; names file and member.
        """
        found = read_history(Path(path))
        return cls(
            found.labels,
            found.merge_config,
            found.selected_pairs,
            found.merge_pair_cost,
            found.mdl_loss_norm,
            found.initial_mdl_loss_norm,
            details=found.details,
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from spd.clustering.merge_history.card import history_card

        best = self._known_best_n_merges()
        partition = None if best is None else self.partition_after(best)
        return history_card(self.summary(), self.merge_config.alpha, partition)

    def _known_best_n_merges(self) -> int | None:
        try:
            return self.best_n_merges
        except SPDError:
            return None
