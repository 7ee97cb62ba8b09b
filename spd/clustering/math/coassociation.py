"""How often components are together over many partitions, and the groups that follow from it.

The co-association of two components is the share of partitions in which they are in the same group, among those in
which both are alive (evidence accumulation: Fred and Jain 2005). Three nested answers come from it:

1. `cores`: any two components are together in every partition in which both are alive, and both are alive in at
   least half of the partitions.
2. `linkage_groups` at a threshold t: average linkage on co-association; two groups are joined while the mean
   co-association between them is at least t.
3. The same at t = 1/2 is the consensus: joining two groups lowers the summed pair disagreement (Mirkin distance) with
   all partitions exactly when the mean co-association between them is above 1/2, so the consensus is a partition that
   no join improves (the median partition of Filkov and Skiena 2004, approached greedily).

Pairs that are alive together in fewer than half of the partitions count as 0 in 2 and 3: too little is known of them.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from spd.clustering.math.kernels import coassociation_rows, coassociation_sums
from spd.clustering.math.kernels.coassociation_rows import Table

N_OTHERS = 4
"""How many other groups are named for a component, at most."""

LARGEST_BLOCK = 16_384
"""Atoms that are linked to each other and compared as a dense matrix (1 GiB); larger blocks are divided first."""

_ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class GroupStatistics:
    """How firm the groups of a partition are.

    Attributes:
        mean, min: (n_groups,) co-association inside, over pairs that are ever alive together; NaN without pairs.
        nearest, nearest_mean: (n_groups,) the other group with the highest mean co-association (-1: none), and that.
        own: (n,) each component's mean co-association with the others of its group; NaN when alone.
        others, other_means: (n, N_OTHERS) the other groups that it is together with most (-1: none), and how often.
    """

    mean: Float[np.ndarray, "n_groups"]
    min: Float[np.ndarray, "n_groups"]
    nearest: Int[np.ndarray, "n_groups"]
    nearest_mean: Float[np.ndarray, "n_groups"]
    own: Float[np.ndarray, "n"]
    others: Int[np.ndarray, "n n_others"]
    other_means: Float[np.ndarray, "n n_others"]


class Coassociation:
    """Co-association over (n_members, n) partitions: labels >= 0, or -1 where a component is dead in a member."""

    def __init__(self, partitions: Int[np.ndarray, "n_members n"]) -> None:
        self.n_members, self.n = partitions.shape
        rows = np.full((self.n, self.n_members), -1, np.int64)
        offset = 0
        for member, labels in enumerate(partitions):
            alive = labels >= 0
            values, inverse = np.unique(labels[alive], return_inverse=True)
            rows[alive, member] = inverse.reshape(-1) + offset
            offset += values.size
        # Atoms in the order of their least components, so that ties are decided by components.
        self.atom_of, first = _number_rows(rows)
        self._groups = rows[first]
        self._n_groups = offset

    @property
    def n_atoms(self) -> int:
        """Number of kinds of components that can be told apart."""
        return len(self._groups)

    @property
    def min_alive(self) -> int:
        """Members in which two components must both be alive for them to be joined: half, rounded up."""
        return max(1, (self.n_members + 1) // 2)

    @cached_property
    def _table(self) -> Table:
        return _make_table(self._groups, self.atom_of, self._n_groups)

    @property
    def n_alive(self) -> Int[np.ndarray, "n"]:
        """(n,) number of members in which each component is alive."""
        return self._table.n_alive[self.atom_of]

    def alone_shares(self) -> Float[np.ndarray, "n"]:
        """(n,) of the members in which a component is alive, the share in which it is alone in its group."""
        table = self._table
        is_single = (np.diff(table.group_start) == 1)[self._groups] & (self._groups >= 0)
        shares = is_single.sum(axis=1) / np.maximum(table.n_alive, 1)
        return np.where(table.size > 1, 0.0, shares)[self.atom_of]

    def matrix(self, components: Int[np.ndarray, "c"]) -> Float[np.ndarray, "c c"]:
        """(c, c) co-association between some components; 0 where never alive together, 1 on the diagonal."""
        atoms, place = np.unique(self.atom_of[components], return_inverse=True)
        block = coassociation_rows.dense_block(self._table, atoms, 1)
        return block[place.reshape(-1)[:, None], place.reshape(-1)[None, :]].astype(np.float64)

    def cores(self) -> Int[np.ndarray, "n"]:
        """(n,) the core of each component; most are alone. Numbered as in `linkage_groups`."""
        order = np.argsort(-self._table.n_alive, kind="stable")
        core_of = coassociation_rows.cores(self._table, order, self.min_alive)
        # Too rarely alive: a component's pairs with itself's likes are not alive together often enough either.
        rare = self._table.n_alive < self.min_alive
        labels = core_of[self.atom_of]
        is_rare = rare[self.atom_of]
        labels[is_rare] = self.n_atoms + np.arange(int(is_rare.sum()))
        return number_by_size(labels)

    def linkage_groups(self, thresholds: list[float]) -> list[Int[np.ndarray, "n"]]:
        """For each threshold (n,) groups by average linkage, numbered from the largest (see number_by_size)."""
        merges, heights = self._linkage(min(thresholds))
        rare = (self._table.n_alive < self.min_alive)[self.atom_of]
        result = []
        for threshold in thresholds:
            parent = np.arange(self.n_atoms)
            # In reverse, so that the group which a kept atom later joins is known before its own.
            kept = [tuple(pair) for pair, h in zip(merges, heights, strict=True) if h >= threshold - _ROUNDING]
            for keep, gone in reversed(kept):
                parent[gone] = parent[keep]
            labels = parent[self.atom_of]
            labels[rare] = self.n_atoms + np.arange(int(rare.sum()))
            result.append(number_by_size(labels))
        return result

    def _linkage(self, threshold: float) -> tuple[list[np.ndarray], list[float]]:
        """Merges of atoms (kept, gone) with a mean co-association of at least the threshold, in a valid order."""
        merges: list[np.ndarray] = []
        heights: list[float] = []
        for atoms in self._blocks(np.arange(self.n_atoms), threshold):
            similarity = coassociation_rows.dense_block(self._table, atoms, self.min_alive)
            size = self._table.size[atoms].astype(np.float64)
            pairs, values, n_merges = coassociation_rows.average_linkage(
                similarity, size, np.float32(threshold - _ROUNDING)
            )
            merges.extend(atoms[pairs[:n_merges]])
            heights.extend(values[:n_merges].tolist())
        return merges, heights

    def _blocks(self, within: Int[np.ndarray, "a"], threshold: float) -> list[Int[np.ndarray, "_"]]:
        """Sets of two or more atoms that a linkage down to the threshold may join."""
        root = coassociation_rows.link(self._table, threshold - _ROUNDING, self.min_alive)[within]
        start, listed = _lists(root, self.n_atoms)
        blocks = []
        for group in np.flatnonzero(np.diff(start) > 1):
            atoms = within[listed[start[group] : start[group + 1]]]
            if atoms.size > LARGEST_BLOCK and threshold < 1:
                blocks.extend(self._blocks(atoms, min(1.0, threshold + 1 / self.n_members)))
            elif atoms.size <= LARGEST_BLOCK:
                blocks.append(atoms)
        return blocks

    def statistics(self, labels: Int[np.ndarray, "n"]) -> GroupStatistics:
        """How firm the groups of a partition are; components of one atom must be in one group."""
        # An atom that the partition splits (rarely alive components) is taken apart first.
        at, first = _number_rows(np.stack([self.atom_of, labels], axis=1))
        table = (
            self._table
            if first.size == self.n_atoms
            else _make_table(self._groups[self.atom_of[first]], at, self._n_groups)
        )
        group_of = np.zeros(first.size, np.int64)
        group_of[at] = labels
        start, atoms = _lists(group_of, int(labels.max(initial=-1)) + 1)
        inside, nearest, nearest_mean, own, others, means = coassociation_sums.group_sums(
            table, group_of, start, atoms, N_OTHERS
        )
        has_pairs = inside[:, 2] > 0
        mean = np.divide(inside[:, 0], inside[:, 2], out=np.full(len(inside), np.nan), where=has_pairs)
        minimum = np.where(has_pairs, inside[:, 1], np.nan)
        return GroupStatistics(mean, minimum, nearest, nearest_mean, own[at], others[at], means[at])

    def ambiguous_pairs(self, low: float = 0.1, high: float = 0.9) -> tuple[int, int]:
        """Pairs of components with low < co-association < high, and pairs that are together at least once.

        Divided by the number of pairs the first is the PAC (Senbabaoglu, Michailidis and Li 2014).
        """
        by_member = np.ascontiguousarray(self._table.group.T, np.int32)
        ambiguous, ever = coassociation_sums.ambiguous_pairs(self._table, by_member, low, high)
        return int(ambiguous), int(ever)

    def image(self, order: Int[np.ndarray, "c"], n_bins: int) -> Float[np.ndarray, "n_bins n_bins"]:
        """Mean co-association between runs of components: `order` cut into n_bins pieces of (nearly) equal length."""
        bins = np.arange(order.size) * n_bins // order.size
        rows, times = np.unique(np.stack([self.atom_of[order], bins], axis=1), axis=0, return_counts=True)
        atom_bins = np.concatenate([rows, times[:, None]], axis=1).astype(np.int64)
        sizes = np.bincount(bins, minlength=n_bins)
        return coassociation_sums.image(self._table, atom_bins, n_bins) / np.maximum(np.outer(sizes, sizes), 1)


def number_by_size(labels: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The same partition, groups numbered from the largest; equal sizes: in the order of the least components."""
    _, first, inverse, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    return rank[inverse.reshape(-1)]


def _make_table(groups: Int[np.ndarray, "a n_members"], atom_of: Int[np.ndarray, "n"], n_groups: int) -> Table:
    """What the kernels need of atoms: their group in each member (0 .. n_groups - 1 over all members, -1: dead)."""
    is_alive = groups >= 0
    atoms, members = np.nonzero(is_alive)
    start, listed = _lists(groups[atoms, members], n_groups)
    sizes = np.bincount(atom_of, minlength=len(groups)).astype(np.int64)
    return Table(groups, is_alive.sum(axis=1).astype(np.int64), sizes, start, atoms[listed].astype(np.int64))


def _number_rows(rows: Int[np.ndarray, "n c"]) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "a"]]:
    """The different rows in the order of their first occurrence: each row's number, and where each first occurs."""
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    return rank[inverse.reshape(-1)], first[order]


def _lists(keys: Int[np.ndarray, "c"], n_keys: int) -> tuple[Int[np.ndarray, "_"], Int[np.ndarray, "c"]]:
    """For keys 0 .. n_keys - 1: where each key's positions start, and the positions, ascending within a key."""
    start = np.zeros(n_keys + 1, np.int64)
    np.cumsum(np.bincount(keys, minlength=n_keys), out=start[1:])
    return start, np.argsort(keys, kind="stable").astype(np.int64)
