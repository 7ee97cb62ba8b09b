"""Whether one partition has what is in another, by its definition, with sets; -1: dead."""

import numpy as np


def groups_of(labels: np.ndarray, alive: np.ndarray) -> list[set[int]]:
    """The groups 0 .. k - 1 of a partition, of components that are also alive in another."""
    return [set(np.flatnonzero((labels == k) & alive).tolist()) for k in range(labels.max(initial=-1) + 1)]


def groups_met(own: np.ndarray, other: np.ndarray) -> list[float]:
    """Of each group: 1 where one of the other overlaps with it by more than half of their union; NaN below two."""
    mine, theirs = groups_of(own, other >= 0), groups_of(other, own >= 0)
    return [
        float(any(len(g & h) > len(g | h) / 2 for h in theirs)) if len(g) > 1 else np.nan
        for g in mine
    ]  # fmt: skip


def places_met(own: np.ndarray, other: np.ndarray) -> list[float]:
    """Of each component: 1 where it is with more than half of the rest of its group; NaN where there is no rest."""
    met = []
    for component, group in enumerate(own):
        rest = [x for x in np.flatnonzero((own == group) & (other >= 0)) if x != component]
        if group < 0 or other[component] < 0 or not rest:
            met.append(np.nan)
        else:
            met.append(float(sum(other[x] == other[component] for x in rest) > len(rest) / 2))
    return met
