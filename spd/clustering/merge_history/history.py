"""The merges of one clustering run with their costs, and what can be asked of them; the partitions: labelled_merges."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from spd.clustering.consts import ComponentLabels, MergePair
from spd.clustering.math.arrays import as_numpy
from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.merge_config import MergeConfig, MergeOptions
from spd.clustering.merge_history import table
from spd.clustering.merge_history.card import history_card
from spd.clustering.merge_history.labelled_merges import LabelledMerges
from spd.clustering.merge_history.partitions import checked_iteration
from spd.clustering.merge_history.record import (
    HistoryDetails,
    HistoryRecord,
    checked_numbers,
    with_one_more,
)
from spd.clustering.merge_history.zip_file import read_history, write_history
from spd.errors import SPDError

if TYPE_CHECKING:
    import pandas as pd


class MergeHistory(LabelledMerges):
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
        super().__init__(labels, selected_pairs)
        self.merge_config = merge_config
        self.merge_options: MergeOptions = details.merge_options
        self.is_complete = details.is_complete
        self.filter_dead_stat = details.filter_dead_stat
        self.initial_mdl_loss_norm = None if initial_mdl_loss_norm is None else float(initial_mdl_loss_norm)
        n_iters = len(self)
        self.merge_pair_cost = checked_numbers(merge_pair_cost, "merge_pair_cost", n_iters)
        self.mdl_loss_norm = checked_numbers(mdl_loss_norm, "mdl_loss_norm", n_iters)
        self.considered_fraction = checked_numbers(details.considered_fraction, "considered_fraction", n_iters)

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
        self._append(idx, as_numpy(selected_pair), current_merge)
        self.merge_pair_cost = with_one_more(self.merge_pair_cost, merge_pair_cost, n_before)
        self.mdl_loss_norm = with_one_more(self.mdl_loss_norm, mdl_loss_norm, n_before)
        self.considered_fraction = None

    def n_merges_at(self, where: int | str) -> int:
        """The number of merges made at an iteration (negative: from the end), or at the least MDL ("best").

        Raises:
            SPDError: there is no such iteration, or the MDL is not known; says what there is.
        """
        if where == "best":
            return self.best_n_merges
        if isinstance(where, str):
            raise SPDError(f"expected an iteration or 'best', got {where!r}")
        return checked_iteration(where, len(self)) + 1

    @property
    def is_cut_too_early(self) -> bool:
        """Whether the MDL was still falling at the last merge, and more merges would have been possible.

        False where the run ended because no pair was left that may be merged (`require_coactivation`), and where the
        MDL is not known.
        """
        n_merges = len(self)
        if not 0 < n_merges < self.c_components - 1 or self._ended_by_itself:
            return False
        return self.known_best_n_merges == n_merges

    @property
    def _ended_by_itself(self) -> bool:
        """Whether no pair was left to merge, or the MDL had passed its minimum, before `iters` was reached."""
        options = self.merge_options
        has_end = options.require_coactivation or options.stop_at_mdl_minimum
        return self.is_complete and has_end and len(self) < self.merge_config.get_num_iters(self.c_components)

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
    def n_merges_to_show(self) -> int:
        """The number of merges at the least MDL; all of them where the MDL is not known."""
        best = self.known_best_n_merges
        return len(self) if best is None else best

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
        return table.summary(self.record(), self.known_best_n_merges)

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
        best = self.known_best_n_merges
        partition = None if best is None else self.partition_after(best)
        return history_card(self.summary(), self.merge_config.alpha, partition)

    @property
    def known_best_n_merges(self) -> int | None:
        """best_n_merges, or None where the MDL is not known."""
        try:
            return self.best_n_merges
        except SPDError:
            return None
