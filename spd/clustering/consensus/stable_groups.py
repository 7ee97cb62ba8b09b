"""From the members' partitions to cores, stable groups, and a consensus partition with its evidence."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, SupportsInt

import numpy as np
from jaxtyping import Float, Int

from spd.clustering.consensus.cuts import CutKind, MemberCuts
from spd.clustering.consensus.found_again import FoundAgain, found_again
from spd.clustering.math.coassociation import Coassociation, GroupStatistics
from spd.clustering.math.merge_distances import distance_matrix, to_symmetric
from spd.errors import SPDError
from spd.text import html_card

CONSENSUS_THRESHOLD = 0.5
DEFAULT_THRESHOLD = 0.9
ROUNDING = 1e-9
_N_ROWS = 20
"""Groups that a notebook shows."""

Verdict = Literal["core", "stable", "split", "uncertain"]


@dataclass(frozen=True)
class Member:
    """One member at the cut.

    Attributes:
        index: its place in the ensemble.
        run_id: its run, None where it is not known.
        n_alive: its live components.
        n_merges: merges made; None for found groups.
        n_groups: groups of its own live components.
        mean_distance: mean variation of information (nats) to the other members.
        is_representative: whether it has the smallest such distance.
    """

    index: int
    run_id: str | None
    n_alive: int
    n_merges: int | None
    n_groups: int
    mean_distance: float
    is_representative: bool


@dataclass(frozen=True, eq=False)
class Consensus:
    """The answer of an ensemble. Groups are numbered by size, the largest 0; groups of one component are listed too.

    Attributes:
        labels: (n,) component labels.
        cut, cut_kind: where the members are cut, in words and in a word.
        threshold: of the stable groups.
        members: one entry a member.
        partitions: (n_members, n) of the members; -1: dead.
        n_alive: (n,) number of members in which each component is alive.
        consensus, stable, core: (n,) group of each component at the three levels.
        consensus_stats, stable_stats: how firm these groups are.
        agreement: mean over pairs of members of the adjusted Rand index at the cut, dead components left alone.
        n_ambiguous, n_together: pairs of components with co-association between 0.1 and 0.9, and above 0.
        coassociation: for figures and for more questions.
    """

    labels: list[str]
    cut: str
    cut_kind: CutKind
    threshold: float
    members: list[Member]
    partitions: Int[np.ndarray, "n_members n"]
    n_alive: Int[np.ndarray, "n"]
    consensus: Int[np.ndarray, "n"]
    stable: Int[np.ndarray, "n"]
    core: Int[np.ndarray, "n"]
    consensus_stats: GroupStatistics
    stable_stats: GroupStatistics
    agreement: float
    n_ambiguous: int
    n_together: int
    coassociation: Coassociation

    @property
    def n(self) -> int:
        """Number of components."""
        return len(self.labels)

    @property
    def representative(self) -> int:
        """Index of the member with the smallest mean distance to the others."""
        return next(member.index for member in self.members if member.is_representative)

    @cached_property
    def confidence(self) -> Float[np.ndarray, "n"]:
        """(n,) mean co-association with the rest of the component's consensus group; for a component that is alone
        there, the share of members in which it is alone, of those in which it is alive."""
        own = self.consensus_stats.own
        return np.where(np.isnan(own), self.coassociation.alone_shares(), own)

    @cached_property
    def again(self) -> FoundAgain:
        """How likely another ensemble of as many members finds the consensus groups, and each component's place."""
        return found_again(self.partitions, self.consensus)

    @cached_property
    def stable_again(self) -> FoundAgain:
        """The same for the stable groups."""
        return found_again(self.partitions, self.stable)

    @cached_property
    def groups(self) -> list[Int[np.ndarray, "_"]]:
        """The components of each consensus group, ascending."""
        return groups_of(self.consensus)

    def moves_between(self, component: int) -> list[tuple[int, float]]:
        """The consensus groups that a contested component moves between: (group, mean co-association with it), its
        own first; empty when it is not contested.

        A component is contested when its confidence is below the threshold, or when it is with another group in at
        least a share 1 - threshold of the members.
        """
        stats = self.consensus_stats
        others = [
            (int(group), float(mean))
            for group, mean in zip(stats.others[component], stats.other_means[component], strict=True)
            if group >= 0 and mean >= 1 - self.threshold - ROUNDING
        ]
        own = float(self.confidence[component])
        if not others and own >= self.threshold - ROUNDING:
            return []
        return [(int(self.consensus[component]), own), *others]

    def verdict(self, group: SupportsInt) -> Verdict:
        """What to make of a consensus group of two or more components.

        core: all its components are together in every member. stable: together at the threshold. split: its
        components lie in several stable groups of two or more. uncertain: at most a part of it is stable.
        """
        inside = self.groups[int(group)]
        if len(np.unique(self.core[inside])) == 1:
            return "core"
        groups, sizes = np.unique(self.stable[inside], return_counts=True)
        if len(groups) == 1:
            return "stable"
        return "split" if (sizes > 1).sum() > 1 else "uncertain"

    def _repr_html_(self) -> str:
        """What a notebook shows: how far the members agree, and the largest groups with their verdicts."""
        sizes = [len(inside) for inside in self.groups]
        n_groups = sum(size > 1 for size in sizes)
        facts = {
            "members": len(self.members),
            "cut at": self.cut,
            "mean adjusted Rand index of two members": f"{self.agreement:.2f}",
            "groups of two or more": n_groups,
            "alone": len(sizes) - n_groups,
        }
        rows = [
            [str(group), str(sizes[group]), self.verdict(group), f"{self.consensus_stats.mean[group]:.2f}"]
            for group in range(min(n_groups, _N_ROWS))
        ]
        return html_card("Consensus", facts, ["group", "size", "verdict", "mean co-association"], rows, n_groups)


def find_consensus(
    cuts: MemberCuts, threshold: float = DEFAULT_THRESHOLD, run_ids: list[str] | None = None
) -> Consensus:
    """Cores, stable groups and consensus of members cut into partitions; see math.coassociation for the rules.

    Raises:
        SPDError: the threshold is not above 1/2 and at most 1.
    """
    if not CONSENSUS_THRESHOLD < threshold <= 1:
        raise SPDError(f"the threshold of stable groups must be above 0.5 and at most 1, got {threshold}")
    coassociation = Coassociation(cuts.partitions)
    consensus, stable = coassociation.linkage_groups([CONSENSUS_THRESHOLD, threshold])
    n_ambiguous, n_together = coassociation.ambiguous_pairs()
    distances, agreement = _member_distances(cuts.partitions)
    return Consensus(
        labels=cuts.labels,
        cut=str(cuts.cut),
        cut_kind=cuts.cut.kind,
        threshold=threshold,
        members=_members(cuts, distances, run_ids),
        partitions=cuts.partitions,
        n_alive=coassociation.n_alive,
        consensus=consensus,
        stable=stable,
        core=coassociation.cores(),
        consensus_stats=coassociation.statistics(consensus),
        stable_stats=coassociation.statistics(stable),
        agreement=agreement,
        n_ambiguous=n_ambiguous,
        n_together=n_together,
        coassociation=coassociation,
    )


def groups_of(labels: Int[np.ndarray, "n"]) -> list[Int[np.ndarray, "_"]]:
    """The components of each group 0 .. k - 1, ascending."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1]) if labels.size else []


def with_dead_alone(partitions: Int[np.ndarray, "n_members n"]) -> Int[np.ndarray, "n_members n"]:
    """The same partitions with each dead component (-1) in a group of its own."""
    n_members, n = partitions.shape
    alone = partitions.max(initial=-1) + 1 + np.arange(n)
    return np.where(partitions < 0, np.broadcast_to(alone, (n_members, n)), partitions)


def _member_distances(partitions: Int[np.ndarray, "n_members n"]) -> tuple[Float[np.ndarray, "n_members"], float]:
    """Mean variation of information of each member to the others, and the mean adjusted Rand index."""
    labels = with_dead_alone(partitions)
    information = to_symmetric(distance_matrix(labels, "variation_of_information"))
    rand = distance_matrix(labels, "adjusted_rand")
    return information.sum(axis=1) / (len(labels) - 1), float(1 - np.nanmean(rand))


def _members(cuts: MemberCuts, distances: Float[np.ndarray, "n_members"], run_ids: list[str] | None) -> list[Member]:
    # Rounded, so that members at equal distances are told apart by their index on every machine.
    representative = int(np.argmin(distances.round(12)))
    return [
        Member(
            index=index,
            run_id=run_ids[index] if run_ids else None,
            n_alive=int((partition >= 0).sum()),
            n_merges=None if cuts.n_merges is None else int(cuts.n_merges[index]),
            n_groups=len(np.unique(partition[partition >= 0])),
            mean_distance=float(distances[index]),
            is_representative=index == representative,
        )
        for index, partition in enumerate(cuts.partitions)
    ]
