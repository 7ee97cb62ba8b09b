"""Why a group's components were merged: the merges of a history that brought them together, each with its evidence."""

from typing import TYPE_CHECKING, Any

import numpy as np

from spd.clustering.report.grouping import Grouping
from spd.clustering.report.samples import ByComponent

if TYPE_CHECKING:
    from spd.clustering.merge_history import MergeHistory


def merge_pairs(history: "MergeHistory", labels: list[str]) -> list[list[int]]:
    """(T, 2) one component of each part of every merge, numbered as in `labels`: what a cut at any number follows from.

    Components that the history lacks stay alone; those that only the history has are passed over.
    """
    place = {label: index for index, label in enumerate(labels)}
    # What stands for a part in `labels`; -1 while none of its components is among them.
    stands = [place.get(label, -1) for label in history.labels]
    found = []
    for kept, absorbed in history.component_merges.tolist():
        if stands[kept] >= 0 and stands[absorbed] >= 0:
            found.append([stands[kept], stands[absorbed]])
        stands[kept] = max(stands[kept], stands[absorbed]) if stands[kept] < 0 else stands[kept]
    return found


def merge_reasons(
    history: "MergeHistory", grouping: Grouping, columns: ByComponent, n_samples: int
) -> list[list[dict[str, Any]]]:
    """By group, every merge that joined two parts of it, first to last.

    Keys: iteration, a and b (one component of the group in each part), size_a, size_b (components of the group), cost
    (bits a sample; null: not known), both (P both parts active), jaccard, never_together, with_others (whether a part
    also held components of other groups by then). A part is active where any of its components of the group is.

    A group that the history does not hold as a whole (a consensus, say) has its merges all the same; components that
    the history lacks have none.
    """
    place = {label: index for index, label in enumerate(grouping.labels)}
    # What each root of the forest holds: by group (components, samples active), and how many components in all.
    held: dict[int, dict[int, tuple[list[int], np.ndarray]]] = {}
    total = np.ones(history.c_components, np.int64)
    for index, label in enumerate(history.labels):
        component = place.get(label)
        held[index] = {}
        if component is not None:
            held[index][int(grouping.group_of[component])] = ([component], columns.active(component))
    found: list[list[dict[str, Any]]] = [[] for _ in range(grouping.n_groups)]
    left = np.bincount(grouping.group_of, minlength=grouping.n_groups) - 1
    costs = history.merge_pair_cost
    for iteration, (kept, absorbed) in enumerate(history.component_merges.tolist()):
        one, other = held[kept], held.pop(absorbed)
        for group in other.keys() & one.keys() if len(other) < len(one) else one.keys() & other.keys():
            (a, active_a), (b, active_b) = one[group], other[group]
            both = len(np.intersect1d(active_a, active_b, assume_unique=True))
            either = np.union1d(active_a, active_b)
            found[group].append(
                {
                    "iteration": iteration,
                    "a": a[0],
                    "b": b[0],
                    "size_a": len(a),
                    "size_b": len(b),
                    "cost": None if costs is None else float(f"{costs[iteration]:.6g}"),
                    "both": float(f"{both / n_samples:.6g}"),
                    "jaccard": float(f"{both / len(either):.6g}") if len(either) else 0.0,
                    "never_together": both == 0,
                    "with_others": bool(len(a) < total[kept] or len(b) < total[absorbed]),
                }
            )
            left[group] -= 1
            other[group] = (a + b, either if left[group] else either[:0])
        if len(one) < len(other):
            one, other = other, one
            one |= {group: part for group, part in other.items() if group not in one}
        else:
            one |= other
        held[kept] = one
        total[kept] += total[absorbed]
        if not left.any():
            break
    return found
