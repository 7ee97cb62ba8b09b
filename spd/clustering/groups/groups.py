"""`Groups`: the answer, and what can be asked of it."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from jaxtyping import Float64, Int64

from spd.clustering.groups.file import read_groups, write_groups
from spd.clustering.groups.record import GroupsRecord
from spd.errors import SPDError
from spd.text import html_card

if TYPE_CHECKING:
    import pandas as pd

    from spd.clustering.memberships import Memberships


_N_ROWS = 20
"""Groups that a notebook shows."""


class Groups(GroupsRecord):
    """Groups of components that fire together; a component that is alone is a group of its own. Its attributes:
    GroupsRecord."""

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
        from spd.clustering.groups.columns import as_boolean, samples_of
        from spd.clustering.groups.kernels.firing import firing_posterior

        inside = self.members(group)
        if memberships.labels != self.labels:
            raise SPDError("the memberships have other components than the groups")
        col_ptr, cols = samples_of(as_boolean(memberships, None))
        posterior = np.zeros(memberships.n_samples)
        if len(inside) == 1:
            posterior[cols[col_ptr[inside[0]] : col_ptr[inside[0] + 1]]] = 1.0
            return posterior
        f, p, q = self.firing_rate[group], self.p_active[inside], self.p_noise[inside]
        firing_posterior(col_ptr, cols, inside, f, p, q, posterior)
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

    def _repr_html_(self) -> str:
        """What a notebook shows: how many groups, and the largest of them."""
        shown = min(int((self.sizes > 1).sum()), _N_ROWS)
        facts = {
            "components": self.n_components,
            "groups of two or more": int((self.sizes > 1).sum()),
            "alone": int((self.sizes == 1).sum()),
            "found on samples": self.n_samples,
        }
        rows = []
        for group in range(shown):
            inside = self.members(group)
            confidence = f"{self.confidence[inside].mean():.2f}"
            labels = ", ".join(self.labels[i] for i in inside[:3]) + (", ..." if len(inside) > 3 else "")
            rows.append([str(group), str(len(inside)), f"{self.firing_rate[group]:.2%}", confidence, labels])
        columns = ["group", "size", "fires on", "mean confidence", "components"]
        return html_card("Groups", facts, columns, rows, int((self.sizes > 1).sum()))

    def save(self, path: Path | str) -> None:
        """Write groups.json, whole or not at all; its layout: file.py.

        Raises:
            SPDError: the file cannot be written.
        """
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
        return cls(**read_groups(Path(path), memberships, labels))
