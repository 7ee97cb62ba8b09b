"""The partitions along a path of merges, derived when asked for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import SupportsInt, overload

import numpy as np
from jaxtyping import Int

from spd.clustering.consts import MergePair
from spd.clustering.math.merge_matrix import BatchedGroupMerge, GroupMerge
from spd.clustering.math.merge_paths import group_idxs_at, smallest_int_dtype
from spd.errors import SPDError

ALL_PARTITIONS_LIMIT = 8 * 2**30
"""Bytes that `history.merges.group_idxs` may take; beyond it, ask for the iterations that are needed."""


class IterationError(SPDError, IndexError):
    """An iteration that the history does not have."""


def checked_iteration(iteration: SupportsInt, n_iters: int) -> int:
    """The iteration, counted from the beginning; a negative one counts from the end.

    Raises:
        SPDError: there is no such iteration; says which there are.
    """
    index = int(iteration)
    if not -n_iters <= index < n_iters:
        existing = f"they are 0 .. {n_iters - 1}" if n_iters else "no merge was made"
        raise IterationError(f"there is no iteration {index}, {existing}")
    return index % n_iters


@dataclass(frozen=True)
class MergeState:
    """One iteration.

    Attributes:
        idx: its index.
        selected_pair: the groups merged, by their indices before the merge.
        merges: the partition after it.
    """

    idx: int
    selected_pair: MergePair
    merges: GroupMerge


class Partitions:
    """The partitions of a history, derived when asked for: `[iteration]`, a slice of iterations, or all."""

    def __init__(self, component_merges: Int[np.ndarray, "n_iters 2"], n_components: int) -> None:
        self._component_merges = component_merges
        self._n_components = n_components
        self._all: np.ndarray | None = None

    def at(self, iterations: Iterable[SupportsInt]) -> Int[np.ndarray, "rows n_components"]:
        """(len(iterations), n_components) group indices, of the smallest of int16, int32, int64 that holds them.

        Raises:
            SPDError: there is no such iteration.
        """
        wanted = [checked_iteration(iteration, len(self)) for iteration in iterations]
        return group_idxs_at(self._component_merges, self._n_components, wanted)

    @property
    def group_idxs(self) -> Int[np.ndarray, "n_iters n_components"]:
        """(n_iters, n_components) group indices at every iteration; computed once, then kept.

        Raises:
            SPDError: they would take more than ALL_PARTITIONS_LIMIT bytes.
        """
        if self._all is None:
            size = len(self) * self._n_components * smallest_int_dtype(self._n_components).itemsize
            if size > ALL_PARTITIONS_LIMIT:
                raise SPDError(
                    f"the groups of {self._n_components} components at all {len(self)} iterations take "
                    f"{size / 2**30:.0f} GiB; ask for the iterations that are needed: history.merges.at([...])"
                )
            self._all = group_idxs_at(self._component_merges, self._n_components, np.arange(len(self)))
        return self._all

    @property
    def k_groups(self) -> Int[np.ndarray, "n_iters"]:
        """(n_iters,) int64 number of groups after each merge."""
        return self._n_components - 1 - np.arange(len(self), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._component_merges)

    @overload
    def __getitem__(self, iteration: SupportsInt) -> GroupMerge: ...

    @overload
    def __getitem__(self, iteration: slice) -> BatchedGroupMerge: ...

    def __getitem__(self, iteration: SupportsInt | slice) -> GroupMerge | BatchedGroupMerge:
        if isinstance(iteration, slice):
            rows = range(len(self))[iteration]
            return BatchedGroupMerge(self.at(rows), self.k_groups[iteration])
        index = checked_iteration(iteration, len(self))
        return GroupMerge(self.at([index])[0], self._n_components - 1 - index)

    def __iter__(self) -> Iterator[GroupMerge]:
        for index in range(len(self)):
            yield GroupMerge(self.at([index])[0], self._n_components - 1 - index)
