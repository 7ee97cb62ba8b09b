"""Partitions of components into groups: one (`GroupMerge`), or a list of them (`BatchedGroupMerge`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, SupportsInt

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import ArrayLike

from spd.clustering.math.arrays import as_numpy


@dataclass(frozen=True, init=False)
class GroupMerge:
    """Each component is in exactly one group.

    Attributes:
        group_idxs: (n_components,) int64, the group of each component, 0 .. k_groups - 1.
        k_groups: the number of groups.
    """

    group_idxs: Int[np.ndarray, "n_components"]
    k_groups: int

    def __init__(self, group_idxs: ArrayLike, k_groups: SupportsInt) -> None:
        idxs = as_numpy(group_idxs)
        if idxs.ndim != 1 or (idxs.size and idxs.dtype.kind not in "iu"):
            raise ValueError(f"group_idxs must be a vector of integers, got shape {idxs.shape} of {idxs.dtype}")
        object.__setattr__(self, "group_idxs", idxs.astype(np.int64))
        object.__setattr__(self, "k_groups", int(k_groups))

    @classmethod
    def identity(cls, n_components: int) -> "GroupMerge":
        """Every component alone."""
        return cls(np.arange(n_components), n_components)

    @classmethod
    def random(
        cls,
        n_components: int,
        k_groups: int,
        ensure_groups_nonempty: bool = False,
        rng: np.random.Generator | None = None,
    ) -> "GroupMerge":
        """Each component in a uniformly drawn group; with `ensure_groups_nonempty` no group stays empty.

        Raises:
            ValueError: k_groups is not positive, or no group can stay empty and k_groups > n_components.
        """
        if k_groups <= 0:
            raise ValueError(f"k_groups must be positive, got {k_groups}")
        rng = rng if rng is not None else np.random.default_rng()
        idxs = rng.integers(k_groups, size=n_components)
        if ensure_groups_nonempty:
            if k_groups > n_components:
                raise ValueError(f"{n_components} components cannot fill {k_groups} groups")
            idxs[rng.permutation(n_components)[:k_groups]] = np.arange(k_groups)
        return cls(idxs, k_groups)

    @classmethod
    def from_matrix(cls, mat: ArrayLike) -> "GroupMerge":
        """From a (k_groups, n_components) matrix of 0 and 1.

        Raises:
            ValueError: a component (column) is not in exactly one group.
        """
        matrix = as_numpy(mat).astype(bool)
        if matrix.ndim != 2:
            raise ValueError(f"expected a matrix (k_groups, n_components), got shape {matrix.shape}")
        counts = matrix.sum(axis=0)
        wrong = np.flatnonzero(counts != 1)
        if wrong.size:
            raise ValueError(
                f"each component must be in exactly one group, component {wrong[0]} is in {counts[wrong[0]]}"
            )
        idxs = matrix.argmax(axis=0) if matrix.shape[0] else np.zeros(0, np.int64)
        return cls(idxs, matrix.shape[0])

    def to_matrix(self) -> Bool[np.ndarray, "k_groups n_components"]:
        """(k_groups, n_components): entry (g, c) says that component c is in group g."""
        return self.group_idxs[None, :] == np.arange(self.k_groups)[:, None]

    @property
    def _n_components(self) -> int:
        return len(self.group_idxs)

    @property
    def components_per_group(self) -> Int[np.ndarray, "k_groups"]:
        """(k_groups,) the number of components in each group."""
        return np.bincount(self.group_idxs, minlength=self.k_groups).astype(np.int64)

    def components_in_group_mask(self, group_idx: SupportsInt) -> Bool[np.ndarray, "n_components"]:
        """(n_components,) which components are in the group.

        Raises:
            ValueError: there is no such group.
        """
        return self.group_idxs == self._checked_group(group_idx)

    def components_in_group(self, group_idx: SupportsInt) -> list[int]:
        """The indices of the group's components, ascending."""
        return [int(i) for i in np.flatnonzero(self.components_in_group_mask(group_idx))]

    def merge_groups(self, group_a: SupportsInt, group_b: SupportsInt) -> "GroupMerge":
        """The partition after one merge. The merged group takes the smaller of the two indices, and the indices
        above the larger one move down by one.

        Raises:
            ValueError: a group does not exist, or both are the same.
        """
        low, high = sorted((self._checked_group(group_a), self._checked_group(group_b)))
        if low == high:
            raise ValueError(f"cannot merge group {low} with itself")
        idxs = self.group_idxs.copy()
        idxs[idxs == high] = low
        idxs[idxs > high] -= 1
        return type(self)(idxs, self.k_groups - 1)

    def validate(self, require_nonempty: bool = True) -> None:
        """Check that the indices are 0 .. k_groups - 1 and that no group is empty.

        Raises:
            ValueError: they are not.
        """
        if self.group_idxs.size and (self.group_idxs.min() < 0 or self.group_idxs.max() >= self.k_groups):
            raise ValueError(
                f"group indices must be 0 .. {self.k_groups - 1}, "
                f"got {self.group_idxs.min()} .. {self.group_idxs.max()}"
            )
        empty = np.flatnonzero(self.components_per_group == 0)
        if require_nonempty and empty.size:
            raise ValueError(f"group {empty[0]} is empty ({empty.size} empty groups)")

    def _checked_group(self, group_idx: SupportsInt) -> int:
        group = int(group_idx)
        if not 0 <= group < self.k_groups:
            raise ValueError(f"there is no group {group}, groups are 0 .. {self.k_groups - 1}")
        return group

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GroupMerge):
            return NotImplemented
        return self.k_groups == other.k_groups and np.array_equal(self.group_idxs, other.group_idxs)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, init=False, eq=False)
class BatchedGroupMerge:
    """A partition at each of many iterations.

    Attributes:
        group_idxs: (batch, n_components) int.
        k_groups: (batch,) int.
    """

    group_idxs: Int[np.ndarray, "batch n_components"]
    k_groups: Int[np.ndarray, "batch"]

    def __init__(self, group_idxs: ArrayLike, k_groups: ArrayLike) -> None:
        idxs, counts = as_numpy(group_idxs), as_numpy(k_groups)
        if idxs.ndim != 2 or counts.shape != idxs.shape[:1] or idxs.dtype.kind not in "iu":
            raise ValueError(
                "expected integer group_idxs (batch, n_components) and k_groups (batch,), "
                f"got shapes {idxs.shape} of {idxs.dtype} and {counts.shape}"
            )
        object.__setattr__(self, "group_idxs", idxs)
        object.__setattr__(self, "k_groups", counts)

    @classmethod
    def init_empty(cls, batch_size: int, n_components: int) -> "BatchedGroupMerge":
        """Room for `batch_size` partitions, all entries -1 until they are set."""
        return cls(np.full((batch_size, n_components), -1, np.int64), np.full(batch_size, -1, np.int64))

    @classmethod
    def from_list(cls, merges: Sequence[GroupMerge]) -> "BatchedGroupMerge":
        """Stack partitions of the same components."""
        if not merges:
            return cls.init_empty(0, 0)
        lengths = {len(merge.group_idxs) for merge in merges}
        if len(lengths) > 1:
            raise ValueError(f"partitions of different numbers of components: {sorted(lengths)}")
        return cls(
            np.stack([merge.group_idxs for merge in merges]),
            np.array([merge.k_groups for merge in merges], np.int64),
        )

    def __getitem__(self, index: int) -> GroupMerge:
        return GroupMerge(self.group_idxs[index], int(self.k_groups[index]))

    def __setitem__(self, index: int, merge: GroupMerge) -> None:
        self.group_idxs[index] = merge.group_idxs
        self.k_groups[index] = merge.k_groups

    def __len__(self) -> int:
        return len(self.k_groups)

    def __iter__(self) -> Iterator[GroupMerge]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch={len(self)}, n_components={self.group_idxs.shape[1]})"

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, BatchedGroupMerge):
            return NotImplemented
        return np.array_equal(self.group_idxs, other.group_idxs) and np.array_equal(self.k_groups, other.k_groups)

    __hash__ = None  # type: ignore[assignment]
