"""One partition a member: its found groups, or where its history is cut, on the ensemble's components."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from spd.clustering.groups import Groups
from spd.clustering.merge_history import MergeHistory, MergeHistoryEnsemble
from spd.errors import SPDError

CutKind = Literal["groups", "mdl", "iteration", "n-groups"]


@dataclass(frozen=True)
class Cut:
    """Where to cut each member.

    Attributes:
        iteration: of the history: the state after merge `iteration` (negative: from the end), the same for all members.
        n_groups: of the history: the state with this many groups of the member's own live components; of the found
            groups: the partition nearest to it.
        is_found: the groups found in the member's memberships, not a state of its history.

    A history without iteration and n_groups is cut at the member's own MDL minimum.
    """

    iteration: int | None = None
    n_groups: int | None = None
    is_found: bool = False

    def __post_init__(self) -> None:
        if self.iteration is not None and self.n_groups is not None:
            raise SPDError("give an iteration or a number of groups to cut at, not both")
        if self.iteration is not None and self.is_found:
            raise SPDError("found groups belong to no iteration: give an iteration or ask for the found groups")

    @property
    def kind(self) -> CutKind:
        """What the partitions are, in a word."""
        if self.is_found:
            return "groups"
        if self.iteration is not None:
            return "iteration"
        return "mdl" if self.n_groups is None else "n-groups"

    def __str__(self) -> str:
        if self.is_found:
            nearest = "" if self.n_groups is None else f", the partition nearest to {self.n_groups}"
            return f"the groups found in each member{nearest}"
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
        try:
            if self.n_groups is not None:
                return history.n_merges_to(self.n_groups)
            return history.n_merges_at("best" if self.iteration is None else self.iteration)
        except SPDError as error:
            instead = "; cut at an iteration or a number of groups instead" if self.kind == "mdl" else ""
            raise SPDError(f"member {member}: {error}{instead}") from error

    def of_groups(self, groups: Groups) -> Int[np.ndarray, "n_components"]:
        """The partition of a member's found groups."""
        return groups.group_of if self.n_groups is None else groups.cut(self.n_groups)


FOUND_GROUPS = Cut(is_found=True)
"""The groups found in each member's memberships."""


@dataclass(frozen=True, eq=False)
class MemberCuts:
    """The members' partitions at the cut.

    Attributes:
        labels: the components, union over the members, sorted as strings.
        partitions: (n_members, n) group of each component, -1 where the member lacks it.
        n_merges: (n_members,) merges made at the cut; None for found groups.
        cut: where the members are cut.
    """

    labels: list[str]
    partitions: Int[np.ndarray, "n_members n"]
    n_merges: Int[np.ndarray, "n_members"] | None
    cut: Cut


def cut_members(
    histories: Sequence[MergeHistory], cut: Cut = Cut(), groups: Sequence[Groups] | None = None
) -> MemberCuts:
    """Cut every member.

    Args:
        groups: of each member, where the cut asks for the found groups.

    Raises:
        SPDError: fewer than two members, one cannot be cut there, or its groups are not there or of other components.
    """
    if len(histories) < 2:
        raise SPDError(f"stable groups need at least 2 members, got {len(histories)}")
    ensemble = MergeHistoryEnsemble(list(histories))
    labels = ensemble.component_labels
    partitions = np.full((len(histories), len(labels)), -1, np.int64)
    if cut.is_found:
        _check_groups(histories, groups or [])
        column = {label: index for index, label in enumerate(labels)}
        for member, found in enumerate(groups or []):
            partitions[member, [column[label] for label in found.labels]] = cut.of_groups(found)
        return MemberCuts(labels, partitions, None, cut)
    n_merges = np.array([cut.n_merges(history, member) for member, history in enumerate(histories)])
    for member, (history, columns) in enumerate(zip(histories, ensemble.columns(), strict=True)):
        partitions[member, columns] = history.partition_after(int(n_merges[member]))
    return MemberCuts(labels, partitions, n_merges, cut)


def _check_groups(histories: Sequence[MergeHistory], groups: Sequence[Groups]) -> None:
    if len(groups) != len(histories):
        raise SPDError(f"expected the found groups of {len(histories)} members, got those of {len(groups)}")
    for member, (history, found) in enumerate(zip(histories, groups, strict=True)):
        if set(history.labels) != set(found.labels):
            raise SPDError(
                f"member {member}: its groups are of {len(found.labels)} components, its history of "
                f"{len(history.labels)}, and they are not the same"
            )
