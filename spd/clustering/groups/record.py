"""What a `Groups` holds, and its file with it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from spd.clustering.consts import ComponentLabels


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
class GroupsRecord:
    """What is known of groups: plain values, as groups.json holds them.

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
