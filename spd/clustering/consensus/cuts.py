"""One partition a member: where to cut each history, and the cuts on the ensemble's components."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from spd.clustering.merge_history import MergeHistory, MergeHistoryEnsemble
from spd.errors import SPDError


@dataclass(frozen=True)
class Cut:
    """Where to cut each member; at most one is given, none means at the member's own MDL minimum.

    Attributes:
        iteration: the state after merge `iteration` (negative: from the end), the same for all members.
        n_groups: the state with this many groups of the member's own live components.
    """

    iteration: int | None = None
    n_groups: int | None = None

    def __post_init__(self) -> None:
        if self.iteration is not None and self.n_groups is not None:
            raise SPDError("give an iteration or a number of groups to cut at, not both")

    def __str__(self) -> str:
        if self.iteration is not None:
            return f"iteration {self.iteration}"
        if self.n_groups is not None:
            return f"{self.n_groups} groups"
        return "each member's own MDL minimum"

    def n_merges(self, history: MergeHistory, member: int) -> int:
        """The number of merges of a history that the cut keeps.

        Raises:
            SPDError: the history does not go there, or holds no MDL; names the member.
        """
        if self.n_groups is not None:
            fewest, largest = history.final_k_groups, history.c_components
            if not fewest <= self.n_groups <= largest:
                raise SPDError(f"member {member} has {fewest} to {largest} groups, it cannot be cut at {self.n_groups}")
            return history.c_components - self.n_groups
        try:
            return history.n_merges_at("best" if self.iteration is None else self.iteration)
        except SPDError as error:
            instead = "; cut at an iteration or a number of groups instead" if self.iteration is None else ""
            raise SPDError(f"member {member}: {error}{instead}") from error


@dataclass(frozen=True, eq=False)
class MemberCuts:
    """The members' partitions at the cut.

    Attributes:
        labels: the components, union over the members, sorted as strings.
        partitions: (n_members, n) group of each component, -1 where the member lacks it.
        n_merges: (n_members,) merges made at the cut.
        cut: where the members are cut.
    """

    labels: list[str]
    partitions: Int[np.ndarray, "n_members n"]
    n_merges: Int[np.ndarray, "n_members"]
    cut: Cut


def cut_members(histories: Sequence[MergeHistory], cut: Cut = Cut()) -> MemberCuts:
    """Cut every history.

    Raises:
        SPDError: fewer than two histories, or one cannot be cut there.
    """
    if len(histories) < 2:
        raise SPDError(f"stable groups need at least 2 members, got {len(histories)}")
    ensemble = MergeHistoryEnsemble(list(histories))
    n_merges = np.array([cut.n_merges(history, member) for member, history in enumerate(histories)])
    labels = ensemble.component_labels
    partitions = np.full((len(histories), len(labels)), -1, np.int64)
    for member, (history, columns) in enumerate(zip(histories, ensemble.columns(), strict=True)):
        partitions[member, columns] = history.partition_after(int(n_merges[member]))
    return MemberCuts(labels, partitions, n_merges, cut)
