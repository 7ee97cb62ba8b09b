"""`Groups`: the answer, and what can be asked of it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from jaxtyping import Float64, Int64

from spd.clustering.consts import ComponentLabels
from spd.errors import SPDError

if TYPE_CHECKING:
    import pandas as pd

    from spd.clustering.memberships import Memberships


@dataclass(frozen=True)
class Control:
    """What the same search finds where nothing belongs together: columns shifted against each other in time.

    Attributes:
        n_groups: groups of two or more.
        n_joined: components in them.
    """

    n_groups: int
    n_joined: int


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of components that fire together; a component that is alone is a group of its own.

    Attributes:
        labels: (n_components,) `<module>:<index>`.
        group_of: (n_components,) groups 0 .. k - 1 by size, the largest 0, ties by their first component.
        firing_rate: (k,) share of the samples on which each group fires.
        p_active: (n_components,) probability that a component is active when its group fires (1 where it is alone).
        p_noise: (n_components,) the same when its group does not fire (0 where it is alone).
        confidence: (n_components,) probability that another member of its group truly is with it; for a component
            that is alone, that it is with no other (confidence.py).
        secondary: (component, group, share of its activity): other groups that a component fires with.
        nested: (inner group, outer group, share of the outer's firings that are the inner's).
        joins: (m, 2) least components of groups joined, in the order in which `cut` makes them.
        strength: (m,) never rising: Theil's coefficient of the two firings where the join was made, and below 0 where
            it was not, the mean affinity less 1.
        n_samples: samples that the groups were found on.
        source: SHA-256 of the memberships that the groups were found on.
        control: what chance would give; None where it was not asked for.
    """

    labels: ComponentLabels
    group_of: Int64[np.ndarray, "n"]
    firing_rate: Float64[np.ndarray, "k"]
    p_active: Float64[np.ndarray, "n"]
    p_noise: Float64[np.ndarray, "n"]
    confidence: Float64[np.ndarray, "n"]
    secondary: list[tuple[int, int, float]]
    nested: list[tuple[int, int, float]]
    joins: Int64[np.ndarray, "m 2"]
    strength: Float64[np.ndarray, "m"]
    n_samples: int
    source: str
    control: Control | None = None

    @property
    def n_components(self) -> int:
        return len(self.labels)

    @property
    def n_groups(self) -> int:
        """Number of groups, those of one component included."""
        return len(self.firing_rate)

    @cached_property
    def sizes(self) -> Int64[np.ndarray, "k"]:
        """Components of each group."""
        return np.bincount(self.group_of, minlength=self.n_groups)

    @cached_property
    def _members(self) -> list[np.ndarray]:
        order = np.argsort(self.group_of, kind="stable")
        return np.split(order, np.cumsum(self.sizes)[:-1]) if self.n_groups else []

    def members(self, group: int) -> Int64[np.ndarray, "size"]:
        """The components of a group, ascending.

        Raises:
            SPDError: there is no such group.
        """
        if not 0 <= group < self.n_groups:
            raise SPDError(f"there is no group {group}, groups are 0 .. {self.n_groups - 1}")
        return self._members[group]

    def pair_confidence(self, i: int, j: int) -> float:
        """Probability that two components of one group are truly together: the smaller of their confidences.

        Raises:
            SPDError: they are in different groups.
        """
        if self.group_of[i] != self.group_of[j]:
            raise SPDError(f"{self.labels[i]} and {self.labels[j]} are in different groups")
        return float(min(self.confidence[i], self.confidence[j]))

    def cut(self, n_groups: int) -> Int64[np.ndarray, "n"]:
        """(n_components,) the partition nearest to n_groups groups, numbered like group_of: the weakest joins are
        undone, or the nearest groups joined. Never fewer groups than parts that have nothing in common.

        Raises:
            SPDError: n_groups is below 1.
        """
        from spd.clustering.groups.describe import numbered

        if n_groups < 1:
            raise SPDError(f"expected 1 group or more, got {n_groups}")
        if n_groups == self.n_groups:
            return self.group_of
        group = np.arange(self.n_components)
        for a, b in self.joins[: max(self.n_components - n_groups, 0)][::-1].tolist():
            group[b] = group[a]
        return numbered(group)

    def firing(self, group: int, memberships: "Memberships") -> Float64[np.ndarray, "n_samples"]:
        """Posterior probability that a group fires on each sample, by the components active there.

        With `f` the group's rate, `p`, `q` its components' and x their activity, by Bayes' rule
        f P(x | p) / (f P(x | p) + (1 - f) P(x | q)).

        Raises:
            SPDError: the memberships are of other components, or there is no such group.
        """
        from spd.clustering.groups.columns import as_boolean, columns_of
        from spd.clustering.groups.kernels.firing import firing_posterior

        inside = self.members(group)
        if memberships.labels != self.labels:
            raise SPDError("the memberships have other components than the groups")
        columns = columns_of(as_boolean(memberships, None))
        if len(inside) == 1:
            posterior = np.zeros(columns.n_samples)
            posterior[columns.cols[columns.col_ptr[inside[0]] : columns.col_ptr[inside[0] + 1]]] = 1.0
            return posterior
        posterior = np.empty(columns.n_samples)
        f, p, q = self.firing_rate[group], self.p_active[inside], self.p_noise[inside]
        firing_posterior(columns.col_ptr, columns.cols, inside, f, p, q, posterior)
        return posterior

    def to_dataframe(self) -> "pd.DataFrame":
        """One row a component: label, group, size, firing_rate, p_active, p_noise, confidence, n_secondary."""
        import pandas as pd

        n_secondary = np.bincount([component for component, _, _ in self.secondary], minlength=self.n_components)
        return pd.DataFrame(
            {
                "label": self.labels,
                "group": self.group_of,
                "size": self.sizes[self.group_of],
                "firing_rate": self.firing_rate[self.group_of],
                "p_active": self.p_active,
                "p_noise": self.p_noise,
                "confidence": self.confidence,
                "n_secondary": n_secondary,
            }
        )

    def save(self, path: Path | str) -> None:
        """Write groups.json, whole or not at all; its layout: file.py.

        Raises:
            SPDError: the file cannot be written.
        """
        from spd.clustering.groups.file import write_groups

        write_groups(self, Path(path))

    @classmethod
    def read(
        cls, path: Path | str, *, memberships: "Memberships | None" = None, labels: list[str] | None = None
    ) -> Self:
        """Read a groups.json; with memberships or labels: only if it was made from these.

        Raises:
            MissingFileError: there is no such file.
            DamagedFileError: it is damaged, contradictory, or of an unknown version; names file and key.
            SPDError: it belongs to other memberships, or other components.
        """
        from spd.clustering.groups.file import read_groups

        return cls(**read_groups(Path(path), memberships, labels))
